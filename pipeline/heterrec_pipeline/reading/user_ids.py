"""User ids as hashes: the columns of user ids change where a table is read, so that no step sees an id."""

from collections.abc import Callable
from dataclasses import dataclass

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from heterrec_pipeline.reading.batches import ReadBatch, one_chunk, without_texts
from heterrec_pipeline.reading.key_text import key_text
from heterrec_schemas.user_ids import UserKey


@dataclass(frozen=True)
class HashedIds:
    """The user ids of a table, which are hashed.

    Attributes:
        table: its name in errors.
        column: their column.
        missing_values: further texts that mean a missing id; ids are compared with them before they are hashed.
        key: the key of the hashes.
    """

    table: str
    column: str
    missing_values: tuple[str, ...]
    key: UserKey


def hashed_texts(texts: pa.Array, of: Callable[[str], str]) -> pa.Array:
    """The hashes of n texts; null for null. Each distinct text is hashed once."""
    coded = pc.dictionary_encode(texts)
    words = pa.array([of(text) for text in coded.dictionary.to_pylist()], pa.string())
    return words.take(coded.indices)


def hashed_user_texts(texts: pl.Series, key: UserKey) -> pl.Series:
    """The hashes of n cleaned texts of user ids; null for null."""
    return pl.Series(hashed_texts(texts.to_arrow(), key.hashes.user), dtype=pl.String)


def with_hashed_ids(batch: ReadBatch, ids: HashedIds) -> ReadBatch:
    """A batch with hashes in the place of user ids, and without the texts of rejects that may contain an id.

    The hash is null where an id is missing. A malformed row has no cells, so its text may contain an id.

    Raises:
        SchemaMismatchError: the ids cannot be keys.
        CallError: this process lacks the key.
    """
    batch = without_texts(batch, (ids.column,))
    if ids.column not in batch.table.schema.names:
        return batch
    cells = one_chunk(batch.table, ids.column)
    texts, _ = key_text(cells, ids.column, ids.table, ids.missing_values, quoted=False)
    at = batch.table.schema.get_field_index(ids.column)
    hashed = hashed_texts(texts.to_arrow(), ids.key.hashes.user)
    return batch._replace(table=batch.table.set_column(at, ids.column, hashed))
