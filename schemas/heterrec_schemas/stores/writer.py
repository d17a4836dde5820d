"""Objects as streams: a small one is written in one request, a large one in parts of bounded size."""

from collections.abc import Callable
from typing import Any

from heterrec_schemas.stores.objects import Upload

PART = 2**23
"""Bytes of the first parts. A store accepts 10,000 parts, so later ones are larger."""
GROWS_AFTER = 1_000
"""Number of parts of one size."""


def part_bytes(number: int) -> int:
    """Bytes of a part by its number, from 0: 8 MB, and 64 MB more after every thousand parts."""
    return PART * (1 + 8 * (number // GROWS_AFTER))


class ObjectWriter:
    """A new object. It appears when the writer is closed, and never after `abort`.

    It is no `io` file, because those close themselves when they are garbage collected: half an object would appear.
    """

    def __init__(
        self, path: str, put: Callable[[str, bytes], None], begin: Callable[[str], Upload]
    ) -> None:
        """Write to a URI: a small object by `put`, a large one by an upload that `begin` gives."""
        self._path, self._put, self._begin = path, put, begin
        self._waiting = bytearray()
        self._upload: Upload | None = None
        self._parts = 0
        self._done = False

    def write(self, data: Any) -> int:
        """Buffer all bytes; full parts are sent.

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
            self._upload = self._begin(self._path)
        self._upload.part(bytes(self._waiting))
        self._waiting.clear()
        self._parts += 1

    def close(self) -> None:
        """Make the object appear; errors as in `write`."""
        if self._done:
            return
        self._done = True
        if self._upload is None:
            self._put(self._path, bytes(self._waiting))
            return
        try:
            if self._waiting:
                self._send()
            self._upload.finish()
        except BaseException:
            self._upload.abort()
            raise

    def abort(self) -> None:
        """Discard the written bytes; no object appears."""
        self._done = True
        if self._upload is not None:
            self._upload.abort()
