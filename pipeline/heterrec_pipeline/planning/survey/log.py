"""The log: its checks on what was read, how its rows spread over users and items, and some users' rows whole."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from heterrec_pipeline.interactions.join import join_index, shuffle_columns, with_tie
from heterrec_pipeline.interactions.read import LOG_SEEN, log_columns, parse_rows
from heterrec_pipeline.job import Job
from heterrec_pipeline.planning.one_table import KeyIndex
from heterrec_pipeline.planning.sampling.blocks import SAMPLE_BYTES, batches, reach
from heterrec_pipeline.planning.sampling.estimates import Estimate, Fraction, Tally, distinct
from heterrec_pipeline.planning.sampling.thinning import Thinned
from heterrec_pipeline.planning.survey.extended import BLOCK, extended
from heterrec_pipeline.planning.survey.tables import Keys
from heterrec_pipeline.reading.batches import ReadBatch
from heterrec_pipeline.reading.files import Split
from heterrec_pipeline.reading.read import located, short_rows
from heterrec_schemas.feature_spec import FeatureSpec
from heterrec_schemas.hashing import hash_texts
from heterrec_schemas.rejects import Reason
from heterrec_schemas.values import Seen

USER_BYTES = 64 * 2**20
"""About how many bytes of whole histories a plan works on, whatever it reads."""


class Spread(NamedTuple):
    """How many rows each user (or item) has in what was read: ids or hashes, and counts."""

    keys: npt.NDArray[np.generic]
    rows: npt.NDArray[np.int64]


@dataclass
class LogSurvey:
    """What is known of the log.

    Attributes:
        part: what of it was read.
        read: its rows.
        seen: rows read; of them `rejected` are set aside, `bad` entries go to `rejects/` by reason, and `unknown` have an
            item that the catalogue lacks.
        good: rows read that reach the shuffle.
        users: how many users have such rows.
        by_user, by_item: their rows: users by hash, items by item_index.
        sample: the rows of some users, with the columns of the shuffle; where the log was not read whole, `extended` to
            what the whole log has of such users.
        user_share, row_share: what the sample is of all users, and of all rows of the shuffle.
        row_bytes: what a row takes in the shuffle, as an Arrow file.
        integral: whether user ids are whole numbers.
    """

    part: Fraction
    read: Estimate
    seen: int
    bad: Counter[Reason]
    rejected: int
    unknown: float
    good: float
    users: Estimate
    by_user: Spread
    by_item: Spread
    sample: pl.DataFrame
    user_share: float
    row_share: float
    row_bytes: float
    integral: bool

    @property
    def scale(self) -> float:
        """How many rows the log has for one that was read."""
        return self.read.value / self.seen if self.seen else 1.0

    @property
    def shuffled(self) -> float:
        """Rows that reach the shuffle, of the whole log."""
        return self.good * self.scale


def survey_log(
    job: Job, keys: Keys, population: int, budget: int | None = SAMPLE_BYTES
) -> LogSurvey:
    """Read some blocks of the log.

    Args:
        job: the build.
        keys: of the items.
        population: how many items there will be.
        budget: how many bytes may be read.
    """
    columns = log_columns(job.spec)
    got = reach(job.log, columns, budget)
    reading = _Reading(job.spec, keys, population)
    for split, piece in ((b.split, p) for b in got.blocks for p in batches(b, columns)):
        reading.take(split, piece)
    part = got.part(reading.seen)
    found, alone = reading.tally.incidence()
    by_user, by_item = reading.users.spread(), reading.items.spread()
    sample, rows = reading.rows(), int(by_user.rows.sum())
    user_share, whole_rows = sample["user"].n_unique() / max(1, len(found)), float(rows)
    size = row_bytes(sample.drop(BLOCK))
    if not part.whole:
        sample, user_share = extended(sample, found, part)
        whole_rows *= (got.rows or reading.seen) / max(1, reading.seen)
    return LogSurvey(
        part=part,
        read=got.row_count(reading.seen),
        seen=reading.seen,
        bad=+reading.bad,
        rejected=reading.rejected,
        unknown=reading.unknown,
        good=reading.good,
        users=distinct(found, alone, part),
        by_user=by_user,
        by_item=by_item,
        sample=sample.drop(BLOCK),
        user_share=user_share,
        row_share=len(sample) / max(1.0, whole_rows),
        row_bytes=size,
        integral=reading.kinds.integral,
    )


class _Reading:
    """What adds up while the log is read, a block at a time; the names are those of `LogSurvey`."""

    def __init__(self, spec: FeatureSpec, keys: Keys, population: int) -> None:
        self.spec, self.keys, self.population = spec, keys, population
        self.index = KeyIndex(keys.index, keys.losers).ids
        self.sample = Thinned("user", USER_BYTES)
        self.seen = self.rejected = 0
        self.unknown = self.good = 0.0
        self.bad, self.kinds = Counter[Reason](), Seen.NOTHING
        self.users, self.items, self.tally = _Counts(), _Counts(), Tally()

    def take(self, split: Split, block: Iterable[ReadBatch]) -> None:
        """Read a block."""
        hashes = [h for batch in block if (h := self._batch(split, batch)) is not None]
        if hashes:
            self.tally.add(np.concatenate(hashes))

    def _batch(self, split: Split, batch: ReadBatch) -> npt.NDArray[np.uint64] | None:
        """Check a batch; returns the hashes of its users, a row each that reaches the shuffle."""
        self.seen += len(batch.table) + len(batch.bad)
        self.rejected += len(batch.bad)
        self.bad[Reason.MALFORMED_ROW] += len(batch.bad)
        if len(batch.table) == 0:
            return None
        rows = located(batch, split)
        frame, odd, flags = parse_rows(self.spec, rows)
        short = short_rows(rows)
        self.bad.update(b[2] for b in odd if b[0] not in short)
        self.bad[Reason.MALFORMED_ROW] += len(short)
        self.rejected += len(odd)
        self.kinds |= Seen(flags[LOG_SEEN])
        kept, lost = self._known(frame)
        self.unknown += lost
        keeps_unknown = self.spec.interactions.unknown_items == "oov"
        self.good += len(frame) if keeps_unknown else len(frame) - lost
        if kept.is_empty():
            return None
        table = with_tie(self.spec, kept).select(shuffle_columns(self.spec)).to_arrow()
        number = pa.array([len(self.tally.hashes)] * len(table), pa.int32())
        hashes = self.sample.add(table.append_column(BLOCK, number))
        self.users.add(hashes)
        self.items.add(kept["item_index"].to_numpy())
        return hashes

    def _known(self, frame: pl.DataFrame) -> tuple[pl.DataFrame, float]:
        """Rows with item ids, and how many rows have an item that the catalogue lacks.

        Where only some keys were read, as many of the rows are known as the share of keys read says, and ids are made up
        by hash: their spread over the log, which is what matters, stays as it is.
        """
        keeps_unknown = self.spec.interactions.unknown_items == "oov"
        if self.keys.whole:
            kept = join_index(self.spec, frame, self.index).kept
            outside = int((kept["item_index"] < self.spec.first_item_index).sum())
            return kept, outside if keeps_unknown else len(frame) - len(kept)
        found = int(self.index.find(frame["item"]).is_not_null().sum())
        scale = self.population / max(1, len(self.keys.index))
        share = min(1.0, found / max(1, len(frame)) * scale)
        hashes = hash_texts(frame["item"])
        ids = (hashes % max(1, self.population)).cast(pl.Int64) + self.spec.first_item_index
        kept = frame.with_columns(item_index=ids)
        if keeps_unknown:
            kept = kept.with_columns(item_hash=hashes)
        return kept, len(frame) * (1 - share)

    def rows(self) -> pl.DataFrame:
        """The rows of the users that were kept, with BLOCK."""
        if self.sample.tables:
            return pl.DataFrame(pl.from_arrow(pa.concat_tables(self.sample.tables)))
        kinds = {"user": pl.String, "tie": pl.UInt64, "behaviour": pl.Int32, "item_hash": pl.UInt64}
        schema = {c: kinds.get(c, pl.Int64) for c in shuffle_columns(self.spec)}
        return pl.DataFrame(schema=schema | {BLOCK: pl.Int32})


def row_bytes(rows: pl.DataFrame) -> float:
    """What a row of the shuffle takes as Arrow, where the user is text with 32-bit offsets and the item a 32-bit id."""
    fixed = {"user": 4, "item_index": 4, "behaviour": 4}
    nulls = 1 / 8 if "order" in rows.columns and rows["order"].null_count() else 0.0
    text = float(rows["user"].str.len_bytes().mean() or 0.0)  # type: ignore[arg-type]
    return text + nulls + sum(fixed.get(c, 8) for c in rows.columns)


class _Counts:
    """Counts of keys over many batches."""

    def __init__(self) -> None:
        self.parts: list[pl.DataFrame] = []

    def add(self, keys: npt.NDArray[np.generic]) -> None:
        """Count some."""
        self.parts.append(pl.DataFrame({"key": keys}).group_by("key").len("rows"))
        if len(self.parts) >= 16:
            self.parts = [self._merged()]

    def _merged(self) -> pl.DataFrame:
        return pl.concat(self.parts).group_by("key").agg(pl.col("rows").sum())

    def spread(self) -> Spread:
        """All keys, ascending, and their rows."""
        if not self.parts:
            return Spread(np.zeros(0, np.uint64), np.zeros(0, np.int64))
        whole = self._merged().sort("key")
        return Spread(whole["key"].to_numpy(), whole["rows"].to_numpy().astype(np.int64))
