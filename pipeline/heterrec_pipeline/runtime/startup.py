"""How a command gets under way, and how it leaves."""

import gc
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

LEAVE_SECONDS = 5.0
"""How long threads may hold up the end of a command that has said its last word."""


@contextmanager
def many_imports() -> Iterator[None]:
    """Around imports: no garbage collection meanwhile, and none of what they made later on.

    Beam makes so many objects, hardly one of them garbage, that looking through them over and over takes a third of the time
    of its import.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def leave_soon(code: object) -> None:
    """End this process with a code although threads still run after `LEAVE_SECONDS`.

    An engine that was stopped at an unlucky moment leaves threads behind that wait for each other, and Python would wait for
    them.
    """
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # nobody reads any more
            stream.flush()
    status = code if isinstance(code, int) else int(code is not None)
    timer = threading.Timer(LEAVE_SECONDS, os._exit, (status,))
    timer.daemon = True
    timer.start()
