"""Wiring of the user table."""

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import apache_beam as beam
import pyarrow as pa
from apache_beam.pvalue import AsDict, PCollection

from heterrec_pipeline.fitting.steps import Fit
from heterrec_pipeline.items.encode import encode_user_split
from heterrec_pipeline.items.place_steps import PlaceByUser
from heterrec_pipeline.job import USERS, Job, TableJob
from heterrec_pipeline.keys.steps import Keyed, KeysByBucket, NumberedKeys, RowFilter
from heterrec_pipeline.vocabularies.cell_steps import LookUpCells
from heterrec_pipeline.vocabularies.cells import CELLS, large_features
from heterrec_pipeline.wiring.reports import Ledger
from heterrec_pipeline.wiring.splits import ListSplits
from heterrec_pipeline.wiring.step import Composite, Step


class UsersOutput(NamedTuple):
    """The users' tokens (user, tokens), and their fitted features."""

    tokens: PCollection
    fitted: PCollection


@dataclass(eq=False, kw_only=True)
class UserFeatures(Composite):
    """The table of users to their tokens; nothing when the spec declares none."""

    job: Job
    table: TableJob
    ledger: Ledger

    def expand(self, root: beam.Pipeline) -> UsersOutput:
        """Keys, fits, tokens."""
        job, table, ledger = self.job, self.table, self.ledger
        splits = root | "list" >> ListSplits(files=table.files)
        rows = self._rows(splits)
        fits = splits | "fit" >> Fit(job=job, table=table, rows=rows, ledger=ledger)
        large = large_features(job, (table,))
        tokens, cells = splits | "encode" >> Step(
            fn=partial(encode_user_split, table, known=rows.known, large=[f.name for f in large]),
            ledger=ledger,
            side_inputs=(*rows.sides, AsDict(fits.fitted)),
            tags=(CELLS,),
            tag_kinds={CELLS: tuple[str, pa.Table]},
            spread=True,
        )
        if large:
            found = cells | "look up" >> LookUpCells(
                job=job, side="user", large=large, index=fits.index
            )
            tokens = tokens | "place" >> PlaceByUser(
                job=job, table=table, large=large, ledger=ledger, cells=found
            )
        return UsersOutput(tokens, fits.fitted)

    def _rows(self, splits: PCollection) -> RowFilter:
        """Which rows count."""
        job, table, ledger = self.job, self.table, self.ledger
        if not job.sizes.is_large(USERS):
            keyed: Keyed = splits | "keys" >> NumberedKeys(
                job=job, table=table, rules=None, ledger=ledger
            )
            return keyed.rows(keyed.losers)
        by_bucket = {table.name: splits} | "keys" >> KeysByBucket(
            job=job,
            name=USERS,
            tables=(table,),
            rules=None,
            buckets=job.sizes.buckets(USERS, None),
            ledger=ledger,
        )
        return RowFilter(*by_bucket.rows)
