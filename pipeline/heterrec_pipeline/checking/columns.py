"""Checks the columns that a spec names against the schemas of their tables; errors are added to a list."""

from collections.abc import Callable, Iterable
from functools import partial

import pyarrow as pa

from heterrec_pipeline.checking.hidden import Hidden
from heterrec_pipeline.checking.schemas import TableSchema
from heterrec_pipeline.features.embedding import is_vector_like
from heterrec_pipeline.features.numeric import is_number_like
from heterrec_pipeline.interactions.times import describe
from heterrec_pipeline.job import INTERACTIONS
from heterrec_pipeline.reading.looks_like import other_header, same_letters, without_other_letters
from heterrec_pipeline.reading.spec_lines import derived
from heterrec_schemas.errors import HeterrecError, SchemaMismatchError, suggest
from heterrec_schemas.feature_spec import (
    CategoricalFeature,
    EmbeddingFeature,
    Feature,
    FeatureSpec,
    NumericFeature,
    Timestamp,
    dimension_columns,
)
from heterrec_schemas.values import is_binary, is_list, is_scalar, is_text, is_whole_decimal

_NUMBERS = "numbers, booleans, or text that contains numbers"
_ONE_VALUE = "one value per cell; set multivalued: true for lists"
_TIMES = "numbers or text with a unit, text with a format, or a timestamp type"
_TICKS = {"s": "ms", "ms": "ms", "us": "us", "ns": "ns"}
"""The unit of a duration in an expression, which has no seconds, by its own."""
_LOG_TYPES = {
    "behaviour": "text, integers or booleans",
    "order": "integers",
}


def absent_hint(column: str, known: Iterable[str], hidden: Hidden) -> str:
    """What to do about a column that the files lack.

    Args:
        column: the column.
        known: the columns of the files.
        hidden: those of them that are not repeated.
    """
    names = list(known)
    if (same := same_letters(column, names)) is not None:
        return (
            "The file has a column with the same letters in another Unicode form (NFC or NFD): "
            f"write its name as {same} in the spec."
        )
    if (header := other_header(names, hidden)) is not None:
        return header
    if (parts := dimension_columns(column)) is not None:
        lacking = [part for part in parts if part not in names]
        absent = f", of which {lacking[0]!r} is absent" if lacking else ""
        return f"It means {parts[0]!r} to {parts[-1]!r}{absent}."
    outer = column.partition(".")[0]
    if outer in names and not any(name.startswith(f"{outer}.") for name in names):
        return f"Column {outer!r} has no fields."
    if hidden.everything:
        return suggest(column, without_other_letters(column, names))
    return suggest(column, (name for name in names if not hidden(name)))


def missing_column(
    where: str, column: str, schema: TableSchema, *, required: bool = True, expression: str = ""
) -> SchemaMismatchError | None:
    """The error for a column that a table lacks or, if it is required, one of its files; None if all may have it.

    Args:
        where: what reads it.
        column: its name.
        schema: the table.
        required: whether each file must have it.
        expression: the expression that reads it, if one does.
    """
    if not schema.types:
        return None
    if not schema.has(column):
        todo = absent_hint(column, schema.types, schema.hidden)
        if where.startswith("erase."):
            todo = todo or (
                "Check key; for a list without a header line, write header: false and names into its source."
            )
        longer = (c for c in schema.types if c.startswith(f"{column}-") and not schema.hidden(c))
        hyphened = next(longer, None) if expression else None
        if hyphened is not None:  # in an expression it is a difference
            todo = f'A name with a hyphen needs double quotes: "{hyphened}".'
        elif f'"{column}"' in expression:
            todo = f"{todo} Double quotes are for names; a text has single quotes: '{column}'.".lstrip()
        return SchemaMismatchError(f"{where}: there is no column {column!r}", todo=todo)
    name = schema.without(column) if required else None
    if name is None:
        return None
    return SchemaMismatchError(
        f"{where}: {name} has no column {column!r}",
        expected="this column in all files of the source",
        todo="Add it to the file, or exclude the file from source.path.",
    )


