"""Wiring of the log: from splits to rows with an item index."""

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from apache_beam.pvalue import AsIter, PCollection

from heterrec_pipeline.interactions.join import index_rows, join_items
from heterrec_pipeline.interactions.read import read_log
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
        """Read, join."""
        job, large = self.job, self.job.sizes.is_large(ITEMS)
        rows, seen = splits | "read" >> Step(
            fn=partial(read_log, job, coded=not large),
            ledger=self.ledger,
            tags=(SEEN,),
            spread=True,
        )
        if large:
            joined = self._by_bucket(rows)
        else:
            joined = rows | "index" >> Step(
                fn=partial(index_rows, job.spec, told=job.rejects),
                ledger=self.ledger,
                side_inputs=(AsIter(self.index),),
            )
        return LogOutput(joined, seen | "kinds" >> ValueKinds())

    def _by_bucket(self, rows: PCollection) -> PCollection:
        """Join the rows by bucket of items."""
        buckets = {ITEMS: self.job.key_buckets}
        cut = rows | "cut" >> CutTables(column="item", buckets=buckets, name=ITEMS)
        return (
            {"log": cut, "ids": self.index}
            | "by item" >> Exchange(job=self.job, key=BucketKey, references=("ids",))
            | "index"
            >> Step(
                fn=partial(join_items, self.job.spec, told=self.job.rejects), ledger=self.ledger
            )
        )
