"""Listwise Multi-step Prediction, Section 2.5: InfoNCE for several steps ahead, gated, at the item and the token level.

Eq. 10 and 11 are printed without the logarithm: minimising them would lower the positive logits. Here the loss of a
position is -log of the printed fraction; the gate is outside the logarithm and passes no gradient.

Positions are packed: only real items, user by user, oldest first, so the item i steps after position n is at n + i.
Shapes: N positions, C candidates, K tokens, D width, U distinct items of the step.
"""

from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from heterrec_model.config import LossConfig, Normalise
from heterrec_model.distributed import sum_over_ranks, world_size
from heterrec_model.loss.negative_logits import Negatives, PackedPositions, Pairs
from heterrec_model.loss.own_negatives import OwnNegatives

MIN_NORM = 1e-2
"""Norm below which a vector is divided by MIN_NORM instead of by its norm."""


def info_nce(positive_N: Tensor, negative_NC: Tensor) -> Tensor:
    """-log of Eq. 10's fraction, -l+ + logsumexp([l+, 0, l-_1, ...]); the 0 is its `1 +`. Shape [N].

    Args:
        positive_N: l+, similarity / tau.
        negative_NC: l-, similarity / tau, corrected for sampling; -inf where masked.
    """
    one_N = torch.zeros_like(positive_N)
    fraction_NC = torch.cat([torch.stack([positive_N, one_N], 1), negative_NC], 1)
    return -torch.log_softmax(fraction_NC, 1)[:, 0]


def gate(previous_N: Tensor, current_N: Tensor, margin: float) -> Tensor:
    """The indicator of Eq. 11 in log space, e^previous > e^current + lambda_m: bool, without a gradient.

    Args:
        previous_N: l+ of the previous step.
        current_N: l+ of this step.
        margin: lambda_m.
    """
    log_margin = torch.tensor(margin, dtype=current_N.dtype, device=current_N.device).log()
    return previous_N.detach() > torch.logaddexp(current_N.detach(), log_margin)


@dataclass
class LossSums:
    """Sums of the losses of a training step, by term: the loss over open positions, and their number."""

    weights: dict[str, float] = field(default_factory=dict)
    sums: dict[str, Tensor] = field(default_factory=dict)
    open: dict[str, Tensor] = field(default_factory=dict)
    possible: dict[str, Tensor] = field(default_factory=dict)

    def add(self, term: str, weight: float, loss_N: Tensor, open_: int, possible: int) -> None:
        """Add a term."""
        self.weights[term] = weight
        self.sums[term] = loss_N.sum()
        self.open[term] = torch.tensor(float(open_), device=loss_N.device)
        self.possible[term] = torch.tensor(float(possible), device=loss_N.device)


@dataclass(frozen=True, eq=False)
class HeadVectors:
    """The parts of the vectors that token heads add, X = K * D columns.

    Attributes:
        query_NX: of the positions, times the weights of the heads.
        item_UX: of the distinct items.
    """

    query_NX: Tensor
    item_UX: Tensor


@dataclass(frozen=True, eq=False)
class _Level:
    """What all steps of a level share; see `MultiStepLoss.forward`."""

    u_ND: Tensor
    vectors_UD: Tensor
    positions: PackedPositions
    negatives: Negatives | OwnNegatives
    heads: HeadVectors | None


