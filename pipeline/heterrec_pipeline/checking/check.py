"""Checks a spec and a call against the schemas of the data; all errors are collected."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import pyarrow as pa

from heterrec_pipeline.checking.schemas import TableSchema, lacks_column, table_schema
from heterrec_pipeline.features.embedding import is_vector_like
from heterrec_pipeline.features.numeric import is_number_like
from heterrec_pipeline.files import storage
from heterrec_pipeline.interactions.read import log_columns
from heterrec_pipeline.interactions.times import describe
from heterrec_pipeline.job import (
    INTERACTIONS,
    ITEMS,
    USERS,
    ErasingFeature,
    Erasures,
    TableJob,
)
from heterrec_pipeline.reading.erased import ErasedList, erased
from heterrec_pipeline.reading.files import InputFile, input_files
from heterrec_pipeline.reading.looks_like import other_header, partition
from heterrec_schemas.errors import DataError, HeterrecError, SchemaMismatchError, suggest
from heterrec_schemas.feature_spec import (
    CategoricalFeature,
    EmbeddingFeature,
    Feature,
    FeatureSpec,
    KeyList,
    NumericFeature,
    Source,
    Timestamp,
)
from heterrec_schemas.values import is_list, is_scalar, is_text, is_whole_decimal


@dataclass
class Checked:
    """The tables of a build, and the errors found in them."""

    items: TableJob
    joins: tuple[TableJob, ...]
    users: TableJob | None
    log: tuple[InputFile, ...]
    schemas: dict[str, TableSchema]
    problems: list[HeterrecError] = field(default_factory=list)
    erasures: Erasures = field(default_factory=Erasures)

    def input_files(self) -> tuple[InputFile, ...]:
        """Every input file, once, sorted."""
        tables = [self.items, *self.joins, *([self.users] if self.users else [])]
        sources = [self.log, *(t.files for t in tables), *(e.files for e in self.erasures.every)]
        return tuple(sorted({file for files in sources for file in files}))


def raise_problems(problems: Sequence[HeterrecError]) -> None:
    """Raise errors that were collected, if there are any.

    Raises:
        HeterrecError: the only error, or a DataError that lists all.
    """
    if len(problems) == 1:
        raise problems[0]
    if problems:
        listed = "\n".join(f"  {p.message}" for p in problems)
        raise DataError(f"{len(problems)} mistakes:\n{listed}")


_NUMBERS = "numbers, booleans, or text that contains numbers"
_ONE_VALUE = "one value per cell; set multivalued: true for lists"
_TIMES = "numbers or text with a unit, text with a format, or a timestamp type"
_LOG_TYPES = {
    "behaviour": "text, integers or booleans",
    "order": "integers",
}


def check_tables(spec: FeatureSpec, base: str) -> Checked:
    """Find the files of every source and check the spec against their schemas.

    Args:
        spec: the spec.
        base: the input folder.
    """
    problems: list[HeterrecError] = []
    if storage.folder_missing(base):
        problems.append(DataError(f"there is no input folder {base}", todo="Check --input."))
        nothing = TableJob(ITEMS, "item", spec.items.key, (), ())
        return Checked(nothing, (), None, (), {}, problems)
    schemas: dict[str, TableSchema] = {}

    def files_of(name: str, source: Source) -> tuple[InputFile, ...]:
        try:
            files = input_files(source, base, name)
        except HeterrecError as error:
            problems.append(error)
            files = ()
        schemas[name] = table_schema(files, problems)
        return files

    log = files_of(INTERACTIONS, spec.interactions.source)
    if isinstance(spec.items.source, Source):
        files = files_of(ITEMS, spec.items.source)
        listed = spec.items.available_from
        tables = [TableJob(ITEMS, "item", spec.items.key, (), files, available_from=listed)]
    else:
        tables = [TableJob(ITEMS, "item", spec.items.key, (), ())]
        schemas[ITEMS] = schemas[INTERACTIONS]
    for k, join in enumerate(spec.items.joins):
        name = f"{ITEMS}.joins[{k}]"
        tables.append(
            TableJob(name, "item", join.key, (), files_of(name, join.source), joined=True)
        )
    tables = _with_features(tables, spec.items.features, schemas, problems)
    users = None
    if spec.users is not None:
        user_tables = [
            TableJob(USERS, "user", spec.users.key, (), files_of(USERS, spec.users.source))
        ]
        users = _with_features(user_tables, spec.users.features, schemas, problems)[0]
    for table in [*tables, *([users] if users else [])]:
        _check_key(table.name, table.key, schemas[table.name], problems)
        for feature in table.features:
            _check_feature(table.name, feature, schemas[table.name], problems)
        if table.files:
            _check_files_agree(table.columns, schemas[table.name], problems)
    if spec.items.available_from is not None:
        _check_times(
            "items.available_from", ITEMS, spec.items.available_from, schemas[ITEMS], problems
        )
    erasures = _check_erasures(spec, files_of, schemas, problems)
    tables = [_erasing(t, erasures) for t in tables]
    users = None if users is None else _erasing(users, erasures)
    _check_log(spec, schemas[INTERACTIONS], problems)
    own = [*log_columns(spec), *(tables[0].columns if spec.denormalised else [])]
    _check_files_agree(own, schemas[INTERACTIONS], problems)
    return Checked(tables[0], tuple(tables[1:]), users, log, schemas, problems, erasures)


def _check_erasures(
    spec: FeatureSpec,
    files_of: Callable[[str, Source], tuple[InputFile, ...]],
    schemas: dict[str, TableSchema],
    problems: list[HeterrecError],
) -> Erasures:
    """Find the files of the lists of what is erased, and read them: a row that is passed over would not be erased."""

    def listed(name: str, keys: KeyList | None) -> ErasedList | None:
        if keys is None:
            return None
        name = f"erase.{name}"
        found = ErasedList(name, keys.key, files_of(name, keys.source))
        before = len(problems)
        _check_key(name, keys.key, schemas[name], problems)
        _check_files_agree([keys.key], schemas[name], problems)
        problems.extend(
            SchemaMismatchError(f"{name}: {f.name} has no column {keys.key!r}")
            for f in found.files
            if len(problems) == before and f.format == "jsonl" and lacks_column(f, keys.key)
        )
        if found.files and len(problems) == before:
            try:
                erased(found)
            except HeterrecError as error:
                problems.append(error)
        return found

    erase = spec.erase
    values = {name: listed(f"values.{name}", keys) for name, keys in erase.values.items()}
    return Erasures(
        users=listed("users", erase.users),
        items=listed("items", erase.items),
        values={name: found for name, found in values.items() if found is not None},
    )


def _erasing(table: TableJob, erasures: Erasures) -> TableJob:
    """The table with the lists of its side."""
    prefix = "user_" if table.side == "user" else ""
    features = tuple(
        ErasingFeature(**dict(f), erased=erasures.values[prefix + f.name])
        if isinstance(f, CategoricalFeature) and prefix + f.name in erasures.values
        else f
        for f in table.features
    )
    keys = erasures.users if table.side == "user" else erasures.items
    return replace(table, features=features, erased=keys)


def _with_features(
    tables: list[TableJob],
    features: list[Feature],
    schemas: dict[str, TableSchema],
    problems: list[HeterrecError],
) -> list[TableJob]:
    """Give each feature to the first table that has its column."""
    owned: dict[str, list[Feature]] = {t.name: [] for t in tables}
    for feature in features:
        owners = [t for t in tables if feature.column in schemas[t.name].types]
        maybe = [t for t in tables if schemas[t.name].has(feature.column)]
        if owners or maybe:
            owned[(owners or maybe)[0].name].append(feature)
        elif all(schemas[t.name].types for t in tables):
            lacking = [t for t in tables if feature.column in schemas[t.name].lacking]
            if lacking:
                absent = _missing(lacking[0].name, feature.column, schemas[lacking[0].name])
                problems += [absent] if absent is not None else []
                continue
            known = [c for t in tables for c in schemas[t.name].types]
            paths = [path for t in tables for path in schemas[t.name].paths]
            where = " or ".join(t.name for t in tables)
            problems.append(
                SchemaMismatchError(
                    f"feature {feature.name!r}: {where} has no column {feature.column!r}",
                    todo=_absent_hint(feature.column, known, paths),
                )
            )
    return [replace(t, features=tuple(owned[t.name])) for t in tables]


def _absent_hint(column: str, known: Iterable[str], paths: Sequence[str]) -> str:
    """What to do about a column that the files lack."""
    names = list(known)
    if (header := other_header(names)) is not None:
        return header
    if (part := partition(paths, column)) is not None:
        return f"It is only in the path ({part}): write it into the files."
    outer = column.partition(".")[0]
    if outer in names:
        return f"Write fields of {outer!r} as columns of their own; nested ones cannot be read."
    return suggest(column, names)


def _missing(where: str, column: str, schema: TableSchema) -> SchemaMismatchError | None:
    if schema.has(column) or not schema.types:
        return None
    if column in schema.lacking:
        return SchemaMismatchError(
            f"{where}: {schema.lacking[column]} has no column {column!r}",
            todo="Other files of the source have it; add it to all, or exclude the file.",
        )
    return SchemaMismatchError(
        f"{where}: there is no column {column!r}",
        todo=_absent_hint(column, schema.types, schema.paths),
    )


def _check_key(where: str, column: str, schema: TableSchema, problems: list[HeterrecError]) -> None:
    message = f"{where}: column {column!r} cannot be a key"
    expected = "text, integers, whole floats, booleans, dates or times"
    _check_column(where, column, schema, is_scalar, message, expected, problems)


def _check_column(
    where: str,
    column: str,
    schema: TableSchema,
    fits: Callable[[pa.DataType], bool],
    message: str,
    expected: str,
    problems: list[HeterrecError],
    todo: str | None = None,
) -> None:
    """Check that a column exists and that its type fits."""
    absent = _missing(where, column, schema)
    kind = schema.types.get(column)
    if absent is not None:
        problems.append(absent)
    elif kind is not None and not fits(kind):
        got = schema.mixed_cells.get(column, kind)
        hint = todo if column in schema.mixed_cells else todo or cast_hint(kind)
        problems.append(SchemaMismatchError(message, got=got, expected=expected, todo=hint))


def _check_files_agree(
    columns: list[str], schema: TableSchema, problems: list[HeterrecError]
) -> None:
    """Check that the used columns have one type in all files; other columns may differ."""
    problems += [schema.differing[c] for c in dict.fromkeys(columns) if c in schema.differing]


def _check_feature(
    where: str, feature: Feature, schema: TableSchema, problems: list[HeterrecError]
) -> None:
    kind = schema.types.get(feature.column)
    if kind is None or pa.types.is_null(kind):
        return
    expected, todo = None, None if feature.column in schema.mixed_cells else cast_hint(kind)
    mixed = feature.column in schema.mixed_cells and pa.types.is_binary(kind)
    if isinstance(feature, CategoricalFeature):
        expected = _categorical_mismatch(feature, kind, mixed)
    elif isinstance(feature, NumericFeature):
        expected = None if is_number_like(kind) else _NUMBERS
    elif isinstance(feature, EmbeddingFeature):
        expected = _embedding_mismatch(feature, kind, mixed)
        todo = _vector_hint(kind)
    if expected is not None:
        problems.append(
            SchemaMismatchError(
                f"feature {feature.name!r}: column {feature.column!r} in {where}",
                got=schema.mixed_cells.get(feature.column, kind),
                expected=expected,
                todo=todo,
            )
        )


def cast_hint(kind: pa.DataType) -> str | None:
    """How to write a column of a type, or of lists of it, that cannot be a key or a category; None for other types."""
    t = pa.types
    while is_list(kind):
        kind = kind.value_type
    if t.is_decimal(kind):
        return "Cast it to BIGINT or VARCHAR when you write the table."
    if t.is_binary(kind) or t.is_large_binary(kind) or t.is_binary_view(kind):
        return "It holds bytes: cast them to text (UTF-8) when you write the table."
    if t.is_fixed_size_binary(kind) or isinstance(kind, pa.BaseExtensionType):
        return "Cast it to text (VARCHAR) when you write the table."
    return None


def _vector_hint(kind: pa.DataType) -> str | None:
    """How to write a column that holds vectors in another form."""
    if is_text(kind):
        return "Parse the texts to lists of numbers when you write the table."
    if pa.types.is_binary(kind) or pa.types.is_fixed_size_binary(kind):
        return "Convert the bytes to lists of numbers when you write the table."
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
    if mixed:  # JSON lines with cells of several shapes, which are rejected one by one
        return None
    if not is_vector_like(kind):
        return f"lists of {feature.dim} numbers"
    if pa.types.is_fixed_size_list(kind) and kind.list_size != feature.dim:
        return f"lists of {feature.dim} numbers; or set dim: {kind.list_size}"
    return None


def _check_log(spec: FeatureSpec, schema: TableSchema, problems: list[HeterrecError]) -> None:
    log = spec.interactions
    _check_key(INTERACTIONS, log.user, schema, problems)
    if not spec.denormalised:  # else this column is the items' key, which is checked
        _check_key(INTERACTIONS, log.item, schema, problems)
    _check_times("interactions.timestamp", INTERACTIONS, log.timestamp, schema, problems)
    for role, column, fits in (
        ("behaviour", log.behaviour.column if log.behaviour else None, is_scalar),
        ("order", log.order, _is_order),
    ):
        if column is not None:
            message = f"interactions.{role}: column {column!r}"
            _check_column(INTERACTIONS, column, schema, fits, message, _LOG_TYPES[role], problems)


def _check_times(
    setting: str,
    table: str,
    timestamp: Timestamp,
    schema: TableSchema,
    problems: list[HeterrecError],
) -> None:
    """Check that a column exists and can be read as times."""
    message = f"{setting}: column {timestamp.column!r} with {describe(timestamp)}"
    todo = f"Set {setting}.unit (s, ms, us, ns, day, iso) or format."
    fits = partial(_time_fits, timestamp)
    _check_column(table, timestamp.column, schema, fits, message, _TIMES, problems, todo)


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
