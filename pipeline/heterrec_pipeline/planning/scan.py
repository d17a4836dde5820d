"""Reads a bounded part of each table: counts rows, distinct keys and values, and keeps the raw rows of the sample."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import polars as pl
import pyarrow as pa

from heterrec_pipeline.checking.sample import present
from heterrec_pipeline.features import categorical
from heterrec_pipeline.interactions.read import LOG_SEEN, log_columns, parse_rows
from heterrec_pipeline.interactions.times import milliseconds
from heterrec_pipeline.items.from_log import concatenated
from heterrec_pipeline.job import Job, TableJob
from heterrec_pipeline.planning.blocks import BlockSample, batches
from heterrec_pipeline.planning.estimates import (
    BlockCounts,
    Fraction,
    Hashes,
    Interval,
    Mask,
    distinct,
)
from heterrec_pipeline.planning.histories import BLOCK, TIME, USER, whole_histories
from heterrec_pipeline.reading.batches import ReadBatch, one_chunk
from heterrec_pipeline.reading.erased import Gate, live
from heterrec_pipeline.reading.files import Split
from heterrec_pipeline.reading.read import ROW, located, short_rows
from heterrec_schemas.feature_spec import CategoricalFeature, Timestamp
from heterrec_schemas.hashing import hash_texts
from heterrec_schemas.rejects import Reason
from heterrec_schemas.values import Seen

SLICES = 64
"""Number of blocks that the sampled rows count as if they were chosen by hash among all rows of the table."""
KEY = "__key"
"""Column of a feature table's sample, in addition to the raw ones and BLOCK: the text of the key."""
Keep = Callable[[Hashes], Mask]


@dataclass(frozen=True)
class TableRead:
    """The part of a feature table that was read.

    Attributes:
        table: the table.
        part: the fraction of its blocks.
        rows, keys: number of rows and of distinct keys of the table.
        known: hashes of the keys found, ascending.
        all_known: whether these are all keys of the table.
        key_bytes: mean length of a key's text.
        distinct: number of distinct values by categorical feature.
        frequent: by categorical feature, the approximate number of values that occur in `min_count` rows of the whole table.
        valued: the features that have any value.
        malformed: share of the rows that are malformed or have too few fields.
        erased: share of the rows that are erased; the other figures are without them.
        filtered: share of the rows that the spec leaves out, likewise.
        not_utf8: share of the rows whose cell is not UTF-8, by column. In the sample these cells are null, and rows with
            such a key are absent.
        sample: raw rows with BLOCK and KEY; None if none are kept.
    """

    table: TableJob
    part: Fraction
    rows: Interval
    keys: Interval
    known: Hashes
    all_known: bool
    key_bytes: float
    distinct: dict[str, Interval]
    frequent: dict[str, int]
    valued: set[str]
    malformed: float
    erased: float
    filtered: float
    not_utf8: dict[str, float]
    sample: pa.Table | None

    @property
    def sliced(self) -> bool:
        """Whether the sampled rows were chosen by hash among all rows."""
        return self.sample is None or self.part.whole


def read_table(
    table: TableJob,
    got: BlockSample,
    keys: BlockSample,
    keep: Keep | None = None,
    timestamp: Timestamp | None = None,
    gate: Gate | None = None,
) -> TableRead:
    """Read the chosen blocks of a feature table.

    Args:
        table: the table.
        got: the blocks to read; those of the log if it is denormalised.
        keys: the blocks whose key column can be read; used if they are the whole table.
        keep: chooses the rows of the sample by hash of their key; None to keep no rows.
        timestamp: the time of a row of a denormalised log, whose items have only the rows with a readable time.
        gate: what is erased; the table's own unless given.
    """
    gate = table.gate if gate is None else gate
    time = [] if timestamp is None else [timestamp.column]
    tally, kept, valued = BlockCounts(), list[pa.Table](), set[str]()
    listed = [f for f in table.features if isinstance(f, CategoricalFeature)]
    values = {f.name: BlockCounts() for f in listed}
    rows = odd = gone = left_out = size = texts = 0
    not_utf8 = Counter[str]()
    widest = 1
    for number, split, every in batches(got, [*table.columns, *time, *gate.columns]):
        batch = live(every, gate)
        rows += batch.read
        gone += batch.erased
        left_out += batch.filtered
        odd += len(batch.bad) + len(batch.short)
        not_utf8.update({column: len(cells) for column, cells in batch.bad_text.items()})
        usable = _with_readable_key(batch, table.key)
        if timestamp is not None:
            usable = _with_time(usable, timestamp)
        cells = one_chunk(usable, table.key)
        key, _ = table.key_text(cells, split.file.name)
        tally.add(number, hash_texts(key.drop_nulls()))
        size, texts = size + int(key.str.len_bytes().sum()), texts + len(key) - key.null_count()
        part = usable
        if keep is not None:
            part = _kept(part, key, number, got.whole, keep)
            kept.append(part)
        for f in table.features:
            if f.name not in valued and present(f, one_chunk(part, f.column))[0]:
                valued.add(f.name)
        for f in listed:
            cells, _ = categorical.texts(f, one_chunk(usable, f.column))
            cells = cells.unique() if f.multivalued else cells
            values[f.name].add(number, hash_texts(cells["value"]))
            widest = max([widest, *cells["row"].value_counts()["count"].top_k(1)])
    share = got.part(rows)
    found = TableRead(
        table=table,
        part=share,
        rows=got.row_count(rows),
        keys=distinct(tally, share),
        known=tally.rows()["key"].to_numpy(),
        all_known=got.whole,
        key_bytes=size / max(1, texts),
        distinct={n: distinct(t, share, share.unread_rows * widest) for n, t in values.items()},
        frequent={
            f.name: int((values[f.name].rows()["rows"] / share.share >= f.min_count).sum())
            for f in listed
        },
        valued=valued,
        malformed=odd / max(1, rows),
        erased=gone / max(1, rows),
        filtered=left_out / max(1, rows),
        not_utf8={column: count / rows for column, count in not_utf8.items()},
        sample=None if keep is None else concatenated(kept or [_nothing(table.columns, KEY)]),
    )
    if got.whole or not keys.whole:
        return found
    all_keys = read_table(replace(table, features=()), keys, keys, timestamp=timestamp, gate=gate)
    return replace(
        found,
        rows=all_keys.rows,
        keys=all_keys.keys,
        known=all_keys.known,
        all_known=True,
        erased=all_keys.erased,
        filtered=all_keys.filtered,
    )


