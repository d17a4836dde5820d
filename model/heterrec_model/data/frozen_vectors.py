"""Vectors of an embedding feature, read from Parquet files: a generation has their tokens only.

Shapes: I ids of the item vocabulary, R rows of a batch, F dimensions of a vector.
"""

import glob
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from heterrec_model.config import FrozenConfig
from heterrec_model.data.ragged_array import list_lengths, one_array
from heterrec_schemas import Generation
from heterrec_schemas.errors import CallError, DataError, suggest
from heterrec_schemas.feature_spec import EmbeddingFeature
from heterrec_schemas.value_columns import column_text

ROWS = 8192
"""Number of rows read at a time."""
Vectors = npt.NDArray[np.float32]


def check_frozen(generation: Generation, name: str, frozen: FrozenConfig) -> list[Path]:
    """The files of a feature's vectors, ascending, after a check of their columns.

    Args:
        generation: with the feature.
        name: of the item feature.
        frozen: its entry in `model.frozen`.

    Raises:
        CallError: the feature has no vectors, or there is no file or column.
    """
    where, feature = f"model.frozen.{name}", generation.feature(name)
    if not isinstance(feature, EmbeddingFeature):
        raise CallError(where, got=f"a {feature.kind} feature", expected="an embedding feature")
    files = [Path(found) for found in sorted(glob.glob(frozen.files, recursive=True))]
    if not files:
        raise CallError(f"{where}.files: there is no file {frozen.files}")
    for file in files:
        try:
            schema = pq.read_schema(file)
        except (OSError, pa.ArrowInvalid) as error:
            raise CallError(f"{where}.files: {file} is no Parquet file: {error}") from None
        for column in _columns(generation, feature, frozen):
            if column not in schema.names:
                raise CallError(
                    f"{where}: {file} has no column {column!r}",
                    todo=suggest(column, schema.names)
                    or f"Set {where}.key and {where}.column to the columns of items and vectors.",
                )
    return files


def frozen_vectors(generation: Generation, name: str, frozen: FrozenConfig) -> Tensor:
    """The vectors of all items, float32 [I, F]; zero without a vector.

    Args:
        generation: of the items.
        name: of the item feature.
        frozen: its entry in `model.frozen`.

    Raises:
        CallError: see `check_frozen`.
        DataError: a vector has another width or is not finite, an item has two, or no item has one.
    """
    files = check_frozen(generation, name, frozen)
    feature = generation.feature(name)
    assert isinstance(feature, EmbeddingFeature)
    items = generation.read(generation.known_item_shards(), ["item_index", "item_id"])
    index_of = pl.DataFrame(
        {
            "key": column_text(one_array(items["item_id"]), "item_id")[0],
            "index": pl.Series(one_array(items["item_index"])).cast(pl.Int64),
        }
    )
    size = generation.manifest.item_vocabulary_size
    vectors_IF = np.zeros((size, feature.dim), dtype=np.float32)
    seen_I = np.zeros(size, dtype=bool)
    columns = _columns(generation, feature, frozen)
    for file in files:
        for keys, column in _batches(file, columns):
            where = f"model.frozen.{name}: {file}"
            found = keys.to_frame("key").join(index_of, on="key", how="left", maintain_order="left")
            known_R = found["index"].is_not_null() & pl.Series(column.is_valid())
            key_R = found["key"].filter(known_R)
            index_R = found["index"].filter(known_R)
            rows = _rows(column.filter(known_R.to_arrow()), feature.dim, where)
            repeated_R = index_R.is_duplicated().to_numpy() | seen_I[index_R.to_numpy()]
            if repeated_R.any():
                key = key_R[int(repeated_R.argmax())]
                raise DataError(
                    f"{where}: item {key!r} has two vectors", todo="Remove one of them."
                )
            finite_R = np.isfinite(rows).all(axis=1)
            if not finite_R.all():
                raise DataError(
                    f"{where}: the vector of item {key_R[int(finite_R.argmin())]!r} is not finite",
                    todo="Replace NaN and infinite values, or leave the item out.",
                )
            vectors_IF[index_R.to_numpy()], seen_I[index_R.to_numpy()] = rows, True
    if not seen_I.any():
        raise DataError(
            f"model.frozen.{name}: no item of the generation has a vector in {frozen.files}",
            todo=f"Set model.frozen.{name}.key to the column of the item ids.",
        )
    return torch.from_numpy(vectors_IF)


def _columns(
    generation: Generation, feature: EmbeddingFeature, frozen: FrozenConfig
) -> tuple[str, str]:
    """The columns of keys and vectors."""
    return frozen.key or generation.spec.items.key, frozen.column or feature.column


def _batches(file: Path, columns: tuple[str, str]) -> Iterator[tuple[pl.Series, pa.Array]]:
    """The keys as text, and the vectors, of some rows at a time."""
    key, vector = columns
    for batch in pq.ParquetFile(file).iter_batches(ROWS, columns=list(columns)):
        yield column_text(batch.column(key), key)[0], batch.column(vector)


def _rows(column: pa.Array, dim: int, where: str) -> Vectors:
    """The vectors of a column without nulls, [R, F]."""
    kind = column.type
    listed = pa.types.is_list(kind) or pa.types.is_large_list(kind)
    if not (listed or pa.types.is_fixed_size_list(kind)):
        raise DataError(f"{where}: vectors", got=str(kind), expected="lists of numbers")
    width_R = list_lengths(column)
    if (width_R != dim).any():
        raise DataError(
            f"{where}: vectors of another width",
            got=f"{int(width_R[width_R != dim][0])} dimensions",
            expected=f"{dim}, the dim of the feature",
        )
    values = pl.Series(column.flatten()).cast(pl.Float32).fill_null(float("nan"))
    return values.to_numpy().reshape(-1, dim)