class MultiStepLoss(nn.Module):
    """Eq. 8 to 11 at one level: W_i for every step, positive logits, gate, InfoNCE over the open positions.

    Args:
        config: configuration of the loss.
        width: D.
        one_step: for models that predict one target per position: `steps`, `step_weights` and the gate are not read.
    """

    def __init__(self, config: LossConfig, width: int, *, one_step: bool = False) -> None:
        super().__init__()
        self.config = config
        self.weights = (1.0,) if one_step else config.weights
        self.gated = len(self.weights) > 1 and config.gate
        identity = config.step_init == "identity"
        first = _identity if identity else partial(nn.Linear, width)
        self.steps = nn.ModuleList(first(width) for _ in self.weights)

    def query(self, u_ND: Tensor, step: int) -> Tensor:
        """W_i u / tau, where W_i u is normalised for the cosine; `step` starts at 1."""
        q_ND = for_similarity(self.steps[step - 1](u_ND), self.config)
        return q_ND / self.config.temperature

    def forward(
        self,
        u_ND: Tensor,
        vectors_UD: Tensor,
        positions: PackedPositions,
        negatives: Negatives | OwnNegatives,
        sums: LossSums,
        *,
        name: str,
        weight: float = 1.0,
        heads: HeadVectors | None = None,
        dense: Pairs | None = None,
    ) -> None:
        """Add every step's loss to `sums`, as `<name>_step<i>`, and that of `dense` pairs, as `<name>_dense`.

        Args:
            u_ND: user vectors of the level at every position.
            vectors_UD: item vectors of the level, normalised for the cosine.
            positions: the packed positions.
            negatives: the negative logits.
            sums: updated in place.
            name: prefix of the terms.
            weight: of the level.
            heads: further parts of the vectors of step 1, the one that items are ranked by.
            dense: positions and random later items, which are predicted as the items of step 1 are.
        """
        level = _Level(u_ND, vectors_UD, positions, negatives, heads)
        before_N: Tensor | None = None
        for step, step_weight in enumerate(self.weights, 1):
            pairs = positions.pairs(step)
            query, item_UD, positive = self._similarities(level, pairs, step)
            chosen = pairs.aimed_R
            possible = int(chosen.sum())
            known_N = positive.new_full((len(u_ND),), torch.nan)
            known_N[pairs.at_R] = positive.detach()
            if before_N is not None and self.gated:
                chosen = chosen & gate(before_N[pairs.at_R], positive, self.config.margin)
            before_N = known_N
            kept = chosen.nonzero().squeeze(1)
            query, positive, pairs = query.index_select(0, kept), positive[kept], pairs.at(kept)
            loss = self._losses(level, query, item_UD, positive, pairs)
            sums.add(f"{name}_step{step}", weight * step_weight, loss, len(kept), possible)
        if dense is not None:
            pairs = dense.at(dense.aimed_R.nonzero().squeeze(1))
            query, item_UD, positive = self._similarities(level, pairs, 1)
            loss = self._losses(level, query, item_UD, positive, pairs)
            count = len(pairs.at_R)
            sums.add(f"{name}_dense", weight * self.config.dense.weight, loss, count, count)

    def _similarities(
        self, level: "_Level", pairs: Pairs, step: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The queries of pairs [R, X], the vectors of the distinct items [U, X], and l+ of the targets [R]."""
        query, item_UX = self.query(level.u_ND.index_select(0, pairs.at_R), step), level.vectors_UD
        if level.heads is not None and step == 1:
            head = level.heads.query_NX.index_select(0, pairs.at_R) / self.config.temperature
            query = torch.cat([query, head], 1)
            item_UX = torch.cat([item_UX, level.heads.item_UX], 1)
        target_R = level.positions.row_N[pairs.target_R]
        return query, item_UX, (query * item_UX.index_select(0, target_R)).sum(-1)

    def _losses(
        self,
        level: "_Level",
        query_RX: Tensor,
        item_UX: Tensor,
        positive_R: Tensor,
        pairs: Pairs,
    ) -> Tensor:
        """The loss of pairs, [R]; with own negatives the repeat term is added to l+."""
        if isinstance(level.negatives, OwnNegatives):
            term_R, negative = level.negatives.logits(query_RX, item_UX, level.positions, pairs)
            return self.position_losses(positive_R + term_R, negative)
        negative = level.negatives.logits(query_RX, item_UX, level.positions, pairs)
        return self.position_losses(positive_R, negative)

    def position_losses(self, positive_N: Tensor, negative_NC: Tensor) -> Tensor:
        """The loss of each position from its logits, [N]: `info_nce`, unless a subclass has another."""
        return info_nce(positive_N, negative_NC)


def _identity(width: int) -> nn.Linear:
    """Initial W_i, the identity: the user vector is u itself, which is similar to the items it was computed from.

    With a random initial W_i, SASRec with ids alone reached an nDCG@50 of .026 instead of .034 (docs/results.md).
    """
    linear = nn.Linear(width, width)
    nn.init.eye_(linear.weight)
    nn.init.zeros_(linear.bias)
    return linear


def for_similarity(x: Tensor, config: LossConfig) -> Tensor:
    """Unit vectors for the cosine, unchanged vectors for the dot product.

    Vectors shorter than MIN_NORM stay shorter than 1: missing embeddings start at zero, where the gradient of the
    normalisation is unbounded.
    """
    return F.normalize(x, dim=-1, eps=MIN_NORM) if config.similarity == "cosine" else x


def reduce_losses(
    sums: LossSums, normalise: Normalise
) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
    """Eq. 12 from the sums, each divided by the number of its positions over all ranks.

    With `possible`, a term keeps its proportion to the other terms of Eq. 12 whatever its gate does. With `open`, each open
    position weighs more the fewer there are.

    DDP averages gradients over ranks, so the total is multiplied by their number: the gradient then equals that of one
    process with the users of all ranks in its batch.

    Args:
        sums: of this rank.
        normalise: `loss.normalise`.

    Returns:
        The total, the weighted terms (over all ranks, detached), and the share of open gates by term, NaN for a term
        without possible positions.
    """
    names = list(sums.sums)
    local = torch.stack([sums.sums[name] for name in names])
    counts = torch.stack([torch.stack([sums.open[n], sums.possible[n]]) for n in names])
    weights = local.new_tensor([sums.weights[name] for name in names])
    summed = sum_over_ranks(torch.cat([local.detach()[:, None], counts], dim=1))
    open_, possible = summed[:, 1], summed[:, 2]
    divisor = {"possible": possible, "open": open_, "sum": torch.ones_like(open_)}[normalise]
    weights = weights / divisor.clamp(min=1)
    total = (local * weights).sum() * world_size()
    values, shares = summed[:, 0] * weights, open_ / possible
    terms, gates = (dict(zip(names, x.unbind(), strict=True)) for x in (values, shares))
    return total, terms, gates
