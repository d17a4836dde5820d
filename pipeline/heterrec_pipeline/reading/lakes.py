"""Delta, Iceberg and BigQuery tables: the Parquet files of one version, as the tables' own libraries list them.

The files are then read like any others. What would change their rows or columns beyond that is refused: deleted rows that are
still in the files, and columns that have other names in them.
"""

import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib import import_module
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq

from heterrec_pipeline.files import storage
from heterrec_schemas.errors import CallError, DataError, HeterrecError, with_extra
from heterrec_schemas.feature_spec import Source
from heterrec_schemas.stores import FileInfo

_BIGQUERY = "heterrec_pipeline.reading.bigquery"
_ICEBERG = "heterrec_pipeline.reading.iceberg_files"
"""The modules that need an extra."""
_COLOURS = re.compile("\x1b\\[[0-9;]*m")
_WORKERS = 8
"""Number of data files that are looked up at once."""
_NUMBER = re.compile(r"^v?(\d+)[.-]")


def data_files(source: Source, base: str, pattern: str, where: str) -> list[FileInfo]:
    """The data files of a table at the version of the source, or at its latest.

    Args:
        source: of the format delta, iceberg or bigquery.
        base: the input folder.
        pattern: the folder of the table, relative to it; of Iceberg also a metadata file; of BigQuery the table's name.
        where: name of the source in messages.

    Raises:
        CallError: the library is not installed.
        DataError: there is no such table or version, or it has rows or columns that its files alone do not show.
        HeterrecError: of BigQuery, see `exported_files`.
    """
    if source.format == "bigquery":
        exported: list[FileInfo] = _library(_BIGQUERY, "bigquery").exported_files(
            source, base, pattern, where
        )
        return exported
    path = storage.plain_path(storage.join(base, pattern))
    list_files = _delta_files if source.format == "delta" else _iceberg_files
    with ThreadPoolExecutor(_WORKERS) as pool:
        paths = list_files(f"{where}: {pattern}", path, source.version)
        found = list(zip(paths, pool.map(storage.info, paths), strict=True))
    if gone := [p for p, info in found if info is None]:
        raise DataError(
            f"{where}: {pattern}: {len(gone):,} of its {len(found):,} data files are gone",
            got=f"no file {gone[0]}",
            todo="Give a version that still has its files (they may be vacuumed or expired); or the table was moved.",
        )
    if not found:
        raise DataError(f"{where}: {pattern} has no rows", todo="Check path and version.")
    return [info for _, info in found if info is not None]


def _delta_files(table: str, path: str, version: int | None) -> list[str]:
    deltalake = _library("deltalake", "delta")
    with _named(table, "Delta"):
        # an endpoint may be in the same network, without encryption, as for the data files
        found = deltalake.DeltaTable(path, version=version, storage_options={"allow_http": "true"})
        settings = found.metadata().configuration
        partitions = found.metadata().partition_columns
        actions = pa.table(found.get_add_actions())
        deleted = any(len(batch) for batch in found.deletion_vectors())
    if deleted:
        raise _refused(
            table,
            "deletion vectors: rows that are deleted, but still in its files",
            "Rewrite them: REORG TABLE ... APPLY (PURGE).",
        )
    if settings.get("delta.columnMapping.mode", "none") != "none":
        raise _refused(
            table,
            "column mapping: its columns have other names in its files",
            "Write the table without it, or export it as Parquet.",
        )
    names = actions["path"].to_pylist()
    for name in names:
        folders = {part.partition("=")[0] for part in unquote(name).split("/")[:-1]}
        if lacking := [c for c in partitions if c not in folders]:
            raise _refused(
                table,
                f"the partition column {lacking[0]!r}, which is not in the path {name}",
                "Export the table as Parquet.",
            )
    return [storage.join(path, unquote(name)) for name in names]


def _iceberg_files(table: str, path: str, version: int | None) -> list[str]:
    tables = _library(_ICEBERG, "iceberg")
    if not path.endswith(".json"):
        path = _latest_metadata(table, path)
    with _named(table, "Iceberg"):
        found = tables.open_table(path)
        if version is not None and found.snapshot_by_id(version) is None:
            raise DataError(
                f"{table} has no snapshot {version}",
                got=", ".join(str(s.snapshot_id) for s in found.snapshots()) or "no snapshot",
                todo="Set version to one of them, or leave it out.",
            )
        tasks = list(found.scan(snapshot_id=version).plan_files())
        fields = {f.field_id: f.name for f in found.scan(snapshot_id=version).projection().fields}
        before = [
            (f.field_id, f.name) for schema in found.schemas().values() for f in schema.fields
        ]
    if any(task.delete_files for task in tasks):
        raise _refused(
            table,
            "delete files: rows that are deleted, but still in its data files",
            "Rewrite them: CALL system.rewrite_data_files.",
        )
    if others := {str(task.file.file_format.value) for task in tasks} - {"PARQUET"}:
        raise _refused(table, f"data files of {others.pop()}", "Write them as Parquet.")
    paths = [tables.own_path(task.file.file_path) for task in tasks]
    ids = {name: number for number, name in fields.items()}
    if any(fields.get(n, name) != name or ids.get(name, n) != n for n, name in before):
        _check_names(table, paths, fields)
    return paths


def _check_names(table: str, paths: Sequence[str], fields: dict[int, str]) -> None:
    """Refuse files in which columns of the table have other names, or others have theirs."""
    ids = {name: number for number, name in fields.items()}

    def differs(path: str) -> tuple[str, str] | None:
        with storage.open_arrow(path, mapped=False) as handle:
            schema = pq.read_schema(handle)
        for field in schema:
            number = int((field.metadata or {}).get(b"PARQUET:field_id", -1))
            name = fields.get(number, field.name)
            if name != field.name or (number >= 0 and ids.get(field.name, number) != number):
                return field.name, path
        return None

    with ThreadPoolExecutor(_WORKERS) as pool:
        found = next((f for f in pool.map(differs, paths) if f is not None), None)
    if found is not None:
        raise _refused(
            table,
            f"renamed columns: {found[0]!r} in {found[1]}",
            "Rewrite its data files: CALL system.rewrite_data_files.",
        )


def _latest_metadata(table: str, path: str) -> str:
    """The latest metadata file in the folder of an Iceberg table."""
    names = [f.path for f in storage.matched(path, "metadata/*.metadata.json")]
    numbered = [(int(n[1]), p) for p in names if (n := _NUMBER.match(p.rpartition("/")[2]))]
    latest = sorted(p for k, p in numbered if k == max(numbered)[0])
    if len(latest) == 1:
        return latest[0]
    raise DataError(
        f"{table} is no Iceberg table" if not latest else f"{table} has two latest versions",
        got=" and ".join(latest[:2]) or "no metadata/*.metadata.json",
        expected="a folder with metadata/, or the path of a metadata file",
        todo="Set path to the metadata file that the catalog names.",
    )


def _refused(table: str, what: str, todo: str) -> DataError:
    return DataError(f"{table} has {what}", todo=todo)


@contextmanager
def _named(table: str, kind: str) -> Iterator[None]:
    """Turn the errors of a library into ones that name the table."""
    try:
        yield
    except HeterrecError:
        raise
    except Exception as error:
        raise DataError(
            f"{table} cannot be read as {kind} table",
            got=" ".join(_COLOURS.sub("", str(error)).split())[:300],
            todo="Check source.path, version and the access to it.",
        ) from None


def _library(name: str, extra: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        raise CallError(
            f"format: {extra} cannot be read: {error}",
            todo=with_extra(extra),
        ) from None
