"""Text files as streams of bytes: decompressed, without a byte order mark; errors name the file."""

import bz2
import gzip
import io
import zlib
from collections.abc import Iterator
from typing import IO, cast

import pyarrow as pa

from heterrec_pipeline.files import storage
from heterrec_pipeline.reading.files import InputFile, beginning, unreadable
from heterrec_pipeline.reading.looks_like import other_content, other_encoding
from heterrec_schemas.errors import HeterrecError

BLOCK = 8 * 2**20
"""Bytes of decompressed text that are read at a time."""
MAX_LINE = 64 * 2**20
"""Longest line, in bytes, that is read."""
BOM = b"\xef\xbb\xbf"
"""Byte order mark of UTF-8."""


def decompressed(file: InputFile, raw: IO[bytes]) -> IO[bytes]:
    """The decompressed bytes of a text file; closing the result leaves `raw` open."""
    if file.compression == "gzip":
        return cast(IO[bytes], gzip.open(raw, "rb"))
    if file.compression == "zstd":
        # By Arrow, since the zstandard package accepts a truncated file.
        return cast(IO[bytes], pa.CompressedInputStream(pa.PythonFile(raw, mode="r"), "zstd"))
    if file.compression == "bzip2":
        return cast(IO[bytes], _Bzip2(raw))
    return raw


class _Bzip2(io.RawIOBase):
    """The decompressed bytes of bzip2 members; `bz2.open` ignores a damaged member after the first, Arrow fails on many."""

    def __init__(self, raw: IO[bytes]) -> None:
        self._raw = raw
        self._member = bz2.BZ2Decompressor()
        self._fed = False

    def read(self, size: int = -1) -> bytes:
        """Read up to `size` bytes; nothing only at the end.

        Raises:
            EOFError: the last member is truncated.
            OSError: a member is damaged.
        """
        while size:
            if self._member.eof:
                rest = self._member.unused_data
                self._member, self._fed = bz2.BZ2Decompressor(), False
            else:
                rest = b""
            if self._member.needs_input and not rest:
                rest = self._raw.read(2**16)
                if not rest:
                    if self._fed:
                        raise EOFError("the end of a member is missing")
                    return b""
            self._fed = True
            if got := self._member.decompress(rest, size):
                return got
        return b""


class TextStream(io.RawIOBase):
    """The decompressed bytes of a text file; its errors are `DataError`s that name the file."""

    def __init__(self, file: InputFile) -> None:
        """Open the file.

        Raises:
            DataError: the file cannot be opened, or is an empty compressed file.
        """
        if file.compression and file.bytes == 0:
            raise unreadable(file, "nothing to decompress", "it is empty")
        self._file = file
        self._at = 0
        try:
            self._file_below = storage.open_read(file.path, file.stop)
            self._raw = decompressed(file, self._file_below)
        except OSError as error:
            raise unreadable(file, error.strerror or error) from None

    def readable(self) -> bool:
        """Always True."""
        return True

    def read(self, size: int = -1) -> bytes:
        """Read `size` bytes; fewer only at the end of the file.

        Raises:
            DataError: truncated or corrupt compression.
        """
        try:
            got = self._raw.read(size)
            while 0 < len(got) < size:
                more = self._raw.read(size - len(got))
                if not more:
                    break
                got += more
            self._at += len(got)
            return got
        except (EOFError, OSError, zlib.error, RuntimeError) as error:
            raise self._broken(error) from None

    def tell(self) -> int:
        """Number of decompressed bytes read so far."""
        return self._at

    @property
    def consumed(self) -> int:
        """Number of bytes of the stored file (compressed or not) read so far."""
        return self._file_below.tell()

    def _broken(self, error: Exception) -> HeterrecError:
        what = f"it is not a {self._file.compression} file, or it is damaged"
        found = other_content(beginning(self._file)) or ""
        if found.startswith("text"):
            found = "text (remove the suffix of the compression from its name)"
        if found and not found.startswith(f"{self._file.compression}-"):
            what = f"it is not a {self._file.compression} file but {found}"
        if isinstance(error, EOFError) or str(error).startswith("Truncated"):
            what = "it is truncated"
        return unreadable(self._file, error, what if self._file.compression else None)

    def close(self) -> None:
        """Close the stream and its file."""
        self._raw.close()
        self._file_below.close()
        super().close()


def lines(file: InputFile) -> Iterator[list[bytes]]:
    """The lines of a text file in blocks of about 8 MB, line ends stripped.

    Raises:
        DataError: truncated or corrupt compression, or a line that is too long for memory.
    """
    with TextStream(file) as stream:
        rest = b""
        first = True
        while block := stream.read(BLOCK):
            if first:
                if file.format == "jsonl":
                    check_beginning(file, block)
                block = block.removeprefix(BOM)
                first = False
            whole = (rest + block).split(b"\n")
            rest = whole.pop()
            if len(rest) > MAX_LINE:
                raise unreadable(
                    file,
                    f"a line of more than {MAX_LINE:,} bytes",
                    f"a line is longer than {MAX_LINE // 2**20} MB",
                )
            if whole:
                yield whole
        if rest:
            yield [rest]


def check_beginning(file: InputFile, start: bytes) -> None:
    """Refuse a text file that begins like one of another format.

    Raises:
        DataError: it does.
    """
    if (found := other_encoding(start)) is not None:
        raise unreadable(file, f"it begins with {start[:8]!r}", f"it is {found}")


def bad_utf8(file: InputFile) -> HeterrecError | None:
    """The error for a file that is not UTF-8, which names the line; None if it is UTF-8."""
    number, start = 0, b""
    for block in lines(file):
        start = start or b"\n".join(block[:8])
        try:
            b"\n".join(block).decode("utf-8")
        except UnicodeDecodeError:
            for offset, line in enumerate(block):
                try:
                    line.decode("utf-8")
                except UnicodeDecodeError as error:
                    return unreadable(
                        file,
                        f"byte 0x{line[error.start]:02x} in line {number + offset + 1}",
                        f"it is {other_encoding(start) or _not_utf8(file)}",
                    )
        number += len(block)
    return None


def _not_utf8(file: InputFile) -> str:
    way_out = " (write its encoding into the source, such as encoding: cp1252)"
    return "not UTF-8 text" + (way_out if file.format == "csv" else "")
