"""Folders of Delta and Iceberg tables that a source reads as plain files, with the rows that were deleted from the table."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from heterrec_pipeline.files import storage
from heterrec_pipeline.reading.files import InputFile
from heterrec_schemas.errors import HeterrecError

MAX_FOLDERS = 64
"""Maximum number of folders per source that are looked into."""
_LOOKED_INTO = 8
"""Number of folders that are looked into at once."""
_FORMATS = ("parquet", "orc", "avro")
"""The formats of the data files of such tables."""
_NAMES = {"delta": "a Delta", "iceberg": "an Iceberg"}


def lake_doubts(table: str, files: Sequence[InputFile]) -> Iterator[str]:
    """The warnings about a source with files of a Delta or Iceberg table that are read without its metadata.

    Args:
        table: the name of the table, such as `interactions`.
        files: the files of the source.
    """
    first = {
        folder: file
        for file in reversed(files)
        if file.format in _FORMATS and not (file.source and file.source.is_lake)
        for folder in _folders(file.path)
    }
    chosen = sorted(first, key=lambda folder: (folder.count("/"), folder))[:MAX_FOLDERS]
    with ThreadPoolExecutor(_LOOKED_INTO) as pool:
        kinds = list(pool.map(_kind, chosen))
    for folder, kind in zip(chosen, kinds, strict=True):
        if kind is not None:
            lake, sign = kind
            yield (
                f"{table}: {first[folder].name} is a file of {_NAMES[lake]} table, whose folder has {sign}, but is read "
                "without it: rows that were deleted or replaced come back. Write into the source "
                f"path: {_as_path(folder, first[folder])}, format: {lake}; or export the table and read the export."
            )


def _folders(path: str) -> Iterator[str]:
    """The folders around a file, without its partitions."""
    store, separator, rest = path.rpartition("://")
    parts = rest.split("/")[:-1]
    for stop in range(1, len(parts) + 1):
        if parts[stop - 1] and "=" not in parts[stop - 1]:
            yield store + separator + "/".join(parts[:stop])


def _kind(folder: str) -> tuple[str, str] | None:
    """The format of the table in a folder, and where its metadata are; None if there is none, or it cannot be listed."""
    with suppress(HeterrecError, OSError):
        if any(n.endswith(".json") for n in storage.files_in(storage.join(folder, "_delta_log"))):
            return "delta", "_delta_log/"
        names = storage.files_in(storage.join(folder, "metadata"))
        if any(name.endswith(".metadata.json") for name in names):
            return "iceberg", "metadata/"
    return None


def _as_path(folder: str, file: InputFile) -> str:
    """The path of a folder around a file as a source writes it: relative to the input folder, if it is below it."""
    base = file.path.removesuffix(file.name).rstrip("/")
    if base and f"{folder}/".startswith(f"{base}/"):
        return folder[len(base) + 1 :] or "."
    return folder if "://" in folder else os.path.abspath(folder)
