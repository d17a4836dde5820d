"""Join the rows of the log with the item index.

The index is a side input (`index_rows`), or, if it is too large for a worker, joined by bucket (`join_items`).
"""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import polars as pl
import pyarrow as pa

from heterrec_pipeline.files.parts import TableRef, load
from heterrec_pipeline.files.rejects import FULL, RejectedCell, RejectValues
from heterrec_pipeline.interactions.read import shuffle_columns
from heterrec_pipeline.job import INTERACTIONS, ITEMS
from heterrec_pipeline.reading.batches import one_chunk
from heterrec_pipeline.text_lookup import Lookup
from heterrec_pipeline.vocabularies.lookup import bucket_lookup, lookups
from heterrec_pipeline.wiring.cut import BucketKey
from heterrec_pipeline.wiring.reports import report_count, report_rejects
from heterrec_schemas.feature_spec import FeatureSpec
from heterrec_schemas.hashing import hash_texts
from heterrec_schemas.rejects import Reason


class JoinedRows(NamedTuple):
    """Readable rows after the join with the item index; `unknown_items` of the spec decides about rows without an item.

    Attributes:
        kept: the rows to keep, with item_index (and, under `oov`, item_hash: the item's identity) instead of item.
        dropped: number of rows dropped under `drop`.
        rejected: the rows rejected under `reject`, with item (text).
    """

    kept: pl.DataFrame
    dropped: int
    rejected: pl.DataFrame


def join_index(spec: FeatureSpec, rows: pa.Table, index: Lookup) -> JoinedRows:
    """Join readable rows with the item index.

    Args:
        spec: the spec.
        rows: readable rows; column item is text or a dictionary of texts.
        index: the item_index of each item.
    """
    items = one_chunk(rows, "item")
    if not pa.types.is_dictionary(items.type):
        items = items.dictionary_encode()
    codes, words = pl.Series(items.indices), pl.Series(items.dictionary, dtype=pl.String)
    frame = pl.DataFrame(pl.from_arrow(rows.drop_columns(["item"])))
    joined = frame.with_columns(item_index=index.find(words).gather(codes))
    none = joined.head(0)
    if spec.interactions.unknown_items == "oov":
        hashes = hash_texts(words).gather(codes)
        outside = (hashes % spec.items.catalogue_vocabulary.oov_buckets).cast(pl.Int64) + 2
        kept = joined.with_columns(pl.col("item_index").fill_null(outside), item_hash=hashes)
        return JoinedRows(kept, 0, none)
    unknown = joined["item_index"].is_null()
    if not unknown.any():
        return JoinedRows(joined, 0, none)
    kept, rest = joined.filter(~unknown), joined.filter(unknown)
    if spec.interactions.unknown_items == "drop":
        return JoinedRows(kept, len(rest), none)
    return JoinedRows(kept, 0, rest.with_columns(item=words.gather(codes.filter(unknown))))


def unknown_items(spec: FeatureSpec, rows: pl.DataFrame) -> list[RejectedCell]:
    """The reject entries of rows with unknown items (row, item)."""
    column = spec.interactions.item
    return [(r, column, Reason.UNKNOWN_ITEM, i) for r, i in rows.select("row", "item").iter_rows()]


def _indexed(spec: FeatureSpec, rows: pa.Table, index: Lookup, told: RejectValues) -> Iterator[Any]:
    joined = join_index(spec, rows, index)
    yield report_count("interactions.unknown_item", joined.dropped)
    if len(joined.rejected):
        yield report_count("interactions.bad", len(joined.rejected))
        # `read_log` has listed truncated rows already.
        for (file,), rejects in joined.rejected.filter(~pl.col("short")).group_by("file"):
            bad = told.told(unknown_items(spec, rejects))
            yield from report_rejects(INTERACTIONS, str(file), bad)
    if len(joined.kept):
        yield joined.kept.select(shuffle_columns(spec)).to_arrow()


def index_rows(
    spec: FeatureSpec,
    rows: pa.Table,
    index: Iterable[tuple[BucketKey, TableRef]],
    *,
    told: RejectValues = FULL,
) -> Iterator[Any]:
    """Readable rows of the log to the columns of the shuffle; `told` is what is told of rejected cells."""
    yield from _indexed(spec, rows, lookups(index)[ITEMS], told)


def join_items(
    spec: FeatureSpec,
    element: tuple[Any, dict[str, Iterable[Any]]],
    *,
    told: RejectValues = FULL,
) -> Iterator[Any]:
    """A bucket's item ids, and the rows of the log with its items, to the columns of the shuffle."""
    _, pieces = element
    index = bucket_lookup(pieces["ids"])
    for piece in pieces["log"]:
        yield from _indexed(spec, load(piece), index, told)
