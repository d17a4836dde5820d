"""Collects the users of batches into blocks that are ranked together, and the ranks of all users.

Shapes: B users of a batch, S numbers per user, P pairs of a user and a target, E pairs of a user and a seen item.
"""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from heterrec_model.config import Config
from heterrec_model.data.batch import Batch
from heterrec_model.data.catalogue_positions import NO_ROW, CataloguePositions
from heterrec_model.data.token_table import TokenTable
from heterrec_model.evaluation.history_length import seen_pairs, truncated
from heterrec_model.evaluation.metrics import TargetRanks
from heterrec_model.evaluation.ranking import UserBlock, UserItemPairs, rank_targets
from heterrec_model.evaluation.scorers import Scorer


class EncodedUsers:
    """Encoded users of several batches; their pairs contain item_index instead of catalogue positions."""

    def __init__(self) -> None:
        self.states: list[Tensor] = []
        self.user_ids: list[str | int] = []
        self._targets: list[tuple[Tensor, Tensor]] = []
        self._seen: list[tuple[Tensor, Tensor]] = []

    def add(self, state_BS: Tensor, batch: Batch, *, filter_seen: bool) -> None:
        """Add the users of a batch, which has whole histories if seen items are filtered."""
        before = len(self.user_ids)
        self.states.append(state_BS)
        self.user_ids.extend(batch.user_ids)
        targets = batch.targets
        assert targets is not None, "a split with targets"
        count_B = torch.tensor([len(target) for target in targets])
        user_P = torch.repeat_interleave(torch.arange(len(targets)), count_B)
        self._targets.append((user_P + before, torch.cat(list(targets))))
        if filter_seen:
            user_E, item_E = seen_pairs(batch)
            self._seen.append((user_E + before, item_E))

    def targets(self) -> tuple[Tensor, Tensor]:
        """User and item_index of the distinct targets: an item bought twice counts once."""
        return _distinct(self._targets)

    def seen(self) -> tuple[Tensor, Tensor] | None:
        """User and item_index of the distinct seen items; None if they are not filtered."""
        return _distinct(self._seen) if self._seen else None


def user_blocks(scorer: Scorer, batches: Iterable[Batch], config: Config) -> Iterator[EncodedUsers]:
    """Encode batches and collect up to `evaluation.batch_users` users per block."""
    settings, block = config.evaluation, EncodedUsers()
    for batch in batches:
        if block.user_ids and len(block.user_ids) + batch.users > settings.batch_users:
            yield block
            block = EncodedUsers()
        state_BS = scorer.encode(truncated(batch, config.model.max_length))
        block.add(state_BS, batch, filter_seen=settings.filter_seen)
    if block.user_ids:
        yield block


class RankedUsers:
    """The target ranks of all users so far.

    `chunk_items` items are scored at a time; `candidates_N` selects the items of the catalogue that are ranked, None all.
    """

    def __init__(
        self, scorer: Scorer, chunk_items: int, candidates_N: Tensor | None = None
    ) -> None:
        self._scorer, self._chunk_items, self._candidates_N = scorer, chunk_items, candidates_N
        self._positions = CataloguePositions(scorer.table.catalogue_N)
        self.user_ids: list[str | int] = []
        empty = (torch.int64, torch.float64, torch.int64, torch.bool, torch.bool)
        self._columns = [tuple(torch.zeros(0, dtype=dtype) for dtype in empty)]

    def add(self, encoded: EncodedUsers) -> None:
        """Rank the targets of a block of users."""
        user_P, item_P = encoded.targets()
        seen = None
        if (pairs := encoded.seen()) is not None:
            seen = UserItemPairs(pairs[0], self._positions.of(pairs[1]))
        block = UserBlock(torch.cat(encoded.states), encoded.user_ids, seen)
        targets = UserItemPairs(user_P, self._positions.of(item_P))
        first_P, tied_P = rank_targets(
            self._scorer,
            block,
            targets,
            chunk_items=self._chunk_items,
            candidates_N=self._candidates_N,
        )
        warm_P = _trained_on(self._scorer.table, item_P)
        row_P = targets.position_P != NO_ROW
        self._columns.append((user_P + len(self.user_ids), first_P, tied_P, warm_P, row_P))
        self.user_ids.extend(encoded.user_ids)

    def result(self) -> TargetRanks:
        """The ranks of all users."""
        columns = [torch.cat(parts).numpy() for parts in zip(*self._columns, strict=True)]
        # An empty list would become an array of floats.
        ids = np.asarray(self.user_ids if self.user_ids else np.zeros(0, np.int64))
        return TargetRanks(ids, *columns)


def _trained_on(table: TokenTable, item_P: Tensor) -> Tensor:
    """Whether items have training interactions; an item beyond the table has none."""
    inside_P = item_P < len(table.train_count_I)
    return inside_P & (table.train_count_I[torch.where(inside_P, item_P, 0)] > 0)


def _distinct(parts: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Distinct pairs of users and items of several batches, sorted by user, then by item."""
    user_P, item_P = (torch.cat(column) for column in zip(*parts, strict=True))
    width = int(item_P.max()) + 1 if len(item_P) else 1
    key_P = torch.unique(user_P * width + item_P)
    return torch.div(key_P, width, rounding_mode="floor"), key_P % width