def _with_readable_key(batch: ReadBatch, key: str) -> pa.RecordBatch:
    """The rows whose key is UTF-8."""
    bad = batch.bad_text.get(key)
    return batch.table.filter(pa.array(~np.isin(batch.rows, list(bad)))) if bad else batch.table


def _with_time(rows: pa.RecordBatch, timestamp: Timestamp) -> pa.RecordBatch:
    """The rows with a readable time."""
    time = milliseconds(one_chunk(rows, timestamp.column), timestamp)
    return rows.filter((time >= 0).fill_null(False).to_arrow())


def _kept(rows: pa.Table, key: pl.Series, number: int, sliced: bool, keep: Keep) -> pa.Table:
    """The rows of the chosen keys, with BLOCK and KEY; rows without a key are chosen by the hash of their position."""
    own = pl.int_range(len(key), eager=True).cast(pl.String)
    hashes: Hashes = hash_texts(pl.select(pl.coalesce(key, own)).to_series()).to_numpy()
    blocks = hashes % np.uint64(SLICES) if sliced else np.full(len(key), number)
    rows = rows.append_column(KEY, key.to_arrow().cast(pa.string()))
    rows = rows.append_column(BLOCK, pa.array(blocks.astype(np.int64)))
    return rows.filter(pa.array(keep(hashes)))


def _nothing(columns: list[str], *more: str) -> pa.Table:
    return pa.table({c: pa.nulls(0) for c in [*columns, *more, BLOCK]})


def below(hashes: Hashes, share: float) -> Mask:
    """Whether each hash belongs to a share of all keys: the same keys in every table."""
    chosen: Mask = hashes <= np.uint64(min(2**64 - 1, int(share * 2**64)))
    return chosen


def among(hashes: Hashes, known: Hashes | None) -> Mask:
    """Whether each hash is among the known ones, which are sorted; True for all if `known` is None."""
    if known is None or len(known) == 0:
        return np.full(len(hashes), known is None)
    found: Mask = known[np.minimum(np.searchsorted(known, hashes), len(known) - 1)] == hashes
    return found


@dataclass
class LogRead:
    """The part of the log that was read.

    Attributes:
        part: the fraction of its blocks.
        rows: number of rows of the log.
        users: number of users that have rows in the shuffle.
        seen, erased, filtered, rejected, unknown, good: rows read, erased rows, rows left out, unusable rows, rows with an
            item that is not in the catalogue, and rows that reach the shuffle.
        bad: entries in `rejects/` by reason.
        by_user, by_item: rows that reach the shuffle, by hash of the user and of the item.
        user_bytes: mean length of a user's text in these rows.
        kinds: the kinds of values that users are.
        sample: raw rows of whole users that reach the shuffle; None if none are kept.
    """

    part: Fraction
    rows: Interval
    users: Interval
    seen: int = 0
    erased: int = 0
    filtered: int = 0
    rejected: int = 0
    unknown: float = 0.0
    good: float = 0.0
    bad: Counter[Reason] = field(default_factory=Counter)
    by_user: BlockCounts = field(default_factory=BlockCounts)
    by_item: BlockCounts = field(default_factory=BlockCounts)
    user_bytes: float = 0.0
    kinds: Seen = Seen.NOTHING
    sample: pa.Table | None = None

    @property
    def scale(self) -> float:
        """Rows of the log per row read."""
        return self.rows.value / self.seen if self.seen else 1.0

    @property
    def shuffled(self) -> float:
        """Rows of the whole log that reach the shuffle."""
        return self.good * self.scale


