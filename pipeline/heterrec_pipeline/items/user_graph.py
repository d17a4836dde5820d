"""The wiring of the user table."""

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import apache_beam as beam
import pyarrow as pa
from apache_beam.pvalue import AsDict, AsIter, PCollection

from heterrec_pipeline.features.fitted import Fitted
from heterrec_pipeline.fitting.fit_graph import Fit
from heterrec_pipeline.items.encode import encode_users
from heterrec_pipeline.items.place_graph import PlaceByUser
from heterrec_pipeline.job import Job, TableJob
from heterrec_pipeline.keys.key_graph import Keys
from heterrec_pipeline.vocabularies.cells import CELLS, large_features
from heterrec_pipeline.vocabularies.lookup_graph import LookUpCells
from heterrec_pipeline.wiring.reports import Ledger
from heterrec_pipeline.wiring.splits import ListSplits
from heterrec_pipeline.wiring.step import Composite, Step, nothing


class UsersOutput(NamedTuple):
    """The users' tokens (user, tokens), their fitted features, and their judged features."""

    tokens: PCollection
    fitted: PCollection
    judged: PCollection


def fitted_users(root: beam.Pipeline, users: UsersOutput | None) -> PCollection:
    """The fitted features of the users; empty without a table of users."""
    return users.fitted if users else nothing(root, "no user features", tuple[str, Fitted])


@dataclass(eq=False, kw_only=True)
class UserFeatures(Composite):
    """The table of users to their tokens."""

    job: Job
    table: TableJob
    ledger: Ledger

    def expand(self, root: beam.Pipeline) -> UsersOutput:
        """Keys, fits, tokens."""
        job, table, ledger = self.job, self.table, self.ledger
        splits = root | "list" >> ListSplits(
            files=table.files, ledger=ledger, reuse=job.reuse, readings=job.readings_of(table)
        )
        rows = ({table.name: splits} | "keys" >> Keys(job=job, tables=(table,), ledger=ledger)).rows
        fits = {table.name: splits} | "fit" >> Fit(
            job=job, tables=(table,), rows=rows, ledger=ledger
        )
        large = large_features(job, (table,))
        tokens, cells = splits | "encode" >> Step(
            fn=partial(encode_users, job, table, large=[f.name for f in large]),
            ledger=ledger,
            side_inputs=(
                AsDict(rows.excluded),
                AsDict(fits.fitted),
                AsIter(fits.ids.in_memory),
            ),
            tags=(CELLS,),
            tag_kinds={CELLS: tuple[str, pa.Table]},
            spread=True,
        )
        if large:
            joined = cells | "look up" >> LookUpCells(
                job=job, side="user", large=large, index=fits.ids.by_bucket
            )
            tokens = tokens | "place" >> PlaceByUser(
                job=job, table=table, large=large, ledger=ledger, cells=joined
            )
        return UsersOutput(tokens, fits.fitted, fits.judged)