def check_key(
    where: str,
    column: str,
    schema: TableSchema,
    problems: list[HeterrecError],
    *,
    required: bool = True,
) -> None:
    """Check that a column exists and that its type can be a key."""
    message = f"{where}: column {column!r} cannot be a key"
    expected = "text, integers, whole floats, booleans, dates or times"
    _check_column(where, column, schema, is_scalar, message, expected, problems, required=required)


def _check_column(
    where: str,
    column: str,
    schema: TableSchema,
    fits: Callable[[pa.DataType], bool],
    message: str,
    expected: str,
    problems: list[HeterrecError],
    todo: str | None = None,
    *,
    required: bool = True,
) -> None:
    """Check that a column exists and that its types fit."""
    absent = missing_column(where, column, schema, required=required)
    kind = next((k for k in schema.kinds(column) if not fits(k)), None)
    if absent is not None:
        problems.append(absent)
    elif kind is not None:
        got = schema.mixed_cells.get(column, kind)
        hint = todo
        if column not in schema.mixed_cells and (todo is None or pa.types.is_duration(kind)):
            hint = cast_hint(column, kind, schema.derived.get(column))
        problems.append(SchemaMismatchError(message, got=got, expected=expected, todo=hint))


def check_files_agree(
    columns: list[str], schema: TableSchema, problems: list[HeterrecError]
) -> None:
    """Check that the used columns have one type in all files; other columns may differ."""
    problems += [schema.differing[c] for c in dict.fromkeys(columns) if c in schema.differing]


def check_feature(
    where: str, feature: Feature, schema: TableSchema, problems: list[HeterrecError]
) -> None:
    """Check that the type of a feature's column fits its kind; a column that does not exist is no error here."""
    for kind in schema.kinds(feature.column):
        problem = None if pa.types.is_null(kind) else _mismatch(where, feature, kind, schema)
        if problem is not None:
            problems.append(problem)
            return


def _mismatch(
    where: str, feature: Feature, kind: pa.DataType, schema: TableSchema
) -> SchemaMismatchError | None:
    """The error for a feature whose column has a type that does not fit its kind."""
    expected, todo = None, None
    if feature.column not in schema.mixed_cells:
        todo = cast_hint(feature.column, kind, schema.derived.get(feature.column))
    mixed = feature.column in schema.mixed_cells and pa.types.is_binary(kind)
    if isinstance(feature, CategoricalFeature):
        expected = _categorical_mismatch(feature, kind, mixed)
    elif isinstance(feature, NumericFeature):
        expected = None if is_number_like(kind) else _NUMBERS
    elif isinstance(feature, EmbeddingFeature):
        expected = _embedding_mismatch(feature, kind, mixed)
        todo = _vector_hint(feature.column, kind)
    if expected is None:
        return None
    return SchemaMismatchError(
        f"feature {feature.name!r}: column {feature.column!r} in {where}",
        got=schema.mixed_cells.get(feature.column, kind),
        expected=expected,
        todo=todo,
    )


def cast_hint(column: str, kind: pa.DataType, text: str | None = None) -> str | None:
    """What to write into the spec for a column of a type that cannot be a key or a category; None for other types.

    Args:
        column: the column.
        kind: its type.
        text: the expression that the source has for it; None if it is a column of the files.
    """
    t = pa.types
    if is_list(kind):
        while is_list(kind):
            kind = kind.value_type
        odd = t.is_decimal(kind) or is_binary(kind) or isinstance(kind, pa.BaseExtensionType)
        return "Cast its elements to text (VARCHAR) when you write the table." if odd else None
    if t.is_decimal(kind):
        whole, exact = (
            derived(column, f"CAST({{}} AS {name})", text) for name in ("BIGINT", "VARCHAR")
        )
        return f"Write into the source {whole}, or with fractions {exact}."
    if is_binary(kind):
        line = derived(column, "CAST({} AS VARCHAR)", text)
        return f"It holds bytes: if they are text in UTF-8, write into the source {line}."
    if isinstance(kind, pa.BaseExtensionType):
        return f"Write into the source {derived(column, 'CAST({} AS VARCHAR)', text)}."
    if t.is_duration(kind):
        line = derived(column, "CAST({} AS BIGINT)", text)
        return f"Write into the source {line}: its unit is {_TICKS[kind.unit]}."
    if t.is_struct(kind) and kind.num_fields:
        return f"It holds objects: name a field, such as '{column}.{kind.field(0).name}'."
    return None