def read_log(
    job: Job,
    got: BlockSample,
    items: TableRead,
    limit: int | None = None,
    substitutes: pl.Series | None = None,
) -> LogRead:
    """Read the chosen blocks of the log.

    Args:
        job: the build.
        got: the blocks to read.
        items: the catalogue.
        limit: approximate number of rows of the sample; None to keep no rows.
        substitutes: keys of the sampled items; every row of a known item gets one of them, by the hash of its item.
    """
    nothing = Interval.exactly(0)
    read, kept = LogRead(got.part(0), nothing, nothing), list[pa.Table]()
    columns, shuffled = log_columns(job.spec), 0
    if limit is not None and job.spec.denormalised:
        columns = list(dict.fromkeys([*columns, *job.items.columns]))
    share, gate = min(1.0, (limit or 0) / max(1.0, got.expected)), job.log_gate
    for number, split, batch in batches(got, [*columns, *gate.columns]):
        rows, frame = _good_rows(job, read, split, live(batch, gate))
        frame = _known_rows(job, read, items, frame)
        shuffled += len(frame)
        read.by_user.add(number, frame["user_hash"])
        read.by_item.add(0, frame["item_hash"])
        read.user_bytes += int(frame["user"].str.len_bytes().sum())
        if limit is not None:
            chosen = pl.Series(below(frame["user_hash"].to_numpy(), share))
            kept.append(_raw(job, rows, number, frame.filter(chosen), substitutes))
    read.part, read.rows = got.part(read.seen), got.row_count(read.seen)
    read.users = distinct(read.by_user, read.part)
    read.user_bytes /= max(1, shuffled)
    if limit is not None:
        whole = concatenated(kept or [_nothing(columns, USER, TIME)])
        if read.kinds.integral:
            whole = whole.set_column(
                whole.column_names.index(USER), USER, whole[USER].cast(pa.int64())
            )
        read.sample = whole_histories(job.spec, whole, read.part, limit)
    return read


def _good_rows(
    job: Job, read: LogRead, split: Split, batch: ReadBatch
) -> tuple[pa.Table, pl.DataFrame]:
    """The batch as a located table, and its readable rows; counts the unreadable ones."""
    rows = located(batch, split)
    short = short_rows(rows)
    frame, odd, flags = parse_rows(job.spec, rows)
    read.kinds |= Seen(flags[LOG_SEEN])
    read.seen += batch.read
    read.erased += batch.erased
    read.filtered += batch.filtered
    read.rejected += len(odd) + len(batch.bad)
    read.bad.update(b[2] for b in odd if b[0] not in short)
    read.bad[Reason.MALFORMED_ROW] += len(short) + len(batch.bad)
    hashes = {f"{c}_hash": hash_texts(frame[c]) for c in ("user", "item")}
    return rows, frame.with_columns(**hashes)


def _known_rows(job: Job, read: LogRead, items: TableRead, frame: pl.DataFrame) -> pl.DataFrame:
    """The rows that reach the shuffle, with the column `known`; counts unknown items.

    Where only some keys of the catalogue were read, their share gives the number of unknown items, and all rows are kept.
    """
    known = among(frame["item_hash"].to_numpy(), None if job.spec.denormalised else items.known)
    unknown = float(len(known) - known.sum())
    if not (items.all_known or job.spec.denormalised):
        share = float(known.sum()) * items.keys.value / max(1, len(items.known))
        known, unknown = np.full(len(known), True), max(0.0, len(known) - share)
    read.unknown += unknown
    oov = job.spec.interactions.unknown_items == "oov"
    read.good += len(frame) if oov else len(frame) - unknown
    frame = frame.with_columns(known=pl.Series(known, dtype=pl.Boolean))
    return frame if oov else frame.filter("known")


def _raw(
    job: Job, rows: pa.Table, number: int, frame: pl.DataFrame, substitutes: pl.Series | None
) -> pa.Table:
    """The raw rows of `frame`, with USER, TIME and BLOCK, their items replaced by substitutes."""
    raw = rows.filter(pa.array(np.isin(rows[ROW].to_numpy(), frame["row"].to_numpy())))
    raw = raw.drop_columns([ROW]).replace_schema_metadata(None)
    if substitutes is not None and len(substitutes):
        item = job.spec.interactions.item
        other = substitutes.gather(frame["item_hash"] % len(substitutes))
        text = pl.select(pl.when(frame["known"]).then(other).otherwise(frame["item"])).to_series()
        raw = raw.set_column(raw.column_names.index(item), item, text.to_arrow().cast(pa.string()))
    raw = raw.append_column(USER, frame["user"].to_arrow().cast(pa.string()))
    raw = raw.append_column(TIME, frame["time"].to_arrow())
    return raw.append_column(BLOCK, pa.array(np.full(len(raw), number, np.int64)))
