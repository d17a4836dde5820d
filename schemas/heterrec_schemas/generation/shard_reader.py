"""Reads shards of a generation, with their content checked."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from heterrec_schemas.documents import parse_json
from heterrec_schemas.errors import CallError, CorruptGenerationError, FormatVersionError, suggest
from heterrec_schemas.feature_spec import FeatureSpec
from heterrec_schemas.generation.check_tables import (
    Rules,
    check_rows,
    check_types,
    table_rules,
)
from heterrec_schemas.generation.folder import Folder
from heterrec_schemas.generation.verify import AGAIN
from heterrec_schemas.manifest import FORMAT_VERSION, MANIFEST_NAME, Manifest, table_stem
from heterrec_schemas.tables import METADATA_KEY

"""The end of a shard's name, after the name of its table."""


@dataclass(frozen=True, eq=False)
class ShardReader:
    """The shards of a generation.

    Every method checks the format version in a shard's own metadata, the types of its columns, and the values of the rows
    that it reads (see `check_tables`).

    Attributes:
        folder: the generation's folder.
        manifest: its manifest.
        spec: the feature spec of its build.
    """

    folder: Folder
    manifest: Manifest
    spec: FeatureSpec
    _known_rules: dict[str, Rules] = field(default_factory=dict, init=False, repr=False)

    @property
    def root(self) -> str:
        """The generation's own folder, as a path or URI."""
        return self.folder.name

    def locate(self, path: str) -> str:
        """The full path or URI of a file."""
        return self.folder.locate(path)

    def read(self, paths: Sequence[str], columns: Sequence[str] | None = None) -> pa.Table:
        """Whole shards as one table, in the order of the paths.

        Raises:
            CallError: there is no such column.
            CorruptGenerationError: the content of a shard is wrong.
        """
        return self._joined([self._read_shard(path, columns) for path in paths], paths)

    def rows(
        self,
        paths: Sequence[str],
        column: str,
        values: Collection[int | str],
        columns: Sequence[str] | None = None,
    ) -> pa.Table:
        """The rows of some shards whose `column` holds one of the values.

        Row groups whose statistics exclude all the values are not read.

        Raises:
            CallError: there is no such column.
            CorruptGenerationError: the content of a shard is wrong.
        """
        wanted = None if columns is None else list(dict.fromkeys([column, *columns]))
        parts = []
        for path in paths:
            with self.open_shard(path) as shard:
                _check_columns(path, shard.schema_arrow, wanted)
                groups = _groups_with(shard, column, values)
                empty = shard.read_row_groups([], columns=wanted)
                table = pa.concat_tables([empty, *self._checked(path, shard, groups, wanted)])
            chosen = pa.array(list(values), table.schema.field(column).type)
            parts.append(table.filter(pc.is_in(table[column], value_set=chosen)))
        found = self._joined(parts, paths)
        return found.select(columns) if columns else found

    def _joined(self, parts: Sequence[pa.Table], paths: Sequence[str]) -> pa.Table:
        """The rows of shards, which have the same columns."""
        for part, path in zip(parts, paths, strict=True):
            if not part.schema.equals(parts[0].schema):
                raise CorruptGenerationError(
                    f"{self.locate(path)} has other columns or types than {paths[0]}",
                    got=_described(part.schema),
                    expected=_described(parts[0].schema),
                    todo=AGAIN,
                )
        return pa.concat_tables(parts)

    def row_groups(
        self, path: str, columns: Sequence[str], groups: Sequence[int] | None = None
    ) -> Iterator[pa.Table]:
        """Some columns of the row groups of a shard, by default of all, one at a time; on the calling thread only.

        Raises:
            CallError: there is no such column.
            CorruptGenerationError: the shard cannot be read, or its content is wrong.
        """
        with self.open_shard(path) as shard:
            _check_columns(path, shard.schema_arrow, columns)
            chosen = range(shard.metadata.num_row_groups) if groups is None else groups
            yield from self._checked(path, shard, chosen, columns)

    @contextmanager
    def open_shard(self, path: str) -> Iterator[pq.ParquetFile]:
        """One shard, open; its metadata is checked.

        Raises:
            FormatVersionError: the shard has an unknown format version.
            CorruptGenerationError: it is absent, not a Parquet file, has no format version, or other columns or rows
                than its table must have.
        """
        try:
            with self.folder.open(path) as source, pq.ParquetFile(source) as shard:
                _check_version(self.locate(path), shard.schema_arrow.metadata)
                check_types(self.locate(path), shard.schema_arrow, self._rules(path))
                self._check_length(path, shard.metadata.num_rows)
                yield shard
        except FileNotFoundError:
            raise CorruptGenerationError(f"{self.locate(path)} is absent") from None
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise CorruptGenerationError(
                f"{self.locate(path)} is not a readable Parquet file: {error}"
            ) from None

    def _read_shard(self, path: str, columns: Sequence[str] | None) -> pa.Table:
        with self.open_shard(path) as shard:
            _check_columns(path, shard.schema_arrow, columns)
            table = shard.read(None if columns is None else list(columns))
            check_rows(self.locate(path), table, self._rules(path))
            return table

    def _checked(
        self,
        path: str,
        shard: pq.ParquetFile,
        groups: Iterable[int],
        columns: Sequence[str] | None,
    ) -> Iterator[pa.Table]:
        """Some row groups of an open shard, with their content checked."""
        names = None if columns is None else list(columns)
        sizes = [shard.metadata.row_group(g).num_rows for g in range(shard.metadata.num_row_groups)]
        for group in groups:
            # One thread: other consumers read at the same time.
            table = shard.read_row_group(group, columns=names, use_threads=False)
            check_rows(self.locate(path), table, self._rules(path), sum(sizes[:group]))
            yield table

    def _rules(self, path: str) -> Rules:
        """The rules of the table of a shard, made once per table."""
        table = table_stem(path)
        if table not in self._known_rules:
            self._known_rules[table] = table_rules(self.manifest, self.spec, path)
        return self._known_rules[table]

    @cached_property
    def _listed_rows(self) -> dict[str, int | None]:
        """Number of rows of each file, by the manifest."""
        return {f.path: f.rows for f in self.manifest.files}

    def _check_length(self, path: str, rows: int) -> None:
        expected = self._listed_rows.get(path, rows)
        if rows != expected:
            raise CorruptGenerationError(
                f"{self.locate(path)} has another number of rows than {MANIFEST_NAME} says",
                got=rows,
                expected=expected,
            )


