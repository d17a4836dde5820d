"""Lookups of ids, made from stored tables of values and ids."""

from collections.abc import Iterable

import polars as pl
import pyarrow as pa

from heterrec_pipeline.files.parts import TableRef, load, once_a_process
from heterrec_pipeline.text_lookup import Lookup
from heterrec_pipeline.wiring.cut import BucketKey, as_frame


def bucket_lookup(tables: Iterable[pa.Table | TableRef]) -> Lookup:
    """A lookup of ids from tables of value and id, such as those of a bucket."""
    none = pl.DataFrame(schema={"value": pl.String, "id": pl.Int64})
    ids = pl.concat([none, *(as_frame(load(t)).select("value", "id") for t in tables)])
    return Lookup(ids["value"], ids["id"])


def lookups(stored: Iterable[tuple[BucketKey, TableRef]]) -> dict[str, Lookup]:
    """The lookups of whole vocabularies by name, each made once per process from its stored ids."""
    by_name: dict[str, list[TableRef]] = {}
    for (name, _), ref in stored:
        by_name.setdefault(name, []).append(ref)
    return {name: _stored_lookup(tuple(sorted(refs))) for name, refs in by_name.items()}


@once_a_process
def _stored_lookup(refs: tuple[TableRef, ...]) -> Lookup:
    return bucket_lookup(refs)
