"""The borders of item shards: ids of a build are one run, those of a refresh have gaps."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from heterrec_pipeline.files.parts import TableRef, stored_batches
from heterrec_pipeline.job import Job

BLOCK = 2**16
"""Number of ids that are counted together."""


class ItemCuts(NamedTuple):
    """The smallest item_index of each shard, and one more than the largest of all: N + 1 ids each.

    Attributes:
        items: of the shards of items/.
        retired: of the shards of retired/; empty without rows.
    """

    items: tuple[int, ...]
    retired: tuple[int, ...] = ()


def shard_starts(rows: int, shards: int) -> npt.NDArray[np.int64]:
    """The first position of each shard, and the end: [N + 1]. Sizes differ by one at most."""
    return rows * np.arange(shards + 1, dtype=np.int64) // shards


def run_cuts(job: Job, population: int) -> Iterator[ItemCuts]:
    """The borders in a build: `population` consecutive ids."""
    starts = job.spec.first_item_index + shard_starts(population, job.spec.output.item_shards)
    yield ItemCuts(tuple(starts.tolist()))


def find_cuts(job: Job, element: tuple[int, Iterable[TableRef | None]]) -> Iterator[ItemCuts]:
    """The borders in a refresh, from stored tables of item_index and retired (see `PLACES`)."""
    stored = [ref for ref in element[1] if ref is not None]
    batches = (batch for ref in stored for batch in stored_batches(ref))
    size = max((int(b["item_index"].to_numpy().max()) for b in batches if len(b)), default=-1) + 1
    present, retired = np.zeros(size, bool), np.zeros(size, bool)
    for ref in stored:
        for batch in stored_batches(ref):
            ids, gone = batch["item_index"].to_numpy(), batch["retired"].to_numpy()
            present[ids[~gone]] = True
            retired[ids[gone]] = True
    shards = job.spec.output.item_shards
    yield ItemCuts(cuts_of(present, shards), cuts_of(retired, shards) if retired.any() else ())


def cuts_of(is_member: npt.NDArray[np.bool_], shards: int) -> tuple[int, ...]:
    """The borders of shards of equal size.

    Args:
        is_member: by id, whether the table has a row for it; at least one has.
        shards: N.
    """
    blocks = np.pad(is_member, (0, -len(is_member) % BLOCK)).reshape(-1, BLOCK)
    before = np.append(0, np.cumsum(blocks.sum(axis=1)))
    starts = []
    for position in shard_starts(int(before[-1]), shards)[:-1].tolist():
        block = int(np.searchsorted(before, position, side="right")) - 1
        inside = np.flatnonzero(blocks[block])[position - int(before[block])]
        starts.append(block * BLOCK + int(inside))
    return (*starts, len(is_member))


def positions(ids: npt.NDArray[np.int64], wanted: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The position of each wanted id in ascending ids: [M]; len(ids) where it is not among them."""
    if len(ids) == 0:
        return np.zeros(len(wanted), np.int64)
    if int(ids[-1]) - int(ids[0]) + 1 == len(ids):  # one run
        at = wanted - ids[0]
        return np.where((at < 0) | (at >= len(ids)), len(ids), at)
    at = np.searchsorted(ids, wanted)
    inside = np.minimum(at, len(ids) - 1)
    found: npt.NDArray[np.int64] = np.where(ids[inside] == wanted, inside, len(ids))
    return found