def _check_version(name: str, metadata: Mapping[bytes, bytes] | None) -> None:
    try:
        got = parse_json((metadata or {})[METADATA_KEY])["format_version"]
    except (KeyError, TypeError, ValueError):
        raise CorruptGenerationError(
            f"{name} has no format version",
            expected=f"the key {METADATA_KEY.decode()!r} in its schema's metadata",
            todo="Build the generation again.",
        ) from None
    if got != FORMAT_VERSION:
        raise FormatVersionError(
            f"{name}: unknown format version",
            got=got,
            expected=FORMAT_VERSION,
            todo=f"Its generation's {MANIFEST_NAME} should say the same; build it again.",
        )


def _described(schema: pa.Schema) -> str:
    return ", ".join(
        f"{field.name}: {field.type}{'' if field.nullable else ' not null'}" for field in schema
    )


def _check_columns(path: str, schema: pa.Schema, columns: Sequence[str] | None) -> None:
    for column in columns or ():
        if column not in schema.names:
            raise CallError(
                f"there is no column {column!r} in {path}", todo=suggest(column, schema.names)
            )


def _groups_with(shard: pq.ParquetFile, column: str, values: Collection[int | str]) -> list[int]:
    """The row groups that may hold one of the values, by their statistics."""
    names = [shard.schema.column(c).path for c in range(len(shard.schema))]
    position = names.index(column)
    groups = []
    for group in range(shard.metadata.num_row_groups):
        known = shard.metadata.row_group(group).column(position).statistics
        unknown = known is None or not known.has_min_max
        if unknown or any(known.min <= value <= known.max for value in values):
            groups.append(group)
    return groups
