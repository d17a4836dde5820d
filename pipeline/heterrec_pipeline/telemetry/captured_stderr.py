"""Standard error of the whole process as lines: whatever libraries, threads, the interpreter and child processes print."""

import os
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TextIO

BLOCK = 65536
"""Maximum number of bytes read at a time, and of a line."""
DRAIN_SECONDS = 1.0
"""Maximum time in seconds to wait until everything printed so far has been handed on."""
_MARK = b"\0heterrec"
"""A line that nothing else prints."""


class CapturedStderr:
    """Replaces the file descriptor of standard error by a pipe, which a thread reads.

    Attributes:
        out: the original standard error.
    """

    def __init__(self) -> None:
        """Replace the descriptor; call `start` at once."""
        self.out: TextIO = os.fdopen(os.dup(2), "w", encoding="ascii", errors="backslashreplace")
        self._marked = threading.Event()
        self._read, write = os.pipe()
        os.dup2(write, 2)
        os.close(write)

    def start(self, on_line: Callable[[str], None]) -> None:
        """Call `on_line` with each line that is not blank, on a thread."""
        threading.Thread(
            target=self._work, args=(on_line,), name="standard error", daemon=True
        ).start()

    def _work(self, on_line: Callable[[str], None]) -> None:
        rest = b""
        while block := os.read(self._read, BLOCK):
            *lines, rest = (rest + block).split(b"\n")
            if len(rest) > BLOCK:
                lines, rest = [*lines, rest], b""
            for line in lines:
                self._hand_on(line, on_line)
        self._hand_on(rest, on_line)

    def _hand_on(self, line: bytes, on_line: Callable[[str], None]) -> None:
        text = line.removesuffix(_MARK).decode("utf-8", "backslashreplace").rstrip()
        if text:
            with suppress(OSError):  # the reader has gone; what is printed must still be taken
                on_line(text)
        if line.endswith(_MARK):
            self._marked.set()

    def drain(self) -> None:
        """Wait until everything printed so far has been handed on."""
        if sys.stderr is not None:
            sys.stderr.flush()
        self._marked.clear()
        os.write(2, _MARK + b"\n")
        self._marked.wait(DRAIN_SECONDS)

    def close(self) -> None:
        """Hand on what has been printed so far; later output, that of the interpreter's end, is dropped."""
        self.drain()
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 2)
        os.close(nowhere)
