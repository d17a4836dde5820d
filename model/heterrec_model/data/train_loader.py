"""The training loader: batches of all ranks and workers, resumable in the middle of an epoch."""

import multiprocessing
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from multiprocessing import forkserver
from typing import Any

import torch
from torch.utils.data import DataLoader

from heterrec_model.config import Config
from heterrec_model.data.batch import Batch
from heterrec_model.data.batch_transfer import pack, unpack
from heterrec_model.data.delivered_rows import count_rows
from heterrec_model.data.train_stream import Delivery, StreamPosition, TrainStream
from heterrec_schemas import Generation
from heterrec_schemas.errors import CallError, RunError, from_wire


class TrainLoader:
    """The training batches of one rank: iterates the rest of the current epoch; the next iteration is the next epoch.

    Attributes:
        rows: rows per epoch, over all ranks, as the batches have them: a row of the generation may be cut into several. Refit
            epochs also read the rows of the validation split.
        run_rows: rows of all epochs.

    Raises:
        CallError: rank and world do not fit, or the config names a user feature that the generation lacks.
        CorruptGenerationError: a shard cannot be read.
    """

    def __init__(
        self, generation: Generation, config: Config, *, rank: int = 0, world: int = 1
    ) -> None:
        if not 0 <= rank < world:
            raise CallError("rank", got=rank, expected=f"0 .. {world - 1}, world being {world}")
        self._generation, self._config = generation, config
        self._rank, self._world = rank, world
        splits = ("train", "validation") if config.train.refit_epochs else ("train",)
        rows = {split: count_rows(generation, split, config) for split in splits}
        self.rows = rows["train"]
        self.run_rows = config.train.epochs * self.rows
        self.run_rows += config.train.refit_epochs * sum(rows.values())
        self._stream = TrainStream(generation, config, rows, rank, world)
        self._loader = self._open()
        self._running: Iterator[_Packed] | None = None

    @property
    def epoch(self) -> int:
        """The current epoch, from 0."""
        return self._stream.epoch

    def __iter__(self) -> Iterator[Batch]:
        """The rest of the current epoch; an abandoned iteration is continued.

        Raises:
            CorruptGenerationError: a shard cannot be read.
            RunError: a worker died.
        """
        if self._running is None:
            self._running = iter(self._loader)
        running, stream = self._running, self._stream
        while True:
            with _worker_errors():
                taken = next(running, None)
            if taken is None:
                break
            packed, part, stream.positions[part] = taken
            stream.next_part = (part + 1) % len(stream.positions)
            yield unpack(packed)
        self._running = None
        stream.start(stream.epoch + 1)

    def state_dict(self) -> dict[str, Any]:
        """Position after the last batch taken, as JSON values."""
        stream = self._stream
        return {
            **self._identity(),
            "epoch": stream.epoch,
            "next_part": stream.next_part,
            "positions": [asdict(position) for position in stream.positions],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a saved state, as if never interrupted.

        Raises:
            CallError: the state belongs to another generation, rank or version, or to settings with another order.
            CorruptCheckpointError: its position is not valid.
        """
        self._check(state)
        self._running = None
        self._stream.resume(state["epoch"], state["next_part"], state["positions"])

    def _identity(self) -> dict[str, Any]:
        """Everything that the order of an epoch depends on."""
        config = self._config
        return {
            "generation": self._generation.manifest.generation,
            "content_sha256": self._generation.manifest.content_sha256,
            "settings": {
                "train.seed": config.train.seed,
                # where the refit begins
                "train.epochs": config.train.epochs if config.train.refit_epochs else None,
                "model.max_length": config.model.max_length,
                "data.batch_items": config.data.batch_items,
                "data.batch_users": config.data.batch_users,
                "data.shuffle_rows": config.data.shuffle_rows,
                "data.length_buckets": config.data.length_buckets,
                "data.workers": config.data.workers,
                "rank": self._rank,
                "world": self._world,
            },
        }

    def _check(self, state: dict[str, Any]) -> None:
        own = self._identity()
        missing = [key for key in (*own, "epoch", "next_part", "positions") if key not in state]
        if missing:
            raise CallError(
                "not a loader state of this version",
                got=f"no {', '.join(missing)}",
                todo="Resume with the version that the run started with, or start a new run.",
            )
        if state["content_sha256"] != own["content_sha256"]:
            raise CallError(
                "the loader state belongs to another generation",
                got=state["generation"],
                expected=own["generation"],
                todo="Resume on the generation that the run started with, or start a new run.",
            )
        different = [
            f"{name} was {state['settings'].get(name)!r} and is {value!r}"
            for name, value in own["settings"].items()
            if state["settings"].get(name) != value
        ]
        if different:
            raise CallError(
                f"the loader state does not fit: {'; '.join(different)}",
                todo="Resume with the settings that the run started with, or start a new run.",
            )

    def _open(self) -> "DataLoader[Delivery]":
        data = self._config.data
        workers: dict[str, Any] = {}
        if data.workers:
            workers = {
                "multiprocessing_context": _workers_context(),
                "prefetch_factor": data.prefetch,
                "worker_init_fn": _start_worker,
            }
        return DataLoader(
            self._stream,
            batch_size=None,
            collate_fn=_packed,
            num_workers=data.workers,
            # PyTorch draws an unused worker seed from it, which must not come from the run's generator.
            generator=torch.Generator(),
            **workers,
        )


_Packed = tuple[dict[str, Any], int, StreamPosition]
"""A `Delivery` with its batch packed."""


def _packed(delivery: Any) -> _Packed:
    return pack(delivery.batch), delivery.part, delivery.position


@contextmanager
def _worker_errors() -> Iterator[None]:
    """Re-raise the original exception of a worker."""
    try:
        yield
    except RuntimeError as error:
        if (original := from_wire(str(error))) is not None:
            raise original from None
        if str(error).startswith("DataLoader worker"):
            raise RunError(
                f"a worker of the loader died: {error}",
                todo="A common cause is lack of memory: try fewer data.workers or data.shuffle_rows.",
            ) from None
        raise


def _workers_context() -> Any:
    """Start method of the workers.

    They are forked from a server process that only imports modules: a fork of this process might deadlock on a lock that
    a thread of Arrow or PyTorch holds.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["heterrec_model.data.train_loader"])
    # The server imports PyTorch while this process builds a model.
    forkserver.ensure_running()
    return context


def _start_worker(worker: int) -> None:
    """Ignore Ctrl-C in workers: the training process handles it and then stops them."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
