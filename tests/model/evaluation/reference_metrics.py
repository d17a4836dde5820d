"""Ranks and metrics worked out plainly, a user and an item at a time; and scorers for tests."""

import math
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import permutations, product
from types import SimpleNamespace
from typing import Any, cast

import torch
from hypothesis import settings
from torch import Tensor

from heterrec_model.data.batch import Batch
from heterrec_model.data.token_table import TokenTable

SOAK = int(os.environ.get("HETERREC_EXAMPLES", "0"))
MANY = settings(deadline=None, derandomize=not SOAK, database=None, max_examples=SOAK or 200)


Ranks = tuple[float, int]
"""The first rank of the items with a target's score, and their number: (inf, 1) for what has no score."""


def shared_ranks(scores: Mapping[int, float], target: int) -> Ranks:
    """1 + how many are better, and how many are equal, the target included."""
    if target not in scores:
        return math.inf, 1
    own = scores[target]
    return 1 + sum(s > own for s in scores.values()), sum(s == own for s in scores.values())


def ranks_of(
    scores: Mapping[int, float], targets: Collection[int], seen: Collection[int] = ()
) -> dict[int, Ranks]:
    """The ranks of a user's targets among all items but the seen ones that are no targets."""
    left = {item: s for item, s in scores.items() if item in targets or item not in seen}
    return {target: shared_ranks(left, target) for target in targets}


def metrics_of(ranks: Sequence[Ranks], k: int) -> tuple[float, float]:
    """Recall@k and nDCG@k of one user: means over the ranks that each target can have."""
    hits = gain = 0.0
    for first, tied in ranks:
        for rank in (first + n for n in range(tied)):
            hits += (rank <= k) / tied
            gain += (1 / math.log2(rank + 1) if rank <= k else 0) / tied
    ideal = sum(1 / math.log2(place + 1) for place in range(1, min(k, len(ranks)) + 1))
    return hits / len(ranks), gain / ideal


def orders_of(scores: Mapping[int, float]) -> Iterator[list[int]]:
    """Every order of the items, best first, that the scores allow."""
    groups = [
        [item for item, s in scores.items() if s == value]
        for value in sorted(set(scores.values()), reverse=True)
    ]
    for chosen in product(*(permutations(group) for group in groups)):
        yield [item for group in chosen for item in group]


def over_all_orders(
    scores: Mapping[int, float], targets: Collection[int], k: int
) -> tuple[float, float]:
    """Recall@k and nDCG@k of one user, averaged over every order that the scores allow."""
    each = [
        metrics_of([(order.index(t) + 1 if t in scores else math.inf, 1) for t in targets], k)
        for order in orders_of(scores)
    ]
    return sum(r for r, _ in each) / len(each), sum(n for _, n in each) / len(each)


def averages(users: Sequence[Sequence[Ranks]], ks: Sequence[int]) -> dict[str, float]:
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

    def added(self, batch: Batch, users_BS: Tensor) -> None:
        return None


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

    def added(self, batch: Batch, users_BS: Tensor) -> None:
        return None

    def score(self, length: int, last: int, item: int) -> float:
        """One score, plainly."""
        return float((length * 5 + last * 3 + item * item) % self.values)


def rows_of(generation: Any, split: str) -> list[dict[str, Any]]:
    """The rows of a split as they stand in the shards."""
    return cast("list[dict[str, Any]]", generation.sequences(split).to_pylist())
