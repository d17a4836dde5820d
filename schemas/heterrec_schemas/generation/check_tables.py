"""Check the content of shards: hashes only say that a file is the one that was written.

Readers check what they read: the types of a shard's columns when it is opened, the values of the rows that are read.
Shapes: R rows, N values of all lists.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from heterrec_schemas.codebooks import codebooks_schema
from heterrec_schemas.errors import CorruptGenerationError
from heterrec_schemas.feature_spec import (
    CodebookEmbedding,
    EmbeddingFeature,
    Feature,
    FeatureSpec,
)
from heterrec_schemas.generation.verify import AGAIN
from heterrec_schemas.manifest import Manifest
from heterrec_schemas.reductions import SUFFIX, reduction_schema
from heterrec_schemas.rejects import REJECTS_SCHEMA
from heterrec_schemas.tables import (
    AVAILABLE_FROM_SCHEMA,
    BOUNDARIES_SCHEMA,
    END_MS,
    ERASED,
    FIRST_INTERACTION_SCHEMA,
    ITEM_COUNTS_SCHEMA,
    ITEM_TIMES,
    QUANTIZERS_SCHEMA,
    check_columns,
    items_schema,
    key_type,
    sequences_schema,
    vocabulary_schema,
)
from heterrec_schemas.tokens import FIRST_FREE, ITEM_VOCABULARY, MISSING, feature_stem

_KEYS = ("item_id", "user_id", "value")
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class ColumnRule:
    """What the values of a column must be.

    Attributes:
        types: the allowed types.
        low: smallest value, or None.
        high: one more than the largest value, or None.
        ascending: whether values increase: strictly from row to row, or in a list weakly from value to value.
        like: a column of lists that have the same lengths, or None.
        nullable: whether a cell may be null.
        null_where: a column and its value in the rows whose cell must be null; None allows nulls in any row.
    """

    types: tuple[pa.DataType, ...]
    low: int | None = None
    high: int | None = None
    ascending: bool = False
    like: str | None = None
    nullable: bool = False
    null_where: tuple[str, str] | None = None


Rules = dict[str, ColumnRule]
"""The rules of a table by column."""


def table_rules(manifest: Manifest, spec: FeatureSpec, path: str) -> Rules:
    """The rules of the table that a shard belongs to.

    Args:
        manifest: of the generation.
        spec: of the generation.
        path: of the shard, relative to the generation's folder.
    """
    folder, _, name = path.partition("/")
    stem = name.split("-")[0].removesuffix(".parquet")
    sizes = {
        feature_stem(entry.side, entry.name): entry.vocabulary_size for entry in manifest.features
    }
    items = manifest.item_vocabulary_size
    bounds: dict[str, dict[str, Any]]
    if folder in ("items", "retired"):
        schema = items_schema(spec, integral=False)
        bounds = _tokens(spec.items.features, sizes, "")
        bounds["item_index"] = _between(spec.first_item_index, items, ascending=True)
    elif folder == "sequences":
        schema = sequences_schema(spec, stem, integral=False)
        bounds = _events("", spec, FIRST_FREE, items)
        bounds |= _events("target_", spec, spec.first_item_index, items)
        bounds |= _tokens(spec.user_features, sizes, "user_")
        for name, rule in _tokens(spec.items.features, sizes, "").items():
            bounds[f"item_{name}"] = rule | {"like": "item_index"}
        bounds["window"] = {"low": 0}
    elif folder == "vocabularies":
        schema = vocabulary_schema(integral=False, erased=True)
        high = items if stem == ITEM_VOCABULARY else sizes.get(stem, 0)
        bounds = {"id": _between(FIRST_FREE, high), "count": {"low": 0}}
        bounds["value"] = {"null_where": ("status", ERASED)}
    elif folder == "item_counts":
        schema = ITEM_COUNTS_SCHEMA
        bounds = {
            "item_index": _between(FIRST_FREE, items, ascending=True),
            "train_count": {"low": 1},
        }
    elif folder == ITEM_TIMES:
        schema = AVAILABLE_FROM_SCHEMA if stem == "available_from" else FIRST_INTERACTION_SCHEMA
        bounds = {name: _between(0, END_MS) for name in schema.names}
        bounds["item_index"] = _between(FIRST_FREE, items, ascending=True)
    elif folder == "boundaries":
        schema, bounds = BOUNDARIES_SCHEMA, {"edge": {"ascending": True}}
    elif folder == "quantizers":
        feature = spec.named_features.get(stem.removesuffix(SUFFIX))
        schema, bounds = QUANTIZERS_SCHEMA, {}
        if stem.endswith(SUFFIX) and isinstance(feature, EmbeddingFeature):
            schema = reduction_schema(feature.width)
            bounds = {"dim": _between(0, feature.dim, ascending=True)}
        elif isinstance(feature, CodebookEmbedding):
            schema = codebooks_schema(feature.book_width)
            bounds = {
                "codebook": _between(0, feature.token_count),
                "code": _between(0, feature.codes),
            }
    elif folder == "rejects":
        schema, bounds = REJECTS_SCHEMA, {}
    else:
        return {}
    keys = (key_type(integral=True), key_type(integral=False))
    return {
        field.name: ColumnRule(
            types=keys if field.name in _KEYS and folder != "rejects" else (field.type,),
            nullable=field.nullable,
            **bounds.get(field.name, {}),
        )
        for field in schema
    }


def _between(low: int, high: int, **more: Any) -> dict[str, Any]:
    return {"low": low, "high": high, **more}


def _tokens(
    features: list[Feature], sizes: dict[str, int], prefix: str
) -> dict[str, dict[str, Any]]:
    return {prefix + f.name: _between(MISSING, sizes.get(prefix + f.name, 0)) for f in features}


def _events(prefix: str, spec: FeatureSpec, low: int, high: int) -> dict[str, dict[str, Any]]:
    """The rules of the columns with a value per interaction."""
    behaviour = spec.interactions.behaviour
    ids = 0 if behaviour is None else FIRST_FREE + len(behaviour.values)
    items = f"{prefix}item_index"
    return {
        items: _between(low, high, like=items),
        f"{prefix}timestamp_ms": _between(0, END_MS, ascending=True, like=items),
        f"{prefix}behaviour": _between(FIRST_FREE, ids, like=items),
    }


def check_types(where: str, schema: pa.Schema, rules: Rules) -> None:
    """Check the columns of a shard.

    Raises:
        CorruptGenerationError: a column is absent or has another type; `where` names the shard.
    """
    types = {name: rule.types for name, rule in rules.items()}
    check_columns(where, schema, types, partial(CorruptGenerationError, todo=AGAIN))


def check_rows(where: str, table: pa.Table, rules: Rules, first_row: int = 0) -> None:
    """Check the values of some rows of a shard.

    Args:
        where: the shard in messages.
        table: R consecutive rows, with some of the shard's columns.
        rules: of the table.
        first_row: number of the first row in the shard.

    Raises:
        CorruptGenerationError: a null, a value out of range, lists of unequal lengths in a row, or a wrong order; the
            message names the shard and the row.
    """
    for batch in table.to_batches():
        lengths = {}
        for name in batch.schema.names:
            if name in rules:
                column = _Column(where, name, batch.column(name), rules[name], first_row)
                column.check()
                if column.lengths_R is not None:
                    lengths[name] = column.lengths_R
        for name in batch.schema.names:
            if name in rules:
                _check_where_null(where, batch, name, rules[name], first_row)
        for name, lengths_R in lengths.items():
            like = rules[name].like
            if like in lengths and (wrong_R := lengths_R != lengths[like]).any():
                raise CorruptGenerationError(
                    f"{where}: column {name!r}: row {first_row + int(np.argmax(wrong_R))} has another number of values "
                    f"than {like!r}",
                    todo=AGAIN,
                )
        first_row += len(batch)


def _check_where_null(
    where: str, batch: pa.RecordBatch, name: str, rule: ColumnRule, first_row: int
) -> None:
    """Check that the nulls of a column are where they must be, if the other column was read too."""
    if rule.null_where is None or rule.null_where[0] not in batch.schema.names:
        return
    other, value = rule.null_where
    expected = pc.equal(batch.column(other), value)
    wrong = pc.xor(expected, pc.is_null(batch.column(name)))
    position = pc.index(wrong, True).as_py()
    if position >= 0:
        problem = "a value" if expected[position].as_py() else "a null"
        raise CorruptGenerationError(
            f"{where}: column {name!r}: row {first_row + position} has {problem}, {other} being "
            f"{batch.column(other)[position].as_py()!r}",
            todo=AGAIN,
        )


class _Column:
    """One column of a record batch."""

    def __init__(
        self, where: str, name: str, cells: pa.Array, rule: ColumnRule, first_row: int
    ) -> None:
        self._what, self._rule, self._first_row = f"{where}: column {name!r}", rule, first_row
        self._cells, self._rows = cells, len(cells)
        self._ends: list[npt.NDArray[np.int64]] = []
        """End of each list in the values, one array per level of lists."""
        self.lengths_R: npt.NDArray[np.int64] | None = None
        """Number of values of each list; None if cells are no lists."""

    def check(self) -> None:
        """Check nulls, lengths, bounds and order."""
        cells, rule = self._cells, self._rule
        self._no_nulls(cells)
        while pa.types.is_list(cells.type) or pa.types.is_fixed_size_list(cells.type):
            cells = self._values(cells)
            self._no_nulls(cells)
        if cells.null_count:
            cells = cells.drop_null()
        if pa.types.is_string(cells.type):
            self._check_text(cells)
        elif pa.types.is_integer(cells.type) or pa.types.is_floating(cells.type):
            values_N = np.from_dlpack(cells) if len(cells) else np.zeros(0)
            self._check_bounds(values_N)
            if rule.ascending:
                self._check_order(values_N)

    def _values(self, cells: pa.Array) -> pa.Array:
        """The values of lists, none of which is empty."""
        if pa.types.is_fixed_size_list(cells.type):
            lengths = np.full(len(cells), cells.type.list_size, np.int64)
        else:
            counts = pc.list_value_length(cells)
            lengths = (np.from_dlpack(counts) if len(counts) else np.zeros(0)).astype(np.int64)
            self._fail(lengths == 0, "an empty list")
        if self.lengths_R is None:
            self.lengths_R = lengths
        self._ends.append(np.cumsum(lengths))
        return cells.flatten()

    def _no_nulls(self, cells: pa.Array) -> None:
        if cells.null_count and not self._rule.nullable:
            self._fail(np.asarray(pc.is_null(cells).to_pylist(), bool), "a null")

    def _check_text(self, cells: pa.Array) -> None:
        try:
            cells.validate(full=True)
        except pa.ArrowInvalid as error:
            raise CorruptGenerationError(f"{self._what}: {error}", todo=AGAIN) from None

    def _check_bounds(self, values_N: npt.NDArray[Any]) -> None:
        low, high = self._rule.low, self._rule.high
        if not len(values_N):
            return
        if values_N.dtype.kind == "f":
            self._fail(~np.isfinite(values_N), "a number that is not finite")
        if low is not None and values_N.min() < low:
            self._fail_value(values_N < low, values_N)
        if high is not None and values_N.max() >= high:
            self._fail_value(values_N >= high, values_N)

    def _check_order(self, values_N: npt.NDArray[Any]) -> None:
        if not self._ends:
            wrong_N = values_N[1:] <= values_N[:-1]
        else:
            wrong_N = values_N[1:] < values_N[:-1]
            wrong_N[self._ends[0][:-1] - 1] = False
        if wrong_N.any():
            self._fail(np.append(False, wrong_N), "values in a wrong order")

    def _fail_value(self, wrong_N: Flags, values_N: npt.NDArray[Any]) -> None:
        low, high = self._rule.low, self._rule.high
        expected = f"at least {low}" if high is None else f"{low} to {high - 1}"
        value = values_N[int(np.argmax(wrong_N))]
        self._fail(wrong_N, f"the value {value}, expected {expected}")

    def _fail(self, wrong_N: Flags, problem: str) -> None:
        """Raise an error that names the row of the first wrong value, if there is one."""
        if not wrong_N.any():
            return
        position = int(np.argmax(wrong_N))
        for ends in reversed(self._ends):
            position = int(np.searchsorted(ends, position, side="right"))
        raise CorruptGenerationError(
            f"{self._what}: row {self._first_row + position} has {problem}", todo=AGAIN
        )
