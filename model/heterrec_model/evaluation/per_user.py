"""Collects the users of batches into blocks that are ranked together, and the ranks of all users.

Shapes: B users of a batch, S numbers per user, P pairs of a user and a target, E pairs of a user and an item of
the history.
"""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from heterrec_model.config import Config
from heterrec_model.data.batch import Batch
from heterrec_model.data.catalogue_positions import NO_ROW, CataloguePositions
from heterrec_model.data.token_table import TokenTable
from heterrec_model.data.user_items import AddedScores, UserItemPairs
from heterrec_model.evaluation.metrics import TargetRanks
from heterrec_model.evaluation.ranking import UserBlock, rank_targets
from heterrec_model.evaluation.scorers import Scorer


class EncodedUsers:
    """Encoded users of several batches; their pairs contain item_index instead of catalogue positions."""

    def __init__(self) -> None:
        self.states: list[Tensor] = []
        self.user_ids: list[str | int] = []
        self._targets: list[tuple[Tensor, Tensor]] = []
        self._histories: list[tuple[Tensor, Tensor]] = []
        self._added: list[AddedScores] = []

    def add(self, state_BS: Tensor, batch: Batch, added: AddedScores | None = None) -> None:
        """Add the users of a batch, with the scores to add for them."""
        before = len(self.user_ids)
        self.states.append(state_BS)
        self.user_ids.extend(batch.user_ids)
        targets = batch.targets
        assert targets is not None, "a split with targets"
        count_B = torch.tensor([len(target) for target in targets])
        user_P = torch.repeat_interleave(torch.arange(len(targets)), count_B)
        self._targets.append((user_P + before, torch.cat(list(targets))))
        history = batch.all_items()
        self._histories.append((history.user_E + before, history.item_E))
        if added is not None:
            pairs = UserItemPairs(added.pairs.user_P + before, added.pairs.position_P)
            self._added.append(AddedScores(pairs, added.score_P))

    def targets(self) -> tuple[Tensor, Tensor]:
        """User and item_index of the distinct targets: an item bought twice counts once."""
        return _distinct(self._targets)

    def histories(self) -> tuple[Tensor, Tensor]:
        """User and item_index of the distinct items of all histories."""
        return _distinct(self._histories)

    def history_lengths(self) -> Tensor:
        """Number of interactions in the history of every user, int64 [B]."""
        user_E = torch.cat([user_E for user_E, _ in self._histories])
        return torch.bincount(user_E, minlength=len(self.user_ids))

    def added(self) -> AddedScores | None:
        """The scores to add for all users."""
        if not self._added:
            return None
        user_P, position_P = (
            torch.cat([getattr(part.pairs, name) for part in self._added])
            for name in ("user_P", "position_P")
        )
        score_P = torch.cat([part.score_P for part in self._added])
        return AddedScores(UserItemPairs(user_P, position_P), score_P)


def user_blocks(scorer: Scorer, batches: Iterable[Batch], config: Config) -> Iterator[EncodedUsers]:
    """Encode batches and collect up to `evaluation.batch_users` users per block."""
    settings, block = config.evaluation, EncodedUsers()
    for batch in batches:
        if block.user_ids and len(block.user_ids) + batch.users > settings.batch_users:
            yield block
            block = EncodedUsers()
        state_BS = scorer.encode(batch)
        block.add(state_BS, batch, scorer.added(batch, state_BS))
    if block.user_ids:
        yield block


class RankedUsers:
    """The target ranks of all users so far.

    `chunk_items` items are scored at a time; `candidates_N` selects the items of the catalogue that are ranked, None all.
    With `filter_seen`, items of the history are left out unless they are targets.
    """

    def __init__(
        self,
        scorer: Scorer,
        chunk_items: int,
        candidates_N: Tensor | None = None,
        *,
        filter_seen: bool = False,
    ) -> None:
        self._scorer, self._chunk_items, self._candidates_N = scorer, chunk_items, candidates_N
        self._filter_seen = filter_seen
        self._positions = CataloguePositions(scorer.table.catalogue_N)
        self.user_ids: list[str | int] = []
        empty = (torch.int64, torch.float64, torch.int64, torch.bool, torch.bool, torch.bool)
        self._columns = [tuple(torch.zeros(0, dtype=dtype) for dtype in empty)]

    def add(self, encoded: EncodedUsers) -> None:
        """Rank the targets of a block of users."""
        user_P, item_P = encoded.targets()
        user_E, item_E = encoded.histories()
        seen = UserItemPairs(user_E, self._positions.of(item_E)) if self._filter_seen else None
        block = UserBlock(torch.cat(encoded.states), encoded.user_ids, seen, encoded.added())
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
        had_P = _among(user_P, item_P, user_E, item_E)
        columns = (user_P + len(self.user_ids), first_P, tied_P, warm_P, row_P, had_P)
        self._columns.append(columns)
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


def _among(user_P: Tensor, item_P: Tensor, user_E: Tensor, item_E: Tensor) -> Tensor:
    """Whether pairs of a user and an item are among others."""
    width = 1 + max(int(x.max()) if len(x) else 0 for x in (item_P, item_E))
    return torch.isin(user_P * width + item_P, user_E * width + item_E)


def _distinct(parts: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Distinct pairs of users and items of several batches, sorted by user, then by item."""
    user_P, item_P = (torch.cat(column) for column in zip(*parts, strict=True))
    width = int(item_P.max()) + 1 if len(item_P) else 1
    key_P = torch.unique(user_P * width + item_P)
    return torch.div(key_P, width, rounding_mode="floor"), key_P % width