def _vector_hint(column: str, kind: pa.DataType) -> str | None:
    """What to do about a column that holds vectors in another form."""
    if is_binary(kind):
        return "It holds bytes: write lists of numbers, such as np.frombuffer(cell, np.float32).tolist()."
    if is_list(kind) and is_list(kind.value_type):
        return f"It holds lists of vectors: for the first one, write into the source {derived(column, 'ARRAY_GET({}, 1)')}."
    return None


def _categorical_mismatch(
    feature: CategoricalFeature, kind: pa.DataType, mixed: bool
) -> str | None:
    inner, depth = kind, 0
    while is_list(inner):
        inner, depth = inner.value_type, depth + 1
    if mixed:  # JSON lines with lists and single values
        return None if feature.multivalued else _ONE_VALUE
    if not is_scalar(inner):
        return "text, integers, floats, booleans, dates or times"
    if depth and not feature.multivalued:
        return _ONE_VALUE
    if depth > 2:
        return "lists of at most two levels"
    return None


def _embedding_mismatch(feature: EmbeddingFeature, kind: pa.DataType, mixed: bool) -> str | None:
    if mixed or is_text(kind):  # cells of several shapes, or JSON, which are rejected one by one
        return None
    if not is_vector_like(kind):
        return f"lists of {feature.dim} numbers"
    if pa.types.is_fixed_size_list(kind) and kind.list_size != feature.dim:
        return f"lists of {feature.dim} numbers; or set dim: {kind.list_size}"
    return None


def check_log(spec: FeatureSpec, schema: TableSchema, problems: list[HeterrecError]) -> None:
    """Check the columns of the log."""
    log = spec.interactions
    anonymous = log.missing_user == "drop"
    check_key(INTERACTIONS, log.user, schema, problems, required=not anonymous)
    if not spec.denormalised:  # else this column is the items' key, which is checked
        check_key(INTERACTIONS, log.item, schema, problems)
    if log.event_id is not None:
        check_key(INTERACTIONS, log.event_id, schema, problems, required=False)
    check_times("interactions.timestamp", INTERACTIONS, log.timestamp, schema, problems)
    for role, column, fits in (
        ("behaviour", log.behaviour.column if log.behaviour else None, is_scalar),
        ("order", log.order, _is_order),
    ):
        if column is not None:
            message = f"interactions.{role}: column {column!r}"
            _check_column(
                INTERACTIONS,
                column,
                schema,
                fits,
                message,
                _LOG_TYPES[role],
                problems,
                required=role != "order",
            )


def check_times(
    setting: str,
    table: str,
    timestamp: Timestamp,
    schema: TableSchema,
    problems: list[HeterrecError],
    *,
    required: bool = True,
) -> None:
    """Check that a column exists and can be read as times."""
    message = f"{setting}: column {timestamp.column!r} with {describe(timestamp)}"
    todo = f"Set {setting}.unit (s, ms, us, ns, day, iso) or format."
    fits = partial(_time_fits, timestamp)
    column = timestamp.column
    _check_column(table, column, schema, fits, message, _TIMES, problems, todo, required=required)


def _is_order(kind: pa.DataType) -> bool:
    t = pa.types
    if is_whole_decimal(kind):
        return True
    return bool(is_text(kind) or t.is_integer(kind) or t.is_floating(kind) or t.is_null(kind))


def _time_fits(time: Timestamp, kind: pa.DataType) -> bool:
    t = pa.types
    if t.is_dictionary(kind):
        kind = kind.value_type
    if t.is_timestamp(kind) or t.is_date(kind) or t.is_null(kind):
        return True
    numbers = time.unit is not None and time.unit != "iso"
    if is_text(kind):
        return time.unit is not None or time.format is not None
    return numbers and (t.is_integer(kind) or t.is_floating(kind) or t.is_decimal(kind))
