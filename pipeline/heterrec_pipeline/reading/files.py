"""The input files of a table, and their splits: the units that workers read."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from heterrec_pipeline.files import storage
from heterrec_pipeline.reading.lakes import data_files
from heterrec_pipeline.reading.looks_like import BEGINNING_BYTES, other_content
from heterrec_pipeline.reading.patterns import find_files
from heterrec_schemas.errors import DataError, HeterrecError, RunError, SpecError
from heterrec_schemas.feature_spec import Format, Source
from heterrec_schemas.hashing import stable_hash
from heterrec_schemas.stores import FileInfo

FileFormat = Format | Literal["text"]
"""The format of a table, or text that is no table."""
_AGAIN = "Download or write the file again, or "
_FORMAT = "set its format in the spec."
SPLIT_BYTES = 128 * 2**20
"""Approximate bytes of a Parquet file per split; a text file is one split."""
TAIL_BYTES = 2**16
"""Number of bytes read at a time in search of the last end of a line."""
_CHECKS = 8
"""Number of files that are checked at once."""
_COMPRESSIONS = {"gz": "gzip", "zst": "zstd", "bz2": "bzip2"}
_KINDS: dict[FileFormat, str] = {
    "parquet": "Parquet",
    "csv": "CSV",
    "jsonl": "JSON lines",
    "avro": "Avro",
    "orc": "ORC",
    "npy": "NumPy",
    "text": "text",
}
NOT_IN_ROWS = frozenset({"path", "format", "version", "export_to", "append_only", "empty_files"})
"""The keys of a source that do not change what is found in a file of one format."""
_SHOWN = 3
"""Number of changed files that a message names."""
_DETAIL_CHARACTERS = 300
"""Number of characters of the error of a library that a message repeats."""


@dataclass(frozen=True)
class InputFile:
    """An input file, as it was when the files were listed, and how its rows are read.

    Two are equal if they are the same file and read in the same way, since what was found in one is kept for the other. The
    hash leaves out what cannot be hashed.

    Attributes:
        path: its path or URI.
        name: its name in messages and rejects.
        bytes: its size; of a file that rows are appended to, the number of bytes that are read.
        format: its format.
        version: changes with its content, see `FileInfo`; empty for a file that the build has written.
        append_only: whether rows may be appended to it while it is read.
        source: the source that it was found for, which says how its rows are read; None for a file that the build has
            written.
        keys: of an array of vectors, the file with the keys of its rows.
        numbers: the columns that are read as numbers, if their texts have another decimal point than Python's.
        vectors: the columns that are read as vectors.
        required: the columns that it must have; any other column that it lacks is missing in all its rows. None for all.
        dates_as_times: columns that have dates in some files of the source and timestamps in others.
        known_types: the types of columns in the files of the source that were compared, if these are not all files.
    """

    path: str
    name: str
    bytes: int
    format: FileFormat
    version: str = ""
    append_only: bool = False
    source: Source | None = field(default=None, hash=False)
    keys: "InputFile | None" = None
    numbers: tuple[str, ...] = ()
    vectors: tuple[str, ...] = ()
    required: tuple[str, ...] | None = None
    dates_as_times: tuple[str, ...] = ()
    known_types: tuple[tuple[str, pa.DataType], ...] = field(default=(), hash=False)

    @property
    def stop(self) -> int | None:
        """Where reading ends, in bytes; None for the end of the file."""
        return self.bytes if self.append_only else None

    @property
    def compression(self) -> str | None:
        """gzip, zstd, bzip2 or None, by the suffix."""
        return _COMPRESSIONS.get(self.path.lower().rpartition(".")[2])

    @property
    def settings(self) -> dict[str, Any]:
        """What its source says about its rows, for JSON; empty for a source with a path alone."""
        if self.source is None:
            return {}
        plain = self.source.model_dump(
            mode="json", exclude=set(NOT_IN_ROWS), exclude_defaults=True, warnings=False
        )
        if self.keys is not None:
            plain["keys"] = [self.keys.name, self.keys.bytes, self.keys.version]
        return plain

    @property
    def every(self) -> "tuple[InputFile, ...]":
        """The file, and that of its keys if there is one."""
        return (self,) if self.keys is None else (self, self.keys)


@dataclass(frozen=True)
class Split:
    """A part of one file: the whole file, or some row groups and the number of their first row.

    Attributes:
        digests: the digests of the split that a refresh has taken over from its parent: (name of the reading, path).
    """

    file: InputFile
    row_groups: tuple[int, ...] | None = None
    first_row: int = 0
    digests: tuple[tuple[str, str], ...] = ()

    @property
    def place(self) -> tuple[str, int]:
        """What splits are sorted by: the path of the file, and the first row."""
        return self.file.path, self.first_row

    @property
    def number(self) -> int:
        """A 63-bit number that identifies the split."""
        return stable_hash(self.file.path, str(self.first_row)) >> 1


def input_files(source: Source, base: str, where: str) -> tuple[InputFile, ...]:
    """The files of a source, sorted by name.

    Files and folders whose name begins with `_` or `.`, such as `_SUCCESS` and `_delta_log`, are no data unless the pattern
    says so; but a folder such as `_dt=2026` is a partition.

    Args:
        source: a path, a folder with all files below it, a glob, or a list of them.
        base: the input folder, to which paths are relative.
        where: name of the source in messages, such as `items`.

    Raises:
        DataError: a path or pattern matches no file, or one whose name is not UTF-8.
        SpecError: the format of a file is unknown, or rows cannot be appended to such a file.
    """
    base = storage.plain_path(base)
    found: dict[str, InputFile] = {}
    for pattern in source.patterns:
        if source.is_lake:
            matches, below = data_files(source, base, pattern, where), False
        else:
            every, below = find_files(base, pattern)
            shown = _names_hidden(pattern, folder=below)
            matches = [m for m in every if shown or not _hides(_short(m.path, base).split("/"))]
        if not matches:
            raise DataError(
                f"{where}: no file matches {pattern!r} in {base}",
                got=storage.describe_missing(storage.join(base, pattern)),
                expected="at least one file",
                todo="Check source.path in the spec and --input.",
            )
        for match in matches:
            _check_name(match.path, where)
            try:
                found[match.path] = _listed(source, match, base, where)
            except SpecError as error:
                raise _other_file(where, pattern, error) if below else error from None
    return tuple(sorted(found.values(), key=lambda f: f.name))


def single_file(path: str, base: str, kind: FileFormat) -> InputFile | None:
    """A file that is no table; None if there is none.

    Args:
        path: its path, relative to the input folder.
        base: the input folder.
        kind: its format.
    """
    base = storage.plain_path(base)
    path = storage.plain_path(storage.join(base, path))
    found = storage.info(path)
    if found is None:
        return None
    return InputFile(path, _short(path, base), found.bytes, kind, found.version)


def _other_file(where: str, folder: str, error: SpecError) -> SpecError:
    """The error for a file of a folder whose format is unknown, or to which rows cannot be appended."""
    stem = folder.rstrip("/")
    return SpecError(
        f"{where}: {error.message}",
        todo=f"It is in the folder {stem}. Name the data files by a pattern, such as {stem}/**/*.parquet; or set format, if "
        "all are of one.",
    )


def _hides(parts: Sequence[str]) -> bool:
    """Whether the path of a file has the name of a hidden file or folder; `_dt=2026` is a partition, no such folder."""
    *folders, last = parts
    return _begins_hidden(last) or any(_begins_hidden(f) and not _is_partition(f) for f in folders)


def _names_hidden(pattern: str, *, folder: bool) -> bool:
    """Whether a part of a pattern, of files or of a folder, names hidden files or folders."""
    return _hides([*pattern.rstrip("/").split("/"), *([""] if folder else [])])


def _begins_hidden(name: str) -> bool:
    return name.startswith(("_", ".")) and name not in (".", "..")


def _is_partition(folder: str) -> bool:
    return folder.startswith("_") and "=" in folder


def _check_name(path: str, where: str) -> None:
    """Refuse names of other encodings, which Python keeps as surrogates that no output can contain."""
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        raw = path.encode("utf-8", errors="surrogateescape")
        raise DataError(
            f"{where}: the name of an input file is not UTF-8",
            got=raw.decode("utf-8", errors="backslashreplace"),
            todo="Rename the file.",
        ) from None


def _file_of_keys(source: Source, file: InputFile, base: str, where: str) -> InputFile:
    """The file with the keys of an array of vectors."""
    if file.format != "npy" or source.keys is None or source.patterns != [source.path]:
        raise SpecError(
            f"{where}: keys belong to one .npy file, and each .npy file has keys",
            got=f"path: {source.path}, keys: {source.keys}",
            expected="a source such as {path: vectors.npy, keys: ids.csv}",
            todo="Declare a source, a joined table say, for each array.",
        )
    keys = Source(path=source.keys)
    kind = keys.format_of(source.keys)
    found = single_file(source.keys, base, kind)
    if found is None:
        path = storage.join(base, source.keys)
        raise DataError(f"{where}: there is no file of keys {path}", todo="Check source.keys.")
    if kind == "jsonl":
        raise SpecError(
            f"{where}: {source.keys} cannot be a file of keys",
            got=_KINDS[kind],
            expected="Parquet, CSV, Avro, ORC, or an .npy file of one dimension",
        )
    return replace(found, source=keys)


def _listed(source: Source, found: FileInfo, base: str, where: str) -> InputFile:
    name = _short(found.path, base)
    kind = source.format_of(found.path)
    if kind != "csv" and source.csv_keys:
        raise SpecError(
            f"{where}: {', '.join(source.csv_keys)} in a source with a file that is not CSV",
            got=f"{name}, which is {_KINDS[kind]}",
            todo="Remove the keys; or set format: csv, if it is CSV.",
        )
    file = InputFile(found.path, name, found.bytes, kind, found.version, source.grows, source)
    if kind == "npy" or source.keys is not None:
        file = replace(file, keys=_file_of_keys(source, file, base, where))
    if not file.append_only:
        return file
    if "\n".encode(source.encoding) != b"\n":
        raise SpecError(
            f"{where}: append_only with encoding: {source.encoding}",
            expected="an encoding with the line ends of ASCII, in which a beginning can be read",
            todo="Remove append_only from the source, and build when the file is complete.",
        )
    if kind not in ("csv", "jsonl") or file.compression:
        raise SpecError(
            f"{where}: {name} cannot be read while rows are appended to it",
            got=f"append_only: true and {file.compression or _KINDS[kind]}",
            expected="uncompressed CSV or JSON lines, of which a beginning can be read",
            todo="Remove append_only from the source, and build when the file is complete.",
        )
    return replace(file, bytes=_whole_lines(found))


def _whole_lines(found: FileInfo) -> int:
    """The number of bytes up to the last end of a line: the row after it may be incomplete."""
    with storage.open_read(found.path) as file:
        for end in range(found.bytes, 0, -TAIL_BYTES):
            start = max(0, end - TAIL_BYTES)
            file.seek(start)
            at = file.read(end - start).rfind(b"\n")
            if at >= 0:
                return start + at + 1
    return 0


def physical_files(files: Iterable[InputFile]) -> tuple[InputFile, ...]:
    """The files, and those of their keys, each once however many tables read it; sorted by path.

    Of a file to which only some of its sources let rows be appended, it is the one that must not change.
    """
    every = sorted((file for f in files for file in f.every), key=lambda f: not f.append_only)
    found = {file.path: file for file in every}
    return tuple(found[path] for path in sorted(found))


def changed_input(
    files: Iterable[InputFile], hashes: Mapping[str, str | None] = MappingProxyType({})
) -> RunError | None:
    """The error for files that have changed since they were listed, so that two reads may differ; None if there are none.

    Args:
        files: the files.
        hashes: the name of a file to the SHA-256 of what was read. The beginning of a file that has grown must still have
            it.
    """
    with ThreadPoolExecutor(_CHECKS) as pool:
        changes = list(pool.map(lambda f: _change(f, hashes.get(f.name)), physical_files(files)))
    found = [change for change in changes if change]
    return _changed(found) if found else None


def _change(file: InputFile, sha256: str | None = None) -> str | None:
    """What differs from the time when a file was listed; None if nothing does."""
    if not file.version:
        return None
    now = storage.info(file.path)
    if now is None:
        return f"{file.name} is gone"
    if not file.append_only:
        if (now.bytes, now.version) == (file.bytes, file.version):
            return None
        was = f"{file.bytes:,} bytes of {file.version}"
        return f"{file.name}: got {now.bytes:,} bytes of {now.version}, expected {was}"
    if now.bytes < file.bytes:
        return f"{file.name}: got {now.bytes:,} bytes, expected at least {file.bytes:,}"
    if now.version != file.version and sha256 is not None:
        if storage.sha256_of(file.path, file.bytes) != sha256:
            return f"{file.name}: its first {file.bytes:,} bytes are others now"
    return None


def _changed(changes: list[str]) -> RunError:
    more = f"; and {len(changes) - _SHOWN} more" if len(changes) > _SHOWN else ""
    return RunError(
        f"the input changed while it was read: {'; '.join(changes[:_SHOWN])}{more}",
        todo="Run again when no other process writes there. If rows are only ever appended to a CSV or JSON lines file, "
        "set append_only: true on its source.",
    )


def _short(path: str, base: str) -> str:
    """The path relative to the input folder, if the file is below it."""
    prefix = base.rstrip("/") + "/"
    return path[len(prefix) :] if path.startswith(prefix) else path


def split_file(file: InputFile) -> Iterator[Split]:
    """Cut a Parquet file into splits at row groups; a text file is one split.

    Raises:
        DataError: a Parquet file cannot be read.
    """
    if file.format != "parquet":
        yield Split(file)
        return
    meta = parquet_metadata(file)
    groups: list[int] = []
    size = row = first = 0
    for k in range(meta.num_row_groups):
        group = meta.row_group(k)
        if groups and size + group.total_byte_size > SPLIT_BYTES:
            yield Split(file, tuple(groups), first)
            groups, size, first = [], 0, row
        groups.append(k)
        size += group.total_byte_size
        row += group.num_rows
    if groups:
        yield Split(file, tuple(groups), first)


def parquet_metadata(file: InputFile) -> pq.FileMetaData:
    """The footer of a Parquet file.

    Raises:
        DataError: the file is truncated or not Parquet.
    """
    with opened(file) as handle:
        return pq.read_metadata(handle)


@contextmanager
def opened(file: InputFile) -> Iterator[pa.NativeFile]:
    """A file for a reader of Arrow.

    Raises:
        DataError: the reader cannot read it: it is truncated, or of another format.
    """
    try:
        with storage.open_arrow(file.path, mapped=False) as handle:
            yield handle
    except UnicodeDecodeError as error:
        name = error.object.decode("utf-8", "backslashreplace")[:_DETAIL_CHARACTERS]
        raise unreadable(file, f"the name of a column is not UTF-8: {name!r}") from None
    except (pa.ArrowException, OSError) as error:
        raise unreadable(file, error) from None


def beginning(file: InputFile) -> bytes:
    """The first bytes of a file as it is stored; empty if it cannot be read."""
    with suppress(HeterrecError, OSError), storage.open_read(file.path) as handle:
        return handle.read(BEGINNING_BYTES)
    return b""


def _other_content(file: InputFile) -> str | None:
    """What a file that is declared as no text holds instead, in words."""
    if file.format in ("csv", "jsonl", "text") or file.compression:
        return None
    found = other_content(beginning(file))
    return None if found is None or f"format: {file.format}" in found else f"it is {found}"


def without_empty(file: InputFile) -> str:
    """What to do about a file with nothing in it, as the end of a sentence."""
    skips = file.source is None or file.source.empty_files == "skip"
    if skips or (file.bytes and file.compression is None):  # it is not empty for `empty_files`
        return "exclude it from source.path."
    return "set empty_files: skip on its source."


def unreadable(file: InputFile, error: object, what: str | None = None) -> HeterrecError:
    """The error for a file that cannot be read in its format, or that has changed since it was listed."""
    with suppress(HeterrecError):  # of the store
        if changed := changed_input([file]):
            return changed
    what = what or _other_content(file)
    kind = _KINDS[file.format]
    packed = f", {file.compression}" if file.compression else ""
    detail = " ".join(str(error).split())[:_DETAIL_CHARACTERS] or type(error).__name__
    return DataError(
        f"{file.name} cannot be read: {what or detail}",
        got=f"{file.bytes:,} bytes" + (f" ({detail})" if what else ""),
        expected=f"a complete {kind} file{packed}",
        # What is in brackets is what to do.
        todo=None
        if what and what.endswith(")")
        else _AGAIN + (_FORMAT if file.bytes else without_empty(file)),
    )
