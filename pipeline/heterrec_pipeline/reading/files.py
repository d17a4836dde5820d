"""The input files of a table, and their splits: the units that workers read."""

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from heterrec_pipeline.files import storage
from heterrec_schemas.errors import DataError
from heterrec_schemas.feature_spec import Format, Source
from heterrec_schemas.hashing import stable_hash

SPLIT_BYTES = 128 * 2**20
"""Approximate bytes of a Parquet file per split; a text file is one split."""


@dataclass(frozen=True, order=True)
class InputFile:
    """An input file: its path, its name in messages and rejects, its size in bytes and its format."""

    path: str
    name: str
    bytes: int
    format: Format

    @property
    def compression(self) -> str | None:
        """gzip, zstd or None, by the suffix."""
        lower = self.path.lower()
        return "gzip" if lower.endswith(".gz") else "zstd" if lower.endswith(".zst") else None


@dataclass(frozen=True, order=True)
class Split:
    """A part of one file: the whole file, or some row groups and the number of their first row."""

    file: InputFile
    row_groups: tuple[int, ...] | None = None
    first_row: int = 0

    @property
    def number(self) -> int:
        """A 63-bit number that identifies the split."""
        return stable_hash(self.file.path, str(self.first_row)) >> 1


def input_files(source: Source, base: str, where: str) -> tuple[InputFile, ...]:
    """The files of a source, sorted by name.

    Args:
        source: path, list of paths, or glob.
        base: the input folder, to which paths are relative.
        where: name of the source in messages, such as `items`.

    Raises:
        DataError: a path or pattern matches no file, or one whose name is not UTF-8.
        SpecError: the format of a file is unknown.
    """
    found: dict[str, InputFile] = {}
    for pattern in source.patterns:
        matches = storage.matched(base, pattern)
        if not matches:
            raise DataError(
                f"{where}: no file matches {pattern!r} in {base}",
                got=storage.describe_missing(storage.join(base, pattern)),
                expected="at least one file",
                todo="Check source.path in the spec and --input.",
            )
        for name, size in matches:
            _check_name(name, where)
            found[name] = InputFile(name, _short(name, base), size, source.format_of(name))
    return tuple(sorted(found.values(), key=lambda f: f.name))


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
    try:
        with storage.open_arrow(file.path) as handle:
            return pq.read_metadata(handle)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise unreadable(file, error) from None


def unreadable(file: InputFile, error: object, what: str | None = None) -> DataError:
    """The error for a file that cannot be read in its format."""
    kind = {"parquet": "Parquet", "csv": "CSV", "jsonl": "JSON lines"}[file.format]
    packed = f", {file.compression}" if file.compression else ""
    detail = " ".join(str(error).split())
    return DataError(
        f"{file.name} cannot be read: {what or detail}",
        got=f"{file.bytes:,} bytes" + (f" ({detail})" if what else ""),
        expected=f"a complete {kind} file{packed}",
        todo="Download or write the file again, or set its format in the spec.",
    )
