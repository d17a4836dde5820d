"""The training loader: streams of batches over ranks and workers, resumable in the middle of an epoch."""

import json
import multiprocessing
import signal
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import forkserver
from typing import Any

import torch
from torchdata.stateful_dataloader import StatefulDataLoader

from heterrec_model.config import Config
from heterrec_model.data.batch import Batch
from heterrec_model.data.shards import row_group_spans
from heterrec_model.data.splits import items_batch, split_batches, user_batch
from heterrec_model.data.stream import TrainStream
from heterrec_model.data.transfer import pack, unpack
from heterrec_schemas import Generation
from heterrec_schemas.errors import CallError, RunError, from_wire

__all__ = ["TrainLoader", "items_batch", "split_batches", "train_loader", "user_batch"]


def train_loader(
    generation: Generation, config: Config, *, rank: int = 0, world: int = 1
) -> "TrainLoader":
    """The training batches of one rank.

    Args:
        generation: where the sequences come from.
        config: the run's settings.
        rank: this process, from 0.
        world: how many processes share the rows.

    Raises:
        CallError: rank and world do not fit, or the settings name a user feature that the generation lacks.
        CorruptGenerationError: a shard cannot be read.
    """
    return TrainLoader(generation, config, rank, world)


class TrainLoader:
    """Iterates the rest of the current epoch; the next iteration is the next epoch.

    Args:
        generation: where the sequences come from.
        config: the run's settings.
        rank: this process.
        world: how many processes share the rows.

    Attributes:
        epoch: the current epoch, from 0.
        rows: the training rows of an epoch, over all ranks; the refit's epochs read those of the validation split too.
        run_rows: the rows of all epochs.
    """

    def __init__(self, generation: Generation, config: Config, rank: int, world: int) -> None:
        if not 0 <= rank < world:
            raise CallError("rank", got=rank, expected=f"0 .. {world - 1}, world being {world}")
        self._generation, self._config = generation, config
        self._rank, self._world = rank, world
        spans = row_group_spans(generation, "train")
        self.rows = sum(span.rows for span in spans)
        refit = row_group_spans(generation, "validation") if config.train.refit_epochs else []
        both = self.rows + sum(span.rows for span in refit)
        self.run_rows = config.train.epochs * self.rows + config.train.refit_epochs * both
        spans += refit
        self.epoch = 0
        self._stream = TrainStream(generation, config, spans, rank, world)
        self._loader = self._open()
        self._running: Iterator[dict[str, Any]] | None = None
        self._resume_at: dict[str, Any] | None = None

    def __iter__(self) -> Iterator[Batch]:
        """The rest of the current epoch of this rank; an iteration that was left is gone on with.

        Raises:
            CorruptGenerationError: a shard cannot be read.
            RunError: a worker died.
        """
        if self._running is None:
            self._stream.epoch = self.epoch
            if self._resume_at is not None:
                self._loader.load_state_dict(self._resume_at)
            with _from_workers():
                self._running, self._resume_at = iter(self._loader), None
        while True:
            with _from_workers():
                packed = next(self._running, None)
            if packed is None:
                break
            yield unpack(packed)
        self._running = None
        self.epoch += 1

    def state_dict(self) -> dict[str, Any]:
        """Where the loader stands, in values that JSON can hold: behind the batch that was taken last."""
        position = self._resume_at if self._running is None else self._loader.state_dict()
        state = {**self._identity(), "epoch": self.epoch, "position": position}
        # A copy: the loader goes on writing into what it gave.
        copied: dict[str, Any] = json.loads(json.dumps(state))
        return copied

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a saved state, as if never interrupted.

        Raises:
            CallError: the state is another generation's, another rank's, or of settings that give another order.
        """
        self._check(state)
        self._running = None
        self._loader = self._open()
        self.epoch, self._resume_at = state["epoch"], state["position"]

    def _identity(self) -> dict[str, Any]:
        """What the order of an epoch depends on."""
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
        missing = [key for key in (*own, "epoch", "position") if key not in state]
        if missing:
            raise CallError("this is no state of a loader", got=f"nothing for {', '.join(missing)}")
        if state["content_sha256"] != own["content_sha256"]:
            raise CallError(
                "the loader's state is of another generation",
                got=state["generation"],
                expected=own["generation"],
                todo="Resume on the data that the run began with, or begin a new run.",
            )
        other = [
            f"{name} was {state['settings'].get(name)!r} and is {value!r}"
            for name, value in own["settings"].items()
            if state["settings"].get(name) != value
        ]
        if other:
            raise CallError(
                f"the loader's state does not fit: {'; '.join(other)}",
                todo="Resume with the settings that the run began with, or begin a new run.",
            )

    def _open(self) -> StatefulDataLoader:
        data = self._config.data
        workers: dict[str, Any] = {}
        if data.workers:
            workers = {
                "multiprocessing_context": _workers_context(),
                "prefetch_factor": data.prefetch,
                "worker_init_fn": _start_worker,
            }
        with warnings.catch_warnings():
            # torchdata 0.11 calls what PyTorch has deprecated since.
            warnings.filterwarnings("ignore", message="'set_vital' is deprecated")
            return StatefulDataLoader(
                self._stream,
                batch_size=None,
                collate_fn=pack,
                num_workers=data.workers,
                # PyTorch draws a seed from it for workers that need none; it shall not touch the run's own.
                generator=torch.Generator(),
                **workers,
            )


@contextmanager
def _from_workers() -> Iterator[None]:
    """Raises what a worker raised as if it had been raised here."""
    try:
        yield
    except RuntimeError as error:
        if (original := from_wire(str(error))) is not None:
            raise original from None
        if str(error).startswith("DataLoader worker"):
            raise RunError(
                f"a worker of the loader died: {error}",
                todo="Often memory ran out: try fewer data.workers, or fewer data.shuffle_rows.",
            ) from None
        raise


def _workers_context() -> Any:
    """How workers begin.

    They are forked from a server process that has done nothing but import: a fork of this one may hang on a lock that
    one of Arrow's or PyTorch's threads held.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["heterrec_model.data.loader"])
    # It imports PyTorch while this process builds a model.
    forkserver.ensure_running()
    return context


def _start_worker(worker: int) -> None:
    """Ctrl-C is for the training process, which then stops its workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
