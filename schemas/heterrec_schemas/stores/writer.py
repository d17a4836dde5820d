"""Objects written as a stream: small ones in one request, large ones in parts of bounded size."""

from typing import Any

from heterrec_schemas.stores.registry import store_of
from heterrec_schemas.stores.store import Upload

PART = 2**23
"""The size of a part; a store takes 10,000 of them, so that later ones are larger."""
GROWS_AFTER = 1_000


def part_bytes(number: int) -> int:
    """The size of the part of a number, from 0: 8 MB, and 64 MB more after every thousand parts."""
    return PART * (1 + 8 * (number // GROWS_AFTER))


class ObjectWriter:
    """A new object. It appears when the writer is closed, and never after `abort`.

    It is no `io` file on purpose: those close themselves when they are forgotten, and half an object would appear.
    """

    def __init__(self, path: str) -> None:
        """Write to a URI.

        Raises:
            CallError: there is no store of that scheme.
        """
        self._path = path
        self._store = store_of(path)
        self._waiting = bytearray()
        self._upload: Upload | None = None
        self._parts = 0
        self._done = False

    def write(self, data: Any) -> int:
        """Take all bytes; full parts are sent.

        Raises:
            CallError: the store refuses.
            RunError: the store does not answer.
        """
        view = memoryview(data).cast("B")
        taken = 0
        while taken < len(view):
            full = part_bytes(self._parts)
            piece = view[taken : taken + full - len(self._waiting)]
            self._waiting += piece
            taken += len(piece)
            if len(self._waiting) == full:
                self._send()
        return taken

    def _send(self) -> None:
        if self._upload is None:
            self._upload = self._store.upload(self._path)
        self._upload.part(bytes(self._waiting))
        self._waiting.clear()
        self._parts += 1

    def close(self) -> None:
        """Make the object appear; errors as in `write`."""
        if self._done:
            return
        self._done = True
        if self._upload is None:
            self._store.put(self._path, bytes(self._waiting))
            return
        try:
            if self._waiting:
                self._send()
            self._upload.finish()
        except BaseException:
            self._upload.abort()
            raise

    def abort(self) -> None:
        """Throw away what was written; nothing appears."""
        self._done = True
        if self._upload is not None:
            self._upload.abort()
