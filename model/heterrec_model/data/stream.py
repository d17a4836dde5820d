"""The training rows of one consumer as a stream of batches that can be taken up at any of them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch.utils.data import IterableDataset, get_worker_info

from heterrec_model.config import Config
from heterrec_model.data.batch import Batch
from heterrec_model.data.batching import BatchLimits, shuffled_batches
from heterrec_model.data.lists import Integers
from heterrec_model.data.refit import training_end
from heterrec_model.data.sequence_rows import Columns, SequenceRows, concat_rows, rows_of
from heterrec_model.data.shards import RowGroupReader, Span, consumer_spans, cut_spans, windows
from heterrec_schemas import Generation
from heterrec_schemas.errors import HeterrecError

_SPANS, _WINDOW = 0, 1


@dataclass(frozen=True)
class StreamPosition:
    """Where a stream stands: the next batch is number `batch` of window `window`."""

    window: int = 0
    batch: int = 0


class TrainStream(IterableDataset[Batch]):
    """The training rows of one rank; each worker iterates its own part.

    Args:
        generation: where they come from.
        config: the run's settings.
        spans: all row groups that an epoch may read; those of other splits than `train` only in the refit's epochs.
        rank: this process.
        world: how many processes there are.

    Attributes:
        epoch: which one the next iteration is.

    Raises:
        CallError: the settings name a user feature that the generation lacks.
    """

    def __init__(
        self, generation: Generation, config: Config, spans: Sequence[Span], rank: int, world: int
    ) -> None:
        self.generation, self.config, self.spans = generation, config, spans
        self.columns = {
            split: Columns.of(generation, split, config, train=True)
            for split in {span.split for span in spans}
        }
        self.rank, self.world = rank, world
        self.epoch = 0

    def epoch_spans(self) -> list[Span]:
        """What the current epoch reads."""
        refit = self.epoch >= self.config.train.epochs
        return [span for span in self.spans if refit or span.split == "train"]

    def __iter__(self) -> "EpochStream":
        worker = get_worker_info()
        workers = worker.num_workers if worker else 1
        consumer = self.rank * workers + (worker.id if worker else 0)
        return EpochStream(self, consumer, self.world * workers, in_worker=worker is not None)


class EpochStream(Iterator[Batch]):
    """One consumer's batches of one epoch.

    SequenceRows are read a window at a time. The order is a function of the seed, the epoch, the consumer and the window, so
    the place alone takes the stream up again, and only one window has to be read for it.

    Args:
        stream: what is iterated, at its epoch.
        consumer: the consumer's number, over all ranks.
        consumers: how many there are.
        in_worker: whether this is a worker's process.
    """

    def __init__(self, stream: TrainStream, consumer: int, consumers: int, in_worker: bool) -> None:
        self._seed, self._limits = stream.config.train.seed, BatchLimits.of(stream.config)
        self._epoch, self._consumer, self._in_worker = stream.epoch, consumer, in_worker
        spans = stream.epoch_spans()
        self._spans = consumer_spans(spans, consumer, consumers, self._random(_SPANS))
        rows = sum(span.rows for span in self._spans)
        self._borders = windows(rows, stream.config.data.shuffle_rows)
        self._columns, self._end_ms = stream.columns, training_end(stream.generation)
        self._readers = {
            split: RowGroupReader(stream.generation, columns.names)
            for split, columns in stream.columns.items()
        }
        self._place = StreamPosition()
        self._window: tuple[SequenceRows, list[Integers]] | None = None

    def __next__(self) -> Batch:
        try:
            return self._next()
        except HeterrecError as error:
            if not self._in_worker:
                raise
            # PyTorch passes a worker's exception on as text; this one is found again in it.
            raise RuntimeError(error.to_wire()) from None

    def state_dict(self) -> dict[str, Any]:
        """The place, as plain numbers."""
        return {"window": self._place.window, "batch": self._place.batch}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go to a place."""
        self._place, self._window = StreamPosition(**state), None

    def _next(self) -> Batch:
        while self._place.window < len(self._borders) - 1:
            if self._window is None:
                self._window = self._read_window()
            rows, batches = self._window
            if self._place.batch < len(batches):
                batch = rows.batch(batches[self._place.batch])
                self._place = StreamPosition(self._place.window, self._place.batch + 1)
                return batch
            # Let go of this window before the next one is read.
            del rows, batches
            self._place, self._window = StreamPosition(self._place.window + 1), None
        raise StopIteration

    def _read_window(self) -> tuple[SequenceRows, list[Integers]]:
        window = self._place.window
        spans = cut_spans(self._spans, self._borders[window], self._borders[window + 1])
        rows = concat_rows(self._rows(span) for span in spans)
        rng = self._random(_WINDOW, self._consumer, window)
        return rows, shuffled_batches(rows.extents.lengths_R, self._limits, rng)

    def _rows(self, span: Span) -> SequenceRows:
        table = self._readers[span.split].read(span)
        return rows_of(table, self._columns[span.split], self._end_ms)

    def _random(self, *purpose: int) -> np.random.Generator:
        # A spawn key, because a plain list of numbers is the same as that list with zeros behind it.
        seeds = np.random.SeedSequence(self._seed, spawn_key=(self._epoch, *purpose))
        return np.random.Generator(np.random.Philox(seeds))
