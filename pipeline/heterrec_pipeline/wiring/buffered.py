"""Steps that wait for enough: a few large pieces a bundle rather than many small ones."""

from collections.abc import Iterator
from typing import Any

import apache_beam as beam
import pyarrow as pa
from apache_beam.transforms.window import GlobalWindows
from apache_beam.utils.windowed_value import WindowedValue

from heterrec_pipeline.wiring.carried import carried


class Buffered(beam.DoFn):
    """Keeps tables, or (key, table), until there are enough of them; then makes something of all that waits."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.start_bundle()

    def start_bundle(self) -> None:
        """Begin with nothing."""
        self._waiting: list[Any] = []
        self._bytes = 0

    @carried
    def process(self, element: Any) -> Iterator[Any]:
        """Keep an element; with enough of them, hand on."""
        table = element if isinstance(element, pa.Table) else element[1]
        self._waiting.append(element)
        self._bytes += table.nbytes
        if self._bytes >= self.enough():
            yield from self._take()

    @carried
    def finish_bundle(self) -> Iterator[WindowedValue]:
        """Hand on the rest."""
        for value in self._take():
            yield GlobalWindows.windowed_value(value)

    def _take(self) -> Iterator[Any]:
        waiting = self._waiting
        self.start_bundle()
        if waiting:
            yield from self.hand_on(waiting)

    def enough(self) -> int:
        """How many bytes are enough."""
        raise NotImplementedError

    def hand_on(self, waiting: list[Any]) -> Iterator[Any]:
        """What becomes of the elements that waited, at least one."""
        raise NotImplementedError
