"""The rows of the vocabularies of the parent and of other systems: read by bucket, and merged with the present counts.

A table of **known** rows has columns `value` (text; null if erased), `id`, `hash` and, of the items' keys, `listed`: whether
the parent has the tokens of that item. New values have no `id`.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from heterrec_pipeline.files import storage
from heterrec_pipeline.job import ITEMS, RETIRED
from heterrec_pipeline.parent import Parent
from heterrec_pipeline.reading.erased import ErasedList, is_erased
from heterrec_pipeline.reading.imported import ImportedVocabulary, imported_rows
from heterrec_pipeline.vocabularies.layout import Rules
from heterrec_pipeline.wiring.cut import BucketKey, cut_by_bucket
from heterrec_schemas.hashing import hash_texts
from heterrec_schemas.tables import ACTIVE

KNOWN = {"value": pl.String, "id": pl.Int64, "hash": pl.UInt64}


class KnownShard(NamedTuple):
    """A file of known rows: the vocabulary, and the number of the shard of the parent's."""

    vocabulary: str
    shard: int


def known_shards(rules: Sequence[Rules]) -> list[KnownShard]:
    """The files that some vocabularies begin with; that of another system is one shard."""
    return [KnownShard(r.name, s) for r in rules if r.known for s in range(r.known.shards)]


def read_known(
    parent: Parent | None, rules: dict[str, Rules], element: KnownShard
) -> Iterator[tuple[BucketKey, pa.Table]]:
    """The rows of a file by bucket: ((vocabulary, bucket), known rows)."""
    rule = rules[element.vocabulary]
    assert rule.known is not None
    if isinstance(rule.known, ImportedVocabulary):
        rows = imported_rows(rule.known)
    else:
        assert parent is not None
        rows = _inherited_rows(parent.path(rule.known.paths[element.shard]))
    # An erased value has no hash any more; one with the remainder of its shard leads to the same file.
    rows = rows.with_columns(hash=hash_texts(rows["value"]).fill_null(element.shard))
    columns = list(KNOWN)
    if rule.name == ITEMS:
        assert parent is not None
        retired = pl.col("id").is_in(_retired_tokens(parent).implode())
        rows = rows.with_columns(listed=(pl.col("status") == ACTIVE) | retired)
        columns.append("listed")
    if len(rows):
        numbers = (rows["hash"] % rule.buckets).cast(pl.Int64)
        for bucket, piece in cut_by_bucket(rows.select(columns).to_arrow(), numbers):
            yield (rule.name, bucket), piece


def _inherited_rows(path: str) -> pl.DataFrame:
    """The rows of a vocabulary file, with the values as text."""
    with storage.open_arrow(path) as handle:
        rows = pl.DataFrame(pl.from_arrow(pq.read_table(handle)))
    return rows.with_columns(pl.col("value").cast(pl.String))


def _retired_tokens(parent: Parent) -> pl.Series:
    """The items in the parent's retired/."""
    mine = tuple(parent.path(p) for p in parent.tokens if p.startswith(f"{RETIRED}/"))
    return _item_indexes(mine)


@lru_cache(maxsize=1)
def _item_indexes(paths: tuple[str, ...]) -> pl.Series:
    found = [pl.Series([], dtype=pl.Int64)]
    for path in paths:
        with storage.open_arrow(path) as handle:
            found.append(pl.Series(pq.read_table(handle, columns=["item_index"])["item_index"]))
    return pl.concat(found)


def split_known(
    counts: pl.DataFrame, known: pl.DataFrame, listed: ErasedList | None
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The known rows of a bucket with their present counts, and the present values that are not known.

    Args:
        counts: columns value (distinct texts) and count (int64) of the present input.
        known: known rows.
        listed: the values that are erased, whose rows lose value and count, and keep id and file.

    Returns:
        The known rows by id, with `count`; the rest of `counts`.
    """
    if listed is not None:
        gone = pl.Series(is_erased(listed, known["value"]))
        known = known.with_columns(value=known["value"].set(gone, None))
    counted = known.join(counts, on="value", how="left").with_columns(pl.col("count").fill_null(0))
    return counted.sort("id"), counts.join(known, on="value", how="anti")
