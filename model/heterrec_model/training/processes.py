"""The processes that train together: started by torchrun, one a GPU or several on a CPU.

Tensors of the model travel over NCCL or gloo; what the loop itself has to agree on (who has data left, who was asked
to stop) travels over a gloo group of its own, whose long patience lets the others wait while rank 0 validates.
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
PATIENCE = timedelta(hours=12)
"""How long ranks wait for one that validates. One that dies is noticed by its closed connection, or else by `peers`."""


@dataclass(frozen=True, eq=False)
class World:
    """One process among those that train together.

    Attributes:
        rank: its number, from 0; rank 0 alone writes and prints.
        size: how many there are.
        device: what it computes on.
        control: the group that the loop's own words go through; None with one process.
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
        """Every rank's value, on every rank."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        with self._answering():
            dist.all_gather_object(values, value, group=self.control)
        return values

    def share(self, value: Any) -> Any:
        """Rank 0's value, on every rank."""
        if self.size == 1:
            return value
        values = [value]
        with self._answering():
            dist.broadcast_object_list(values, src=0, group=self.control)
        return values[0]

    def first(self, work: Callable[[], T]) -> T:
        """What rank 0's work gives, on every rank; its error is raised on every rank."""
        if self.size == 1:
            return work()
        result: tuple[T | None, str | None] = (None, None)
        error: HeterrecError | None = None
        if self.main:
            try:
                result = (work(), None)
            except HeterrecError as caught:
                error, result = caught, (None, caught.to_wire())
        value, told = self.share(result)
        if told is not None:
            raise error or from_wire(told) or RunError(told)
        return cast(T, value)

    def exchange(self, *numbers: int) -> list[list[int]]:
        """Every rank's numbers, on every rank: a list a rank. Cheap enough for every step."""
        if self.size == 1:
            return [list(numbers)]
        own = torch.tensor(numbers)
        every = [torch.empty_like(own) for _ in range(self.size)]
        with self._answering():
            dist.all_gather(every, own, group=self.control)
        return [x.tolist() for x in every]

    @contextmanager
    def _answering(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:
            raise lost(error) from error


def lost(error: Exception) -> RunError:
    """What a rank says when the others no longer answer."""
    reason = str(error).strip().partition("\n")[0].partition(". ")[0]
    return RunError(
        f"another process of this run has ended, or does not answer ({reason})",
        todo="Its own message says why; mend that and go on with --resume.",
    )


@contextmanager
def joined(device: str) -> Iterator[World]:
    """Join the other processes, if torchrun started this one; leave them at the end.

    Args:
        device: `train.device`.

    Raises:
        CallError: there is no such device.
        RunError: the other processes cannot be reached, or one of them has ended.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    place = find_device(device, local_rank=int(os.environ.get("LOCAL_RANK", "0")))
    if size == 1 and not dist.is_initialized():
        yield World(0, 1, place)
        return
    own = not dist.is_initialized()
    try:
        if own:
            dist.init_process_group("nccl" if place.type == "cuda" else "gloo")
        control = dist.new_group(backend="gloo", timeout=PATIENCE)
    except (RuntimeError, ValueError) as error:
        raise RunError(f"the {size} processes of this run cannot meet: {error}") from error
    world = World(dist.get_rank(), dist.get_world_size(), place, control)
    with dead_peers.watching(_neighbours(world), rank=world.rank):
        yield world
        # Nobody leaves before the last: rank 0 may still be writing, and who has left counts as dead.
        # Not after an error: the others may wait in another call, and only this process's end tells them.
        world.gather(None)
    if own:
        dist.destroy_process_group()


def _neighbours(world: World) -> dict[int, int]:
    """Rank to process id of the others on this machine."""
    own = dead_peers.place()
    told = world.gather((own, os.getpid()))
    return {
        rank: process
        for rank, (place, process) in enumerate(told)
        if rank != world.rank and own is not None and place == own
    }
