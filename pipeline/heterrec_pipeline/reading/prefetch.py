"""Reads ahead on a second thread."""

import queue
import threading
from collections.abc import Iterable, Iterator

from heterrec_pipeline.reading.batches import ReadBatch
from heterrec_pipeline.reading.read import T
from heterrec_pipeline.telemetry.recorder import READ, ahead, lane, moving


class _End:
    """Marks the end of a prefetched stream, with the error that ended it, if any."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


def prefetched(source: Iterable[T], depth: int = 2) -> Iterator[T]:
    """Yield the elements of `source`; a second thread reads up to `depth` of them ahead."""
    made: queue.Queue[T | _End] = queue.Queue(maxsize=depth)
    of = lane()
    stopped = threading.Event()

    def offer(element: T | _End) -> bool:
        while not stopped.is_set():
            try:
                made.put(element, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def work() -> None:
        try:
            for element in ahead(source, of):
                if not offer(element):
                    return
            offer(_End(None))
        except BaseException as error:  # raised in the caller's thread
            offer(_End(error))

    thread = threading.Thread(target=work, name="prefetch", daemon=True)
    thread.start()
    try:
        while True:
            with moving(READ, "read") as moved:
                element = made.get()
                if isinstance(element, ReadBatch):
                    moved.add(len(element.table) + len(element.bad), element.table.nbytes)
            if isinstance(element, _End):
                if element.error is not None:
                    raise element.error
                return
            yield element
    finally:
        stopped.set()
        thread.join()
