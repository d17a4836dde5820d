"""The training rows of one consumer as a stream of batches that resumes at any batch."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

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

    window: int = 0
    batch: int = 0


class TrainStream(IterableDataset[Batch]):
    """The training rows of one rank; each worker iterates its own part.

    Attributes:
        spans: all row groups that an epoch may read; splits other than `train` are read in refit epochs only.
        rows: number of rows that the batches of an epoch have, by split.
        epoch: of the next iteration.

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
        self.epoch = 0

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

    def __iter__(self) -> "EpochStream":
        worker = get_worker_info()
        workers = worker.num_workers if worker else 1
        consumer = self.rank * workers + (worker.id if worker else 0)
        return EpochStream(self, consumer, self.world * workers, in_worker=worker is not None)


class EpochStream(Iterator[Batch]):
    """The batches of one consumer, numbered over all ranks, in the current epoch.

    Rows are read one window at a time. The order depends on the seed, the epoch, the consumer and the window, so the
    position alone is enough to resume, and only one window is read for it.
    """

    def __init__(self, stream: TrainStream, consumer: int, consumers: int, in_worker: bool) -> None:
        self._seed, self._limits = stream.config.train.seed, BatchLimits.of(stream.config)
        self._epoch, self._consumer, self._in_worker = stream.epoch, consumer, in_worker
        spans = stream.epoch_spans()
        self._spans = consumer_spans(spans, consumer, consumers, self._random(_SPANS))
        rows = sum(span.rows for span in self._spans)
        self._borders = windows(rows, stream.window_rows())
        self._columns, self._end_ms = stream.columns, training_end(stream.generation)
        self._readers = {
            split: RowGroupReader(stream.generation, columns.names)
            for split, columns in stream.columns.items()
        }
        self._position = StreamPosition()
        self._window: tuple[SequenceRows, list[IntArray]] | None = None

    def __next__(self) -> Batch:
        try:
            return self._next()
        except HeterrecError as error:
            if not self._in_worker:
                raise
            # PyTorch passes a worker's exception on as text, from which `from_wire` restores this one.
            raise RuntimeError(error.to_wire()) from None

    def state_dict(self) -> dict[str, Any]:
        """The position, as plain numbers."""
        return {"window": self._position.window, "batch": self._position.batch}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue at a position.

        Raises:
            CorruptCheckpointError: it is not valid.
        """
        if (
            {*state} != {"window", "batch"}
            or any(type(n) is not int or n < 0 for n in state.values())
            or state["window"] >= len(self._borders)
        ):
            error = CorruptCheckpointError(
                f"the loader state is damaged: it has the position {state}"
            )
            raise RuntimeError(error.to_wire()) if self._in_worker else error
        self._position, self._window = StreamPosition(**state), None

    def _next(self) -> Batch:
        while self._position.window < len(self._borders) - 1:
            if self._window is None:
                self._window = self._read_window()
            rows, batches = self._window
            if self._position.batch < len(batches):
                batch = rows.batch(batches[self._position.batch])
                self._position = StreamPosition(self._position.window, self._position.batch + 1)
                return batch
            # Free this window before the next one is read.
            del rows, batches
            self._position, self._window = StreamPosition(self._position.window + 1), None
        raise StopIteration

    def _read_window(self) -> tuple[SequenceRows, list[IntArray]]:
        window = self._position.window
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
