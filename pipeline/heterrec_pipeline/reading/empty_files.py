"""Files of no bytes, which a source may ignore."""

from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from heterrec_pipeline.reading.files import InputFile
from heterrec_pipeline.reading.formats.text import TextStream
from heterrec_schemas.errors import DataError, HeterrecError
from heterrec_schemas.feature_spec import Source

PACKED_BYTES = 4096
"""Size in bytes up to which a compressed file may have nothing in it; larger ones are not opened to find out."""
SHOWN = 3
"""Number of files that a message names."""
_OPENED = 8
"""Number of files that are opened at once."""


class FilledFiles(NamedTuple):
    """The files of a source to read, and the names of those that are ignored."""

    files: tuple[InputFile, ...]
    empty: tuple[str, ...]


def filled_files(source: Source, files: tuple[InputFile, ...], where: str) -> FilledFiles:
    """The files that are not empty, if the source skips empty ones; otherwise all.

    A file is empty if it has no bytes, or is compressed and decompresses to none. A CSV file with a header is not.

    Args:
        source: the source.
        files: its files.
        where: name of the source in messages, such as `items`.

    Raises:
        DataError: all files are empty.
    """
    if source.empty_files == "refuse" or not files:
        return FilledFiles(files, ())
    with ThreadPoolExecutor(_OPENED) as pool:
        empty = list(pool.map(_is_empty, files))
    filled = tuple(f for f, nothing in zip(files, empty, strict=True) if not nothing)
    names = tuple(f.name for f, nothing in zip(files, empty, strict=True) if nothing)
    if not filled:
        raise DataError(
            f"{where}: all files are empty",
            got=in_words(names),
            expected="at least one file that is not",
            todo="Check source.path in the spec, and whatever writes the files.",
        )
    return FilledFiles(filled, names)


def _is_empty(file: InputFile) -> bool:
    if file.bytes == 0:
        return True
    if file.compression is None or file.bytes > PACKED_BYTES:
        return False
    try:
        with TextStream(file) as stream:
            return not stream.read(1)
    except HeterrecError:
        return False  # reading it later reports the error


def in_words(names: tuple[str, ...]) -> str:
    """The number of empty files, and some of their names."""
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    word = "file" if len(names) == 1 else "files"
    return f"{len(names):,} empty {word}: {', '.join(names[:SHOWN])}{more}"


def skipped(empty: dict[str, tuple[str, ...]]) -> list[str]:
    """A warning for each source with empty files that were ignored: by name of the source, the names of the files."""
    return [
        f"{source}: ignored {in_words(names)} (empty_files: skip)"
        for source, names in empty.items()
        if names
    ]
