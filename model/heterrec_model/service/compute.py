"""The thread that computes answers, behind a short queue; the event loop only reads and writes."""

import asyncio
import queue
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from heterrec_model.service.metrics import Metrics
from heterrec_model.service.problems import busy

QUEUE = 64
"""Number of requests that may wait."""
DEADLINE = 0.25
"""Seconds that a request may wait."""
T = TypeVar("T")


class Compute:
    """One thread that works on one request at a time.

    Args:
        metrics: of the service.
        places: number of requests that may wait.
        deadline: seconds that a request may wait; it is refused afterwards, without being computed.
    """

    def __init__(self, metrics: Metrics, places: int = QUEUE, deadline: float = DEADLINE) -> None:
        self._metrics = metrics
        self._deadline = deadline
        self._places = places
        self._queue: queue.Queue[_Job | None] = queue.Queue(places)
        self._thread = threading.Thread(target=self._work, name="compute", daemon=True)
        metrics.watch_queue(self._queue.qsize)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread after the requests that wait."""
        self._queue.put(None)
        self._thread.join()

    async def run(self, work: Callable[[], T], gone: asyncio.Future[Any] | None = None) -> T:
        """The result of a function, computed in the thread.

        Args:
            work: the function.
            gone: done when nobody waits for the result any more; it is then not computed.

        Raises:
            RefusedError: 503: the queue is full, or the request waited too long in it.
            CancelledError: `gone` was done first.
        """
        loop = asyncio.get_running_loop()
        job = _Job(work, loop.create_future(), loop)
        try:
            self._queue.put_nowait(job)
        except queue.Full:
            self._metrics.refused("queue")
            expected = f"at most {self._places:,} waiting requests"
            raise busy("the queue is full", expected) from None
        if gone is not None:
            gone.add_done_callback(job.drop)
        try:
            result: T = await job.future
        finally:
            job.dropped = True
            if gone is not None:
                gone.remove_done_callback(job.drop)
        return result

    def _work(self) -> None:
        while (job := self._queue.get()) is not None:
            if job.dropped:
                continue
            waited = time.perf_counter() - job.since
            self._metrics.waited(waited)
            if waited > self._deadline:
                self._metrics.refused("deadline")
                expected = f"at most {self._deadline * 1000:.0f} ms in the queue"
                job.settle(None, busy(f"the request waited {waited * 1000:.0f} ms", expected))
                continue
            try:
                job.settle(job.work(), None)
            except Exception as error:
                job.settle(None, error)


class _Job:
    def __init__(
        self,
        work: Callable[[], Any],
        future: asyncio.Future[Any],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.work = work
        self.future = future
        self.since = time.perf_counter()
        self.dropped = False
        self._loop = loop

    def drop(self, _: object) -> None:
        self.dropped = True
        self.future.cancel()

    def settle(self, result: Any, error: Exception | None) -> None:
        with suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._settle, result, error)

    def _settle(self, result: Any, error: Exception | None) -> None:
        if self.future.done():
            return
        if error is None:
            self.future.set_result(result)
        else:
            self.future.set_exception(error)
