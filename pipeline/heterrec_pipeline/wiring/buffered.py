"""A step that buffers its input: a few large outputs per bundle instead of many small ones."""

from collections.abc import Callable, Iterator
from typing import Any

import apache_beam as beam
import pyarrow as pa
from apache_beam.transforms.window import GlobalWindows
from apache_beam.utils.windowed_value import WindowedValue

from heterrec_pipeline.telemetry.recorder import StepInfo
from heterrec_pipeline.wiring.step import step_call


class Buffered(beam.DoFn):
    """Buffers tables, or (key, table), and calls a function with them at `enough` bytes and at the end of a bundle."""

    info: StepInfo | None = None
    """Name and build of the step; set by `name_steps`."""

    def __init__(self, fn: Callable[[list[Any]], Iterator[Any]], enough: int) -> None:
        """Call `fn` with a list of at least one element once the buffered tables reach `enough` bytes."""
        self.fn, self.enough = fn, enough
        self.start_bundle()

    def start_bundle(self) -> None:
        """Empty the buffer."""
        self._buffer: list[Any] = []
        self._bytes = 0

    def process(self, element: Any) -> Iterator[Any]:
        """Buffer an element; yield outputs once the buffer is full."""
        with step_call(self.info, "process", element):
            table = element if isinstance(element, pa.Table) else element[1]
            self._buffer.append(element)
            self._bytes += table.nbytes
            if self._bytes >= self.enough:
                yield from self._flush()

    def finish_bundle(self) -> Iterator[WindowedValue]:
        """Yield the outputs of the remaining elements."""
        with step_call(self.info, "finish_bundle"):
            for value in self._flush():
                yield GlobalWindows.windowed_value(value)

    def _flush(self) -> Iterator[Any]:
        buffered = self._buffer
        self.start_bundle()
        if buffered:
            yield from self.fn(buffered)
