"""A tiny model with the interface of the real ones, and batches for it."""

from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from heterrec_model.data.batch import Batch
from heterrec_model.two_tower import StepOutput

ITEMS = 12


class FakeModel(nn.Module):
    """Pulls the table rows of a batch's items towards 1; `sparse` makes the table's gradients sparse."""

    def __init__(self, *, sparse: bool = False, dropout: float = 0.0) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.table = SimpleNamespace(user_features=(), behaviours=0, features=())
        self.items = nn.Embedding(ITEMS, 4, sparse=sparse)
        self.norm = nn.LayerNorm(4)
        self.dropout = nn.Dropout(dropout)
        self.broken: dict[int, Any] = {}
        self.calls = 0

    def forward(self, batch: Batch, seed: int) -> StepOutput:
        self.calls += 1
        x_BTD = self.norm(self.dropout(self.items(batch.item_BT)))
        pull = (x_BTD - 1).square().mean()
        terms = {"pull": pull, "size": 0.1 * x_BTD.abs().mean()}
        terms = self.broken.get(self.calls, lambda t: t)(terms)
        total = torch.stack(list(terms.values())).sum()
        detached = {name: term.detach() for name, term in terms.items()}
        return StepOutput(total, detached, {"seed": torch.tensor(float(seed % 7))})

    def sparse_parameters(self) -> list[Tensor]:
        return [self.items.weight] if self.items.sparse else []

    def no_decay(self, name: str) -> bool:
        return "norm" in name

    def rate_factor(self, name: str) -> float:
        return 1.0


def fake_batch(*items: list[int]) -> Batch:
    """Histories of one length."""
    item_BT = torch.tensor(items)
    length_B = torch.full((len(items),), item_BT.shape[1])
    users = [f"u{item}" for item in item_BT[:, 0].tolist()]
    return Batch(item_BT, torch.zeros_like(item_BT), length_B, None, {}, users)
