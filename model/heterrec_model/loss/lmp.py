"""Listwise Multi-step Prediction, Section 2.5: InfoNCE for several steps ahead, gated, at the item and the token level.

As printed, Eq. 10 and 11 lack the logarithm: minimised like that they would push positives down. Here the loss of a
position is -log of the printed fraction, and the gate stands outside the logarithm and passes no gradient.

Positions are packed: only real items, user by user, oldest first, so that the item i steps after position n is n + i.
Shapes: N positions, C candidates, K tokens, D width, U distinct items of the step.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from heterrec_model.config import LossConfig
from heterrec_model.distributed import sum_over_ranks, world_size
from heterrec_model.loss.negative_logits import Negatives, Positions

SHORT = 1e-2
"""A vector's length up to which it is scaled by 1 / SHORT instead of to 1."""


def info_nce(positive_N: Tensor, negative_NC: Tensor) -> Tensor:
    """-log of Eq. 10's fraction, -l+ + logsumexp([l+, 0, l-_1, ...]); the 0 is its `1 +`. Shape [N].

    Args:
        positive_N: l+, similarity / tau.
        negative_NC: l-, likewise, corrected for sampling; -inf where masked.
    """
    one_N = torch.zeros_like(positive_N)
    fraction_NC = torch.cat([torch.stack([positive_N, one_N], 1), negative_NC], 1)
    return -torch.log_softmax(fraction_NC, 1)[:, 0]


def gate(previous_N: Tensor, current_N: Tensor, margin: float) -> Tensor:
    """The indicator of Eq. 11 in log space: e^previous > e^current + lambda. Boolean, without a gradient.

    Args:
        previous_N: l+ of the step before.
        current_N: l+ of this step.
        margin: lambda_m.
    """
    log_margin = torch.tensor(margin, dtype=current_N.dtype, device=current_N.device).log()
    return previous_N.detach() > torch.logaddexp(current_N.detach(), log_margin)


@dataclass
class LossSums:
    """What a step's losses add up to: by term, the weighted sum over open positions and how many are open."""

    weights: dict[str, float] = field(default_factory=dict)
    sums: dict[str, Tensor] = field(default_factory=dict)
    open: dict[str, Tensor] = field(default_factory=dict)
    possible: dict[str, Tensor] = field(default_factory=dict)

    def add(self, term: str, weight: float, loss_N: Tensor, open_: int, possible: int) -> None:
        """Take in one term."""
        self.weights[term] = weight
        self.sums[term] = loss_N.sum()
        self.open[term] = torch.tensor(float(open_), device=loss_N.device)
        self.possible[term] = torch.tensor(float(possible), device=loss_N.device)


class MultiStep(nn.Module):
    """Eq. 8 to 11 at one level: W_i for every step, positives, the gate, InfoNCE over the open positions.

    Args:
        config: the loss's settings.
        width: D.
    """

    def __init__(self, config: LossConfig, width: int) -> None:
        super().__init__()
        self.config = config
        self.steps = nn.ModuleList(_identity(width) for _ in range(config.steps))

    def query(self, u_ND: Tensor, step: int) -> Tensor:
        """W_i u / tau, normalised before for the cosine; `step` counts from 1."""
        q_ND = similar(self.steps[step - 1](u_ND), self.config)
        return q_ND / self.config.temperature

    def forward(
        self,
        u_ND: Tensor,
        vectors_UD: Tensor,
        positions: Positions,
        negatives: Negatives,
        sums: LossSums,
        *,
        name: str,
        weight: float = 1.0,
    ) -> None:
        """Add every step's loss to `sums`, as `<name>_step<i>`.

        Args:
            u_ND: the level's output at every position.
            vectors_UD: the level's item side, normalised where the similarity is the cosine.
            positions: where they stand.
            negatives: what stands in the denominators.
            sums: added to in place.
            name: of the terms.
            weight: of the level.
        """
        before_N: Tensor | None = None
        for step, step_weight in enumerate(self.config.weights, 1):
            at = positions.with_item(step)
            target = positions.row_N[at + step]
            query = self.query(u_ND.index_select(0, at), step)
            positive = (query * vectors_UD.index_select(0, target)).sum(-1)
            chosen = positions.aimed(at, step)
            possible = int(chosen.sum())
            known_N = positive.new_full((len(u_ND),), torch.nan)
            known_N[at] = positive.detach()
            if before_N is not None and self.config.gate:
                chosen = chosen & gate(before_N[at], positive, self.config.margin)
            before_N = known_N
            kept = chosen.nonzero().squeeze(1)
            at, query, positive = at[kept], query.index_select(0, kept), positive[kept]
            negative = negatives.logits(query, vectors_UD, positions, at, step)
            loss = info_nce(positive, negative)
            sums.add(f"{name}_step{step}", weight * step_weight, loss, len(at), possible)


def _identity(width: int) -> nn.Linear:
    """W_i at the start: a user's vector is u itself, which lies near the items that went into it.

    From a random W_i SASRec with ids alone ended at an nDCG@50 of .026 where it now reaches .034 (docs/results.md).
    """
    linear = nn.Linear(width, width)
    nn.init.eye_(linear.weight)
    nn.init.zeros_(linear.bias)
    return linear


def similar(x: Tensor, config: LossConfig) -> Tensor:
    """Unit vectors for the cosine, the vectors themselves for the dot product.

    Vectors shorter than SHORT stay shorter than 1: the value of a missing vector starts at zero, where the gradient of a
    unit vector would be without bounds.
    """
    return F.normalize(x, dim=-1, eps=SHORT) if config.similarity == "cosine" else x


def reduce_losses(sums: LossSums) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
    """Eq. 12 from the sums: each term is divided by the number of its open positions, over all ranks.

    Under DDP, which averages the ranks' gradients, the total is multiplied by their number: the gradient is then that
    of one process with all ranks' users in its batch.

    Returns:
        The total, the weighted terms (over all ranks, detached), and the share of open gates by term.
    """
    names = list(sums.sums)
    local = torch.stack([sums.sums[name] for name in names])
    counts = torch.stack([torch.stack([sums.open[n], sums.possible[n]]) for n in names])
    weights = local.new_tensor([sums.weights[name] for name in names])
    told = sum_over_ranks(torch.cat([local.detach()[:, None], counts], dim=1))
    divisor = told[:, 1].clamp(min=1)
    total = (local * weights / divisor).sum() * world_size()
    values, shares = told[:, 0] * weights / divisor, told[:, 1] / told[:, 2].clamp(min=1)
    return total, _by_name(names, values), _by_name(names, shares)


def _by_name(names: Sequence[str], values: Tensor) -> dict[str, Tensor]:
    return dict(zip(names, values.unbind(), strict=True))
