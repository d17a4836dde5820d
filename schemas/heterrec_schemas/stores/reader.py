"""Objects as files: random access by range requests, reading ahead where the reads are one behind the other."""

import io
import os
from typing import Any

from heterrec_schemas.errors import RunError
from heterrec_schemas.stores.registry import store_of
from heterrec_schemas.stores.store import ChangedError, ObjectInfo, Store

LEAST = 2**18
"""The smallest request: fetching this much takes hardly longer than fetching a byte."""
MOST = 2**23
"""How far is read ahead at most."""


def open_object(path: str) -> "ObjectReader":
    """Open an object for reading.

    Raises:
        FileNotFoundError: there is none.
        CallError: the store refuses, or there is none of the URI's scheme.
        RunError: the store does not answer.
    """
    store = store_of(path)
    found = store.stat(path)
    if found is None:
        raise FileNotFoundError(2, os.strerror(2), path)
    return ObjectReader(store, found)


class ObjectReader(io.RawIOBase):
    """One version of an object, open for reading; one thread at a time.

    A read that begins where the one before has ended doubles what is fetched ahead, up to 8 MB;
    another one takes it back. So a footer costs one request, a row group what it holds, and a text
    file a request for each 8 MB; no more than that is held.
    """

    def __init__(self, store: Store, found: ObjectInfo) -> None:
        """Read an object that was found in a store."""
        self._store = store
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
        """Where the next read begins."""
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
            FileNotFoundError: the object has been deleted meanwhile.
            RunError: it has been replaced meanwhile, or the store does not answer.
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
        """All that is left."""
        return self.read()

    def readinto(self, buffer: Any) -> int:
        """Read into a buffer; fewer bytes than it holds only at the end."""
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
        """The bytes [start, stop), and what follows them into the buffer."""
        follows = start == self._start + len(self._held) and start > 0
        self._ahead = min(2 * self._ahead, MOST) if follows else LEAST
        wanted = stop - start
        end = min(max(stop, start + self._ahead), self._found.bytes)
        try:
            got = self._store.read(self._found, start, end)
        except ChangedError:
            raise RunError(
                f"{self._found.path} was replaced while it was read",
                todo="Run again when nobody writes there.",
            ) from None
        self._start, self._held = start, got
        if wanted > MOST:  # what was asked for is not kept a second time
            self._start, self._held = stop, got[wanted:]
            return got[:wanted]
        return got[:wanted]
