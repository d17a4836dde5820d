"""The log: its checks on what was read, how its rows spread over users and items, and some users' rows whole."""

from collections import Counter
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from heterrec_pipeline.catalogue.rows import key_ids
from heterrec_pipeline.job import Job
from heterrec_pipeline.lookup import Lookup
from heterrec_pipeline.planning.sampling.blocks import SAMPLE_BYTES, batches, reach
from heterrec_pipeline.planning.sampling.estimates import (
    Estimate,
    Fraction,
    Tally,
    distinct,
)
from heterrec_pipeline.planning.sampling.thinning import Thinned
from heterrec_pipeline.planning.survey.extended import BLOCK, extended
from heterrec_pipeline.planning.survey.tables import Keys
from heterrec_pipeline.reading.read import located, short_rows
from heterrec_pipeline.sequences.log import (
    LOG_SEEN,
    known_rows,
    log_columns,
    parse_rows,
    shuffle_columns,
    with_tie,
)
from heterrec_schemas.hashing import hash_texts
from heterrec_schemas.rejects import Reason
from heterrec_schemas.spec import FeatureSpec
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
    spec = job.spec
    got = reach(job.log, log_columns(spec), budget)
    index = key_ids(keys.index)
    sample = Thinned("user", USER_BYTES)
    seen = malformed = rejected = 0
    unknown = good = 0.0
    bad, kinds = Counter[Reason](), Seen.NOTHING
    users, items, tally = _Counts(), _Counts(), Tally()
    for split, piece in ((b.split, p) for b in got.blocks for p in batches(b, log_columns(spec))):
        here = []
        for batch in piece:
            malformed += len(batch.bad)
            if len(batch.table) == 0:
                continue
            rows = located(batch, split)
            frame, odd, flags = parse_rows(spec, rows)
            short = short_rows(rows)
            bad.update(b[2] for b in odd if b[0] not in short)
            bad[Reason.MALFORMED_ROW] += len(short)
            rejected += len(odd)
            kinds |= Seen(flags[LOG_SEEN])
            seen += len(rows)
            kept, lost = _known(spec, frame, index, keys, population)
            unknown += lost
            good += len(frame) - lost if spec.interactions.unknown_items != "oov" else len(frame)
            if len(kept):
                table = with_tie(spec, kept).select(shuffle_columns(spec)).to_arrow()
                number = pa.array([len(tally.hashes)] * len(table), pa.int32())
                hashes = sample.add(table.append_column(BLOCK, number))
                users.add(hashes)
                items.add(kept["item_index"].to_numpy())
                here.append(hashes)
        if here:
            tally.add(np.concatenate(here))
    seen += malformed
    bad[Reason.MALFORMED_ROW] += malformed
    part = got.part(seen)
    found, alone = tally.incidence()
    by_user, by_item = users.spread(), items.spread()
    made = pl.DataFrame(pl.from_arrow(pa.concat_tables(sample.tables))) if sample.tables else None
    rows_kept = int(by_user.rows.sum())
    if made is None:
        made = _no_rows(spec)
    size = row_bytes(made.select(shuffle_columns(spec)))
    if part.whole:
        total = Estimate.exactly(len(found))
        user_share = made["user"].n_unique() / max(1, len(found))
        row_share = len(made) / max(1, rows_kept)
    else:
        total = distinct(found, alone, part)
        made, user_share = extended(made, found, part)
        row_share = len(made) / max(1.0, rows_kept * (got.rows or seen) / max(1, seen))
    read = got.row_count(seen)
    made = made.select(shuffle_columns(spec))
    return LogSurvey(
        part, read, seen, +bad, rejected + malformed, unknown, good, total, by_user, by_item, made, user_share, row_share,
        size, kinds.integral,
    )  # fmt: skip


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


def _known(
    spec: FeatureSpec, frame: pl.DataFrame, index: Lookup, keys: Keys, population: int
) -> tuple[pl.DataFrame, float]:
    """Rows with item ids, and how many rows have an item that the catalogue lacks.

    Where only some keys were read, as many of the rows are known as the share of keys read says, and ids are made up by
    hash: their spread over the log, which is what matters, stays as it is.
    """
    if keys.whole:
        kept, _ = known_rows(spec, frame, index)
        missing = int((kept["item_index"] < spec.first_item_index).sum())
        lost = missing if spec.interactions.unknown_items == "oov" else len(frame) - len(kept)
        return kept, lost
    found = int(index.find(frame["item"]).is_not_null().sum())
    share = min(1.0, found / max(1, len(frame)) * population / max(1, len(keys.index)))
    hashes = hash_texts(frame["item"])
    ids = (hashes % max(1, population)).cast(pl.Int64) + spec.first_item_index
    kept = frame.with_columns(item_index=ids)
    if spec.interactions.unknown_items == "oov":
        kept = kept.with_columns(item_hash=hashes)
    return kept, len(frame) * (1 - share)


def _no_rows(spec: FeatureSpec) -> pl.DataFrame:
    kinds = {"user": pl.String, "tie": pl.UInt64, "behaviour": pl.Int32, "item_hash": pl.UInt64}
    schema = {c: kinds.get(c, pl.Int64) for c in shuffle_columns(spec)}
    return pl.DataFrame(schema=schema | {BLOCK: pl.Int32})
