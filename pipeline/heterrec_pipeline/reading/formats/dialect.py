"""The dialect of a CSV file, and its text as the parser reads it: UTF-8, cells separated by one ASCII character."""

import codecs
import csv
import io
import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

from heterrec_pipeline.reading.files import InputFile, unreadable
from heterrec_pipeline.reading.formats.text import BOM, TextStream
from heterrec_schemas.feature_spec import Source

_STAND_IN = "\x1f"
"""The character that takes the place of a delimiter that the parser cannot split at."""


class Readable(Protocol):
    """A stream of bytes."""

    def read(self, size: int = -1, /) -> bytes:
        """Read up to `size` bytes; nothing only at the end."""

    def close(self) -> None:
        """Close the stream."""


@dataclass(frozen=True)
class Dialect:
    """How the rows and cells of a CSV file are written.

    Attributes:
        file: the file.
        source: the settings.
    """

    file: InputFile
    source: Source

    @classmethod
    def of(cls, file: InputFile) -> "Dialect":
        """The dialect of a file by its source and its suffix."""
        return cls(file, file.source or Source(path=file.path))

    @cached_property
    def delimiter(self) -> str:
        """What separates cells in the file."""
        return self.source.delimiter_of(self.file.path)

    @property
    def separator(self) -> str:
        """What separates cells in the text of `open`: one ASCII character."""
        one = len(self.delimiter) == 1 and self.delimiter.isascii()
        return self.delimiter if one else _STAND_IN

    def original(self, text: str) -> str:
        """A row of the text of `open` as it stands in the file."""
        return (
            text
            if self.separator == self.delimiter
            else text.replace(self.separator, self.delimiter)
        )

    def reader(self, text: str) -> Any:
        """The standard library's reader of some rows of the text of `open`; blank lines are empty rows."""
        source = self.source
        return csv.reader(
            io.StringIO(text, newline=""),
            delimiter=self.separator,
            quotechar=source.quote,
            escapechar=source.escape,
            quoting=csv.QUOTE_MINIMAL if source.quote else csv.QUOTE_NONE,
        )

    def open(self) -> Readable:
        """The decompressed text as UTF-8.

        Raises:
            DataError: the file cannot be opened, or, when read, is damaged or has bytes of another encoding.
        """
        stream: Readable = TextStream(self.file)
        if self.source.encoding != "utf-8":
            stream = _Transcoded(stream, self.file, self.source.encoding)
        return stream if self.separator == self.delimiter else _Separated(stream, self)


class _Transformed(ABC):
    """A stream whose blocks are transformed; a read may return more or less than its size, but nothing only at the end."""

    def __init__(self, stream: Readable) -> None:
        self._stream = stream
        self._rest = b""
        self._ended = False

    def read(self, size: int = -1, /) -> bytes:
        """Read `size` bytes; fewer only at the end."""
        while len(self._rest) < size and not self._ended:
            block = self._stream.read(size)
            self._ended = not block
            self._rest += self._changed(block)
        got, self._rest = self._rest[:size], self._rest[size:]
        return got

    @abstractmethod
    def _changed(self, block: bytes) -> bytes:
        """The next block, transformed; an empty one is the end."""

    def close(self) -> None:
        """Close the stream below."""
        self._stream.close()


class _Transcoded(_Transformed):
    """The text of another encoding as UTF-8."""

    def __init__(self, stream: Readable, file: InputFile, encoding: str) -> None:
        super().__init__(stream)
        self._file, self._encoding = file, encoding
        self._decoder = codecs.getincrementaldecoder(encoding)()
        self._line = 1

    def _changed(self, block: bytes) -> bytes:
        before = self._decoder.getstate()
        try:
            text = self._decoder.decode(block, final=not block)
        except UnicodeDecodeError as error:
            self._decoder.setstate(before)
            start = self._decoder.decode(block[: max(0, error.start - len(before[0]))])
            bad = " ".join(f"0x{byte:02x}" for byte in error.object[error.start : error.end][:4])
            raise unreadable(
                self._file,
                f"byte {bad} in line {self._line + start.count(chr(10))}",
                f"it is not {self._encoding} text (set encoding in its source)",
            ) from None
        self._line += text.count("\n")
        return text.encode("utf-8", errors="surrogatepass")


class _Separated(_Transformed):
    """Text whose delimiter is replaced by one character, except in quotes."""

    def __init__(self, stream: Readable, dialect: Dialect) -> None:
        super().__init__(stream)
        self._file = dialect.file
        self._delimiter = dialect.delimiter.encode()
        self._separator = dialect.separator.encode()
        self._quote = (dialect.source.quote or "").encode()
        word, mark = re.escape(self._delimiter), re.escape(self._quote)
        self._opening = re.compile(b"(?:" + word + rb"|[\r\n])" + mark + b"?")
        self._inside = re.compile(
            b"[^%b]*+(?:%b[^%b]*+)*+" % (mark, mark + mark, mark) if mark else b""
        )
        self._held = b""
        """The end of the last block, which may be the beginning of a delimiter or of a doubled quote."""
        self._first = self._at_start = True
        self._quoted = False

    def _changed(self, block: bytes) -> bytes:
        if self._separator in block:
            raise unreadable(
                self._file,
                "the character U+001F",
                "it contains a character that replaces delimiters of several characters",
            )
        data, self._held = self._held + block, b""
        if self._first:
            data, self._first = data.removeprefix(BOM), False
        found: list[bytes] = []
        at = 0
        while at < len(data):
            step = self._in_quotes if self._quoted else self._in_text
            part, at = step(data, at, final=not block)
            found.append(part)
        return b"".join(found)

    def _in_quotes(self, data: bytes, at: int, *, final: bool) -> tuple[bytes, int]:
        """The text up to the closing quote, and where it ends."""
        inside = self._inside.match(data, at)
        assert inside is not None
        end = inside.end()
        if end == len(data) - 1 and not final:
            self._held = data[end:]
            return data[at:end], len(data)
        self._quoted, self._at_start = end == len(data), False
        return data[at : end + 1], end + 1

    def _in_text(self, data: bytes, at: int, *, final: bool) -> tuple[bytes, int]:
        """The text up to the next opening quote, separated, and where it ends."""
        if self._quote and self._at_start and data.startswith(self._quote, at):
            self._quoted = True
            return self._quote, at + 1
        if (end := self._next_quote(data, at)) is not None:
            self._at_start = True
            return data[at:end].replace(self._delimiter, self._separator), end
        text = data[at:].replace(self._delimiter, self._separator)
        beginnings = (self._delimiter[:k] for k in range(len(self._delimiter) - 1, 0, -1))
        if not final:
            self._held = next(filter(text.endswith, beginnings), b"")
            text = text[: len(text) - len(self._held)]
        if text:
            self._at_start = text.endswith((self._separator, b"\r", b"\n"))
        return text, len(data)

    def _next_quote(self, data: bytes, at: int) -> int | None:
        """The next quote at the beginning of a cell."""
        if not self._quote or data.find(self._quote, at) < 0:
            return None
        for token in self._opening.finditer(data, at):
            if token.group().endswith(self._quote):
                return token.end() - 1
        return None
