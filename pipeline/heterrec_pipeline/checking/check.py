"""Checks a spec and a call against the schemas of the data; all errors are collected."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Literal

import pyarrow as pa

from heterrec_pipeline.checking.changes import features_of
from heterrec_pipeline.checking.columns import (
    absent_hint,
    check_feature,
    check_files_agree,
    check_key,
    check_log,
    check_times,
)
from heterrec_pipeline.checking.hidden import Hidden, hidden_in
from heterrec_pipeline.checking.schemas import TableSchema, together
from heterrec_pipeline.checking.sources import dotted_names, find_source
from heterrec_pipeline.checking.user_keys import user_key_of
from heterrec_pipeline.features.numeric import is_number_like
from heterrec_pipeline.files import storage
from heterrec_pipeline.files.rejects import RejectValues
from heterrec_pipeline.interactions.read import log_columns, required_columns
from heterrec_pipeline.job import (
    INTERACTIONS,
    ITEMS,
    USERS,
    ErasingFeature,
    Erasures,
    TableJob,
)
from heterrec_pipeline.reading.erased import ErasedList, erased
from heterrec_pipeline.reading.files import InputFile, physical_files
from heterrec_pipeline.reading.imported import ImportedVocabulary, find_vocabulary
from heterrec_pipeline.reading.shaping.partitions import partition_values
from heterrec_schemas.errors import DataError, HeterrecError, SchemaMismatchError
from heterrec_schemas.feature_spec import (
    CategoricalFeature,
    Feature,
    FeatureSpec,
    KeyList,
    Source,
    dimension_columns,
)
from heterrec_schemas.user_ids import UserKey


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
    empty: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """The names of the empty files that are ignored, by source."""
    user_key: UserKey | None = None
    """The key of the hashes of user ids, if they are hashed."""
    imported: dict[str, ImportedVocabulary] = field(default_factory=dict)
    """The vocabularies of other systems, by `item/<feature>` or `user/<feature>`."""

    def input_files(self) -> tuple[InputFile, ...]:
        """Every input file, each once; see `physical_files`."""
        tables = [self.items, *self.joins, *([self.users] if self.users else [])]
        sources = [self.log, *(t.files for t in tables), *(e.files for e in self.erasures.every)]
        sources += [v.files for v in self.imported.values()]
        return physical_files(file for files in sources for file in files)


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
    empty: dict[str, tuple[str, ...]] = {}
    of_lists: list[HeterrecError] = []
    erasures = _check_erasures(spec, base, schemas, of_lists, empty)
    user_key = user_key_of(spec, problems)
    hidden = partial(hidden_in, spec, erasures.every)
    files_of = _finder(spec, base, schemas, problems, empty, hidden)
    log = files_of(INTERACTIONS, spec.interactions.source)
    tables = _item_tables(spec, files_of, schemas)
    tables = _with_features(tables, spec.items.features, schemas, problems)
    users = None
    if (listed_users := spec.user_table) is not None:
        files = files_of(USERS, listed_users.source)
        missing = tuple(listed_users.missing_values)
        user_table = TableJob(
            USERS, "user", listed_users.key, (), files, missing_values=missing, user_key=user_key
        )
        users = _with_features([user_table], listed_users.features, schemas, problems)[0]
        if user_key is not None:
            _check_folders(USERS, users.key, files, problems)
    if user_key is not None:
        _check_folders(INTERACTIONS, spec.interactions.user, log, problems)
    for table in [*tables, *([users] if users else [])]:
        check_key(table.name, table.key, schemas[table.name], problems)
        for feature in table.features:
            check_feature(table.name, feature, schemas[table.name], problems)
        if table.files:
            check_files_agree(table.columns, schemas[table.name], problems)
    listed = spec.items.available_from
    if listed is not None:
        setting = "items.available_from"
        check_times(setting, ITEMS, listed, schemas[ITEMS], problems, required=False)
    problems += of_lists
    tables = [_erasing(t, erasures) for t in tables]
    users = None if users is None else _erasing(users, erasures)
    check_log(spec, schemas[INTERACTIONS], problems)
    own = [*log_columns(spec), *(tables[0].columns if spec.denormalised else [])]
    check_files_agree(own, schemas[INTERACTIONS], problems)
    log = together(log, schemas[INTERACTIONS], required_columns(spec), own)
    told = RejectValues(spec.rejects.values, user_key)
    tables = [replace(_together(t, schemas[t.name]), rejects=told) for t in tables]
    if users is not None:
        users = replace(_together(users, schemas[USERS]), rejects=told)
    imported = _check_vocabularies(spec, base, problems)
    return Checked(
        *(tables[0], tuple(tables[1:]), users, log, schemas, problems, erasures, empty, user_key),
        imported,
    )


def _check_vocabularies(
    spec: FeatureSpec, base: str, problems: list[HeterrecError]
) -> dict[str, ImportedVocabulary]:
    """Find and check the vocabularies of other systems."""
    found = {}
    for name, feature in features_of(spec).items():
        if isinstance(feature, CategoricalFeature):
            try:
                vocabulary = find_vocabulary(feature, base)
            except HeterrecError as error:
                problems.append(error)
                continue
            if vocabulary is not None:
                found[name] = vocabulary
    return found


def _check_folders(
    table: str, column: str, files: tuple[InputFile, ...], problems: list[HeterrecError]
) -> None:
    """Refuse user ids in the paths of files, which manifests and messages repeat."""
    if any(column in partition_values(file.name) for file in files):
        problems.append(
            DataError(
                f"{table}: the user ids are in the names of folders, so users.hash_key cannot keep them out of paths",
                expected=f"column {column!r} in the files",
                todo="Write the ids as a column of the files, in folders with other names.",
            )
        )


def _item_tables(
    spec: FeatureSpec,
    files_of: Callable[[str, Source], tuple[InputFile, ...]],
    schemas: dict[str, TableSchema],
) -> list[TableJob]:
    """The table of the items and those that are joined to it, without features; the log is in `schemas`."""
    if isinstance(spec.items.source, Source):
        files = files_of(ITEMS, spec.items.source)
        listed = spec.items.available_from
        missing = tuple(spec.items.missing_values)
        tables = [
            TableJob(
                ITEMS,
                "item",
                spec.items.key,
                (),
                files,
                missing_values=missing,
                available_from=listed,
            )
        ]
    else:
        missing = tuple(spec.interactions.missing_values)
        tables = [TableJob(ITEMS, "item", spec.items.key, (), (), missing_values=missing)]
        schemas[ITEMS] = schemas[INTERACTIONS]
    for k, join in enumerate(spec.items.joins):
        name = f"{ITEMS}.joins[{k}]"
        tables.append(
            TableJob(
                name,
                "item",
                join.key,
                (),
                files_of(name, join.source),
                joined=True,
                missing_values=tuple(join.missing_values),
            )
        )
    return tables


def find_erasures(spec: FeatureSpec, base: str) -> Erasures:
    """The lists of what a spec erases, without the other tables.

    Args:
        spec: the spec.
        base: the input folder.

    Raises:
        HeterrecError: a list is absent, lacks its key, or cannot be read in full.
    """
    schemas: dict[str, TableSchema] = {}
    problems: list[HeterrecError] = []
    found = _check_erasures(spec, base, schemas, problems, {})
    raise_problems(problems)
    return found


def _finder(
    spec: FeatureSpec,
    base: str,
    schemas: dict[str, TableSchema],
    problems: list[HeterrecError],
    empty: dict[str, tuple[str, ...]],
    hidden: Callable[[str], Hidden],
) -> Callable[[str, Source], tuple[InputFile, ...]]:
    """A function from the name and the source of a table to its files; it adds to the other arguments what it finds.

    `hidden` says by table what messages must not repeat.
    """
    named = dotted_names(spec)

    def files_of(name: str, source: Source) -> tuple[InputFile, ...]:
        files, found = find_source(name, source, base, named, problems, empty, hidden(name))
        files = _with_forms(spec, name, files)
        schemas[name] = _with_dimensions(found, files)
        return files

    return files_of


def _with_forms(
    spec: FeatureSpec, name: str, files: tuple[InputFile, ...]
) -> tuple[InputFile, ...]:
    """The files of a table, with the columns that are vectors, or numbers with decimal commas."""
    side: Literal["item", "user", "log"] = (
        "log" if name == INTERACTIONS else "user" if name == USERS else "item"
    )
    vectors = spec.vector_columns(side)
    return tuple(
        replace(
            file,
            vectors=vectors,
            numbers=spec.number_columns(side)
            if file.source is not None and file.source.decimal != "."
            else (),
        )
        for file in files
    )


def _with_dimensions(schema: TableSchema, files: tuple[InputFile, ...]) -> TableSchema:
    """The schema with a list for each vector whose dimensions are columns of numbers."""
    types = dict(schema.types)
    for column in files[0].vectors if files else ():
        parts = dimension_columns(column) or []
        if parts and all(part in types for part in parts):
            other = [types[p] for p in parts if not is_number_like(types[p])]
            types[column] = other[0] if other else pa.list_(pa.float64(), len(parts))
    return replace(schema, types=types)


def _together(table: TableJob, schema: TableSchema) -> TableJob:
    return replace(table, files=together(table.files, schema, [table.key], table.columns))


def _check_erasures(
    spec: FeatureSpec,
    base: str,
    schemas: dict[str, TableSchema],
    problems: list[HeterrecError],
    empty: dict[str, tuple[str, ...]],
) -> Erasures:
    """Find the files of the lists of what is erased, and read them: a row that is ignored would not be erased."""
    everything = Hidden(everything=True)
    files_of = _finder(spec, base, schemas, problems, empty, lambda _: everything)

    def listed(name: str, keys: KeyList | None) -> ErasedList | None:
        if keys is None:
            return None
        name = f"erase.{name}"
        files = files_of(name, keys.source)
        files = together(files, schemas[name], [keys.key], [keys.key])
        found = ErasedList(name, keys.key, files)
        before = len(problems)
        check_key(name, keys.key, schemas[name], problems)
        check_files_agree([keys.key], schemas[name], problems)
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
        owners = owners or [t for t in tables if schemas[t.name].has(feature.column)]
        # Nothing is known of a table without a usable row: what it has is reported when it is read.
        owners = owners or [t for t in tables if t.files and not schemas[t.name].types]
        if owners:
            owned[owners[0].name].append(feature)
        elif all(schemas[t.name].types for t in tables):  # else an error of the table is known
            known = [c for t in tables for c in schemas[t.name].types]
            where = " or ".join(t.name for t in tables)
            problems.append(
                SchemaMismatchError(
                    f"feature {feature.name!r}: {where} has no column {feature.column!r}",
                    todo=absent_hint(feature.column, known, schemas[tables[0].name].hidden),
                )
            )
    return [replace(t, features=tuple(owned[t.name])) for t in tables]
