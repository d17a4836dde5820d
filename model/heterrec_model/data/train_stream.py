"""The training rows of one consumer as a stream of batches that resumes at any batch."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from torch.utils.data import IterableDataset, get_worker_info

from heterrec_model.config import Config
from heterrec_model.data.batch import Batch
from heterrec_model.data.batching import BatchLimits, shuffled_batches
from heterrec_model.data.ragged_array import IntArray
from heterrec_model.data.refit_rows import training_end
from heterrec_model.data.row_spans import (
    RowGroupReader,
    RowSpan,
    consumer_spans,
    cut_spans,
    row_group_spans,
    windows,
)
from heterrec_model.data.sequence_rows import (
    SequenceColumns,
    SequenceRows,
    concat_rows,
    sequence_rows,
)
from heterrec_schemas import Generation
from heterrec_schemas.errors import CorruptCheckpointError, HeterrecError

_SPANS, _WINDOW = 0, 1


@dataclass(frozen=True)
class StreamPosition:
    """Position in a stream: the next batch is number `batch` of window `window`."""

    window: int
    batch: int


START = StreamPosition(0, 0)


class Delivery(NamedTuple):
    """A batch, the part of the rank's rows that it comes from, and the position after it in this part."""

    batch: Batch
    part: int
    position: StreamPosition


class TrainStream(IterableDataset[Delivery]):
    """The training rows of one rank, in one part per worker.

    PyTorch takes a batch from each worker in turn and skips a worker that has none left, so the order of the batches
    depends on the first worker and the positions only. The first worker reads part `next_part`.

    Attributes:
        spans: all row groups that an epoch may read; splits other than `train` are read in refit epochs only.
        rows: number of rows that the batches of an epoch have, by split.
        epoch: of the next iteration.
        positions: where the next iteration starts in each part.
        next_part: part of the first batch of the next iteration.

    Raises:
        CallError: the config names a user feature that the generation lacks.
    """

    def __init__(
        self,
        generation: Generation,
        config: Config,
        rows: Mapping[str, int],
        rank: int,
        world: int,
    ) -> None:
        self.generation, self.config, self.rows = generation, config, rows
        self.spans = [span for split in rows for span in row_group_spans(generation, split)]
        self.columns = {
            split: SequenceColumns.of(generation, split, config, train=True) for split in rows
        }
        self.rank, self.world = rank, world
        self.start(0)

    def start(self, epoch: int) -> None:
        """Go to the start of an epoch."""
        self.epoch, self.next_part = epoch, 0
        self.positions = [START] * max(self.config.data.workers, 1)

    def resume(self, epoch: Any, next_part: Any, positions: Any) -> None:
        """Go to a position that was saved as JSON.

        Raises:
            CorruptCheckpointError: it is not valid.
        """
        self.start(0)
        parts = range(len(self.positions))
        try:
            numbers = [epoch, next_part, *(n for place in positions for n in place.values())]
            valid = all(type(n) is int and n >= 0 for n in numbers) and next_part in parts
            self.epoch, self.next_part = epoch, next_part
            self.positions = [StreamPosition(**place) for place in positions]
            valid = valid and len(positions) == len(parts)
            valid = valid and all(self.positions[n].window <= self.part(n).windows for n in parts)
        except (AttributeError, TypeError):
            valid = False
        if not valid:
            raise CorruptCheckpointError(
                "the loader state is damaged: it has the position "
                f"{epoch=}, {next_part=}, {positions=}"
            )

    def epoch_spans(self) -> list[RowSpan]:
        """The spans of the current epoch."""
        return [span for span in self.spans if span.split in self._splits()]

    def window_rows(self) -> int:
        """Number of the generation's rows per window in the current epoch, so that about `data.shuffle_rows` are shuffled."""
        most = self.config.data.shuffle_rows
        read = sum(span.rows for span in self.epoch_spans())
        delivered = sum(self.rows[split] for split in self._splits())
        return max(1, most * read // max(delivered, read, 1))

    def _splits(self) -> tuple[str, ...]:
        refit = self.epoch >= self.config.train.epochs
        return tuple(split for split in self.rows if refit or split == "train")

    def part(self, part: int) -> "EpochStream":
        """The rest of one part in the current epoch."""
        parts = len(self.positions)
        consumer = self.rank * parts + part
        return EpochStream(self, consumer, self.world * parts, start=self.positions[part])

    def __iter__(self) -> Iterator[Delivery]:
        worker = get_worker_info()
        part = (self.next_part + (worker.id if worker else 0)) % len(self.positions)
        try:
            rest = self.part(part)
            for batch in rest:
                yield Delivery(batch, part, rest.position)
        except HeterrecError as error:
            if worker is None:
                raise
            # PyTorch passes a worker's exception on as text, from which `from_wire` restores this one.
            raise RuntimeError(error.to_wire()) from None


class EpochStream(Iterator[Batch]):
    """The batches of one consumer, numbered over all ranks, in the current epoch.

    Rows are read one window at a time. The order depends on the seed, the epoch, the consumer and the window, so the
    position alone is enough to resume, and only one window is read for it.

    Attributes:
        position: of the next batch.
        windows: number of windows in the epoch.
    """

    def __init__(
        self,
        stream: TrainStream,
        consumer: int,
        consumers: int,
        start: StreamPosition = START,
    ) -> None:
        self._seed, self._limits = stream.config.train.seed, BatchLimits.of(stream.config)
        self._epoch, self._consumer = stream.epoch, consumer
        spans = stream.epoch_spans()
        self._spans = consumer_spans(spans, consumer, consumers, self._random(_SPANS))
        rows = sum(span.rows for span in self._spans)
        self._borders = windows(rows, stream.window_rows())
        self.windows, self.position = len(self._borders) - 1, start
        self._columns, self._end_ms = stream.columns, training_end(stream.generation)
        self._readers = {
            split: RowGroupReader(stream.generation, columns.names)
            for split, columns in stream.columns.items()
        }
        self._window: tuple[SequenceRows, list[IntArray]] | None = None

    def __next__(self) -> Batch:
        while self.position.window < self.windows:
            if self._window is None:
                self._window = self._read_window()
            rows, batches = self._window
            if self.position.batch < len(batches):
                batch = rows.batch(batches[self.position.batch])
                self.position = StreamPosition(self.position.window, self.position.batch + 1)
                return batch
            # Free this window before the next one is read.
            del rows, batches
            self.position, self._window = StreamPosition(self.position.window + 1, 0), None
        raise StopIteration

    def _read_window(self) -> tuple[SequenceRows, list[IntArray]]:
        window = self.position.window
        spans = cut_spans(self._spans, self._borders[window], self._borders[window + 1])
        rows = concat_rows(self._rows(span) for span in spans)
        rng = self._random(_WINDOW, self._consumer, window)
        return rows, shuffled_batches(rows.extents.lengths_R, self._limits, rng)

    def _rows(self, span: RowSpan) -> SequenceRows:
        table = self._readers[span.split].read(span)
        return sequence_rows(table, self._columns[span.split], self._end_ms)

    def _random(self, *purpose: int) -> np.random.Generator:
        # A spawn key: a plain list of numbers would equal the same list with zeros appended.
        seeds = np.random.SeedSequence(self._seed, spawn_key=(self._epoch, *purpose))
        return np.random.Generator(np.random.Philox(seeds))
