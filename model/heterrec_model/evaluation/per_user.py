"""Users out of batches, put together into blocks that are ranked at a time, and the ranks of all of them.

Shapes: B users of a batch, S numbers a user, P pairs of a user and a target, E of a user and an item of the history.
"""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from heterrec_model.config import Config
from heterrec_model.data.batch import Batch
from heterrec_model.data.catalogue_positions import CataloguePositions
from heterrec_model.data.token_table import TokenTable
from heterrec_model.evaluation.history_length import seen_pairs, truncated
from heterrec_model.evaluation.metrics import TargetRanks
from heterrec_model.evaluation.ranking import UserBlock, UserItemPairs, rank_targets
from heterrec_model.evaluation.scorers import Scorer


class EncodedUsers:
    """Encoded users, until there are enough of them; pairs hold an item_index, not yet a place in the catalogue."""

    def __init__(self) -> None:
        self.states: list[Tensor] = []
        self.user_ids: list[str | int] = []
        self._targets: list[tuple[Tensor, Tensor]] = []
        self._seen: list[tuple[Tensor, Tensor]] = []

    def add(self, state_BS: Tensor, batch: Batch, *, filter_seen: bool) -> None:
        """Take a batch's users; `batch` has their whole histories where seen items are filtered."""
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
        """Users and item_index of the targets: a set, so that what is bought twice counts once."""
        return _distinct(self._targets)

    def seen(self) -> tuple[Tensor, Tensor] | None:
        """Users and item_index of what they have seen; None where it is not filtered."""
        return _distinct(self._seen) if self._seen else None


def user_blocks(scorer: Scorer, batches: Iterable[Batch], config: Config) -> Iterator[EncodedUsers]:
    """Encode batches and put their users together, up to `evaluation.batch_users` of them."""
    settings, gathered = config.evaluation, EncodedUsers()
    for batch in batches:
        if gathered.user_ids and len(gathered.user_ids) + batch.users > settings.batch_users:
            yield gathered
            gathered = EncodedUsers()
        state_BS = scorer.encode(truncated(batch, config.model.max_length))
        gathered.add(state_BS, batch, filter_seen=settings.filter_seen)
    if gathered.user_ids:
        yield gathered


class RankedUsers:
    """The ranks of all users so far."""

    def __init__(self, scorer: Scorer, chunk_items: int) -> None:
        """Rank by a scorer, `chunk_items` of the catalogue at a time."""
        self._scorer, self._chunk_items = scorer, chunk_items
        self._places = CataloguePositions(scorer.table.catalogue_N)
        self._user_ids: list[str | int] = []
        nothing = torch.zeros(0, dtype=torch.bool)
        empty = (torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.float64))
        self._columns: list[tuple[Tensor, ...]] = [(*empty, nothing, nothing)]

    @property
    def users(self) -> int:
        """How many users are ranked."""
        return len(self._user_ids)

    def add(self, gathered: EncodedUsers) -> None:
        """Rank the targets of a block of users."""
        user_P, item_P = gathered.targets()
        seen = None
        if (pairs := gathered.seen()) is not None:
            seen = UserItemPairs(pairs[0], self._places.of(pairs[1]))
        block = UserBlock(torch.cat(gathered.states), gathered.user_ids, seen)
        targets = UserItemPairs(user_P, self._places.of(item_P))
        rank_P, tied_P = rank_targets(self._scorer, block, targets, chunk_items=self._chunk_items)
        warm_P = _trained_on(self._scorer.table, item_P)
        self._columns.append((user_P + self.users, rank_P, warm_P, tied_P))
        self._user_ids.extend(gathered.user_ids)

    def result(self) -> TargetRanks:
        """All users together."""
        user_P, rank_P, warm_P, tied_P = (
            torch.cat(parts).numpy() for parts in zip(*self._columns, strict=True)
        )
        # No ids at all would become an array of floats.
        ids = np.asarray(self._user_ids if self._user_ids else np.zeros(0, np.int64))
        return TargetRanks(ids, user_P, rank_P, warm_P, tied_P)


def _trained_on(table: TokenTable, item_P: Tensor) -> Tensor:
    """Whether items have a training interaction; an item beyond the table has none."""
    inside_P = item_P < len(table.train_count_I)
    return inside_P & (table.train_count_I[torch.where(inside_P, item_P, 0)] > 0)


def _distinct(parts: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Pairs of users and items of several batches without repetition, sorted by user, then by item."""
    user_P, item_P = (torch.cat(column) for column in zip(*parts, strict=True))
    width = int(item_P.max()) + 1 if len(item_P) else 1
    key_P = torch.unique(user_P * width + item_P)
    return torch.div(key_P, width, rounding_mode="floor"), key_P % width
