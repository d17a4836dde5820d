"""Objects as files: random access by range requests, with read-ahead for sequential reads."""

import io
import os
from collections.abc import Callable
from typing import Any

from heterrec_schemas.errors import RunError
from heterrec_schemas.stores.objects import ChangedError
from heterrec_schemas.stores.store import FileInfo

LEAST = 2**18
"""Bytes of the smallest request: it takes hardly longer than one for a single byte."""
MOST = 2**23
"""Bytes that are read ahead, at the most."""


class ObjectReader(io.RawIOBase):
    """One version of an object, open for reading; one thread at a time.

    A read that begins where the one before ended doubles the read-ahead, up to 8 MB; any other read
    resets it. So a footer costs one request, a row group its own bytes, and a text file one request
    per 8 MB; no more than that is buffered.
    """

    def __init__(self, fetch: Callable[[FileInfo, int, int], bytes], found: FileInfo) -> None:
        """Read an object by a function that gives the bytes [start, stop) of it."""
        self._fetch = fetch
        self._found = found
        self._position = 0
        self._start = 0
        self._held = b""
        self._ahead = LEAST

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True

    def tell(self) -> int:
        """The position of the next read."""
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move; nothing is fetched."""
        origin = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._found.bytes}
        self._position = max(0, origin[whence] + offset)
        return self._position

    def size(self) -> int:
        """The object's bytes."""
        return self._found.bytes

    def read(self, size: int | None = -1) -> bytes:
        """The next bytes, fewer only at the end.

        Raises:
            FileNotFoundError: the object has been deleted.
            RunError: the object has been replaced, or the store does not answer.
        """
        if self.closed:
            raise ValueError("read of a closed object")
        start = self._position
        left = max(0, self._found.bytes - start)
        stop = start + (left if size is None or size < 0 else min(size, left))
        data = self._from_held(start, stop)
        if start + len(data) < stop:
            data += self._fetched(start + len(data), stop)
        self._position = stop
        return data

    def readall(self) -> bytes:
        """The remaining bytes."""
        return self.read()

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer; only the end of the object gives fewer bytes."""
        view = memoryview(buffer).cast("B")
        data = self.read(len(view))
        view[: len(data)] = data
        return len(data)

    def _from_held(self, start: int, stop: int) -> bytes:
        first = start - self._start
        if not 0 <= first < len(self._held):
            return b""
        return self._held[first : stop - self._start]

    def _fetched(self, start: int, stop: int) -> bytes:
        """The bytes [start, stop); the bytes after them go into the buffer."""
        follows = start == self._start + len(self._held) and start > 0
        self._ahead = min(2 * self._ahead, MOST) if follows else LEAST
        wanted = stop - start
        end = min(max(stop, start + self._ahead), self._found.bytes)
        try:
            got = self._fetch(self._found, start, end)
        except ChangedError:
            raise RunError(
                f"{self._found.path} was replaced while it was read",
                todo="Run again when no other process writes there.",
            ) from None
        self._start, self._held = start, got
        if wanted > MOST:  # large reads are not buffered a second time
            self._start, self._held = stop, got[wanted:]
        return got[:wanted]
