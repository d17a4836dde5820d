"""Wiring of the log: from splits to rows with an item index."""

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import pyarrow as pa
from apache_beam.pvalue import AsIter, PCollection

from heterrec_pipeline.interactions.join import check_log, check_rows, join_items
from heterrec_pipeline.interactions.read import log_columns, read_log
from heterrec_pipeline.job import ITEMS, Job
from heterrec_pipeline.keys.read import SEEN
from heterrec_pipeline.wiring.cut import BucketKey, CutTables
from heterrec_pipeline.wiring.exchange import Exchange
from heterrec_pipeline.wiring.reports import Ledger
from heterrec_pipeline.wiring.step import Composite, Step, ValueKinds


class LogOutput(NamedTuple):
    """The rows of the shuffle, and the kinds of user ids seen."""

    rows: PCollection
    kinds: PCollection


@dataclass(eq=False, kw_only=True)
class IndexedLog(Composite):
    """Splits of the log to checked rows with their item's index."""

    job: Job
    index: PCollection
    ledger: Ledger

    def expand(self, splits: PCollection) -> LogOutput:
        """Read, check, join."""
        spec = self.job.spec
        raw = splits | "read" >> Step(
            fn=partial(read_log, log_columns(spec), gate=self.job.log_gate),
            ledger=self.ledger,
            spread=True,
        )
        if self.job.sizes.is_large(ITEMS):
            return self._by_bucket(raw)
        rows, seen = raw | "check and index" >> Step(
            fn=partial(check_log, spec),
            ledger=self.ledger,
            side_inputs=(AsIter(self.index),),
            tags=(SEEN,),
        )
        return LogOutput(rows, seen | "kinds" >> ValueKinds())

    def _by_bucket(self, raw: PCollection) -> LogOutput:
        """Check the rows, then join them by bucket of items."""
        spec = self.job.spec
        rows, seen = raw | "check" >> Step(
            fn=partial(check_rows, spec),
            ledger=self.ledger,
            tags=(SEEN,),
            kind=tuple[str, pa.Table],
        )
        cut = rows | "cut" >> CutTables(column="item", buckets={ITEMS: self.job.key_buckets})
        joined = (
            {"log": cut, "ids": self.index}
            | "by item" >> Exchange(job=self.job, key=BucketKey, references=("ids",))
            | "index" >> Step(fn=partial(join_items, spec), ledger=self.ledger)
        )
        return LogOutput(joined, seen | "kinds" >> ValueKinds())
