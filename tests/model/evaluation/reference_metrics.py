"""Ranks and metrics worked out plainly, a user and an item at a time; and scorers for tests."""

import math
import os
from collections.abc import Collection, Mapping, Sequence
from types import SimpleNamespace
from typing import Any, cast

import torch
from hypothesis import settings
from torch import Tensor

from heterrec_model.data.batch import Batch
from heterrec_model.data.token_table import TokenTable

SOAK = int(os.environ.get("HETERREC_EXAMPLES", "0"))
MANY = settings(deadline=None, derandomize=not SOAK, database=None, max_examples=SOAK or 200)


def mean_rank(scores: Mapping[int, float], target: int) -> float:
    """1 + how many are better + half of the others that are equal; inf for what has no score."""
    if target not in scores:
        return math.inf
    own = scores[target]
    better = sum(s > own for s in scores.values())
    equal = sum(s == own for item, s in scores.items() if item != target)
    return 1 + better + equal / 2


def ranks_of(
    scores: Mapping[int, float], targets: Collection[int], seen: Collection[int] = ()
) -> dict[int, float]:
    """The mean ranks of a user's targets among all items but the seen ones that are no targets."""
    left = {item: s for item, s in scores.items() if item in targets or item not in seen}
    return {target: mean_rank(left, target) for target in targets}


def metrics_of(ranks: Sequence[float], k: int) -> tuple[float, float]:
    """Recall@k and nDCG@k of one user."""
    hits = [rank for rank in ranks if rank <= k]
    gain = sum(1 / math.log2(rank + 1) for rank in hits)
    ideal = sum(1 / math.log2(place + 1) for place in range(1, min(k, len(ranks)) + 1))
    return len(hits) / len(ranks), gain / ideal


def averages(users: Sequence[Sequence[float]], ks: Sequence[int]) -> dict[str, float]:
    """The metrics over users, each given by the ranks of its targets."""
    found: dict[str, float] = {}
    for k in ks:
        each = [metrics_of(ranks, k) for ranks in users]
        found[f"recall@{k}"] = sum(r for r, _ in each) / len(each)
        found[f"ndcg@{k}"] = sum(n for _, n in each) / len(each)
    return found


def table_of(catalogue: Sequence[int], trained: Collection[int] = ()) -> TokenTable:
    """As much of a token table as a ranking needs."""
    size = max(catalogue, default=0) + 1
    counts = torch.zeros(size, dtype=torch.int64)
    counts[list(trained)] = 1
    fake = SimpleNamespace(
        catalogue_N=torch.tensor(list(catalogue), dtype=torch.int64), train_count_I=counts
    )
    return cast(TokenTable, fake)


class GivenScores:
    """A scorer of blocks whose scores are given: a user's state is a row of the matrix."""

    def __init__(self, scores_UN: Tensor, catalogue: Sequence[int] | None = None) -> None:
        self.table = table_of(range(scores_UN.shape[1]) if catalogue is None else catalogue)
        self.scores_UN = scores_UN
        self.asked: list[tuple[int, int]] = []

    def encode(self, batch: Batch) -> Tensor:
        raise NotImplementedError

    def scores(self, users_BS: Tensor, start: int, stop: int) -> Tensor:
        self.asked.append((start, stop))
        return self.scores_UN[users_BS[:, 0].long(), start:stop].clone()


class OddScores:
    """A scorer of batches: few distinct scores, by the history's length, its last item, and the item scored."""

    def __init__(self, table: TokenTable, values: int = 7) -> None:
        self.table, self.values = table, values
        self.widths: list[int] = []

    def encode(self, batch: Batch) -> Tensor:
        self.widths.append(batch.item_BT.shape[1])
        last_B = batch.item_BT[torch.arange(batch.users), batch.length_B - 1]
        return torch.stack([batch.length_B, last_B], 1)

    def scores(self, users_BS: Tensor, start: int, stop: int) -> Tensor:
        item_C = self.table.catalogue_N[start:stop]
        scores_BC = users_BS[:, :1] * 5 + users_BS[:, 1:] * 3 + item_C * item_C
        return (scores_BC % self.values).float()

    def score(self, length: int, last: int, item: int) -> float:
        """One score, plainly."""
        return float((length * 5 + last * 3 + item * item) % self.values)


def rows_of(generation: Any, split: str) -> list[dict[str, Any]]:
    """The rows of a split as they stand in the shards."""
    return cast("list[dict[str, Any]]", generation.sequences(split).to_pylist())
