"""The processes that train together, started by torchrun: one per GPU, or several on a CPU.

Tensors of the model are exchanged over NCCL or gloo. Messages of the loop (which ranks have data left, which received a
signal) use a separate gloo group with a long timeout, because the other ranks wait while rank 0 validates.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist

from heterrec_model.distributed import find_device
from heterrec_model.training import dead_peers
from heterrec_schemas.errors import HeterrecError, RunError, from_wire

T = TypeVar("T")
TIMEOUT = timedelta(hours=12)
"""Maximum wait for a rank that validates. Dead ranks are detected by their closed connection, or by `dead_peers`."""


@dataclass(frozen=True, eq=False)
class World:
    """One of the processes that train together.

    Attributes:
        rank: number of the process, from 0; only rank 0 writes and prints.
        size: number of processes.
        device: device of the model.
        control: process group of the loop's messages; None with one process.
    """

    rank: int
    size: int
    device: torch.device
    control: Any = None

    @property
    def main(self) -> bool:
        """Whether this process writes and prints."""
        return self.rank == 0

    def gather(self, value: Any) -> list[Any]:
        """The values of all ranks, on every rank."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        with _lost_peers():
            dist.all_gather_object(values, value, group=self.control)
        return values

    def broadcast(self, value: Any) -> Any:
        """The value of rank 0, on every rank."""
        if self.size == 1:
            return value
        values = [value]
        with _lost_peers():
            dist.broadcast_object_list(values, src=0, group=self.control)
        return values[0]

    def on_main(self, work: Callable[[], T]) -> T:
        """Call a function on rank 0; returns its result, or raises its error, on every rank."""
        if self.size == 1:
            return work()
        result: tuple[T | None, str | None] = (None, None)
        error: HeterrecError | None = None
        if self.main:
            try:
                result = (work(), None)
            except HeterrecError as caught:
                error, result = caught, (None, caught.to_wire())
        value, message = self.broadcast(result)
        if message is not None:
            raise error or from_wire(message) or RunError(message)
        return cast(T, value)

    def gather_ints(self, *numbers: int) -> list[list[int]]:
        """The numbers of all ranks, one list per rank, on every rank. Cheap enough for every step."""
        if self.size == 1:
            return [list(numbers)]
        own = torch.tensor(numbers)
        gathered = [torch.empty_like(own) for _ in range(self.size)]
        with _lost_peers():
            dist.all_gather(gathered, own, group=self.control)
        return [x.tolist() for x in gathered]


@contextmanager
def _lost_peers() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise lost_process(error) from error


def lost_process(error: Exception) -> RunError:
    """The error of a rank whose peers no longer respond."""
    reason = str(error).strip().partition("\n")[0].partition(". ")[0]
    return RunError(
        f"another process of this run has ended, or does not respond ({reason})",
        todo="Its own message states the reason; fix that and continue with --resume.",
    )


@contextmanager
def joined_processes(device: str) -> Iterator[World]:
    """Join the other processes if torchrun started this one, and leave them at the end.

    Args:
        device: `train.device`.

    Raises:
        CallError: the device does not exist.
        RunError: the other processes cannot be reached, or one of them has ended.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    own_device = find_device(device, local_rank=int(os.environ.get("LOCAL_RANK", "0")))
    if size == 1 and not dist.is_initialized():
        yield World(0, 1, own_device)
        return
    owns_group = not dist.is_initialized()
    try:
        if owns_group:
            dist.init_process_group("nccl" if own_device.type == "cuda" else "gloo")
        control = dist.new_group(backend="gloo", timeout=TIMEOUT)
    except (RuntimeError, ValueError) as error:
        raise RunError(f"cannot connect the {size} processes of this run: {error}") from error
    world = World(dist.get_rank(), dist.get_world_size(), own_device, control)
    with dead_peers.watch(_local_peers(world), rank=world.rank):
        yield world
        # A barrier: rank 0 may still be writing, and a process that has left counts as dead.
        # Skipped after an error: the others may be blocked in another call that only this process's end interrupts.
        world.gather(None)
    if owns_group:
        dist.destroy_process_group()


def _local_peers(world: World) -> dict[int, int]:
    """Rank to process id of the other processes on this machine."""
    own = dead_peers.process_namespace()
    return {
        rank: process
        for rank, (namespace, process) in enumerate(world.gather((own, os.getpid())))
        if rank != world.rank and own is not None and namespace == own
    }
