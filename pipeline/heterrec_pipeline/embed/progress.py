"""Progress of an embedding run, from the records of this process."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from heterrec_pipeline.telemetry.recorder import RECORDER
from heterrec_schemas.background import in_background

OnProgress = Callable[[int, int], None]
"""Called with the number of texts and images encoded or kept so far, and their total number."""
POLL_SECONDS = 0.2
"""Time in seconds between two calls."""
ALL_TEXTS, TEXTS_DONE = "texts.all", "texts.done"
"""Counters: texts and images of the run, and those that are encoded or kept so far."""


@contextmanager
def text_progress(on_progress: OnProgress | None) -> Iterator[None]:
    """Call `on_progress` from a thread while the block runs; at first with (0, all), at last with the final numbers."""
    if on_progress is None:
        yield
        return

    def poll(ended: threading.Event) -> None:
        reported, over = -1, False
        while not over:
            over = ended.wait(POLL_SECONDS)
            counters = RECORDER.progress().counters
            expected = counters.get(ALL_TEXTS)
            for count in (0, counters.get(TEXTS_DONE, 0)):
                if expected is not None and count > reported:
                    reported = count
                    on_progress(count, expected)

    with in_background(poll, "embed progress"):
        yield
