"""Start and exit of a command."""

import gc
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

EXIT_SECONDS = 5.0
"""Maximum time, in seconds, that remaining threads may delay the exit of a finished command."""


@contextmanager
def fast_imports() -> Iterator[None]:
    """Import without garbage collection, and exclude the imported objects from later collections.

    Beam creates very many objects, almost none of them garbage: scanning them again and again takes a third of its import
    time.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def exit_soon(code: object) -> None:
    """Exit with a code after at most `EXIT_SECONDS`, even if threads are still running.

    An engine that is stopped at a bad moment can leave threads that wait for each other, and Python would wait for them.
    """
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # the reader has closed the stream
            stream.flush()
    status = code if isinstance(code, int) else int(code is not None)
    timer = threading.Timer(EXIT_SECONDS, os._exit, (status,))
    timer.daemon = True
    timer.start()
