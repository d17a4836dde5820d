"""Base class of HeterRec and the trained baselines: shared tables, two towers, one loss over the distinct items of a step.

Shapes: B users, T items, N packed positions, K tokens per item, C candidates, U distinct items of a step, D width.
"""

from abc import abstractmethod
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from heterrec_model.config import Config
from heterrec_model.data.batch import Batch
from heterrec_model.data.inputs import (
    BEHAVIOURS,
    EARLIER_ITEMS,
    ITEM_FEATURE,
    ITEM_IDS,
    LAST_ITEM,
    TIME_GAPS,
    USER_FEATURE,
)
from heterrec_model.data.token_table import TokenTable
from heterrec_model.layers.embedding_tables import ITEM_ID, ItemTables, module_name
from heterrec_model.layers.time_gap import TimeGap
from heterrec_model.layers.user_tokens import UserTokens
from heterrec_model.loss.candidates import Candidates, CandidateSampler, globally_unique
from heterrec_model.loss.dense_targets import drawn_pairs
from heterrec_model.loss.lmp import (
    HeadVectors,
    LossSums,
    MultiStepLoss,
    for_similarity,
    reduce_losses,
)
from heterrec_model.loss.negative_logits import (
    Negatives,
    PackedPositions,
    Pairs,
    SamePositionNegatives,
    SharedNegatives,
    pack_positions,
)
from heterrec_model.loss.own_negatives import DrawnItems, OwnNegatives, draw_own_items
from heterrec_model.loss.repeat_term import RepeatTerm

OPEN_GATES = "open_gates/"
"""Prefix of the metrics of a step that are shares of open gates."""


@dataclass(frozen=True, eq=False)
class StepOutput:
    """Loss of a training step.

    Attributes:
        total: the loss to differentiate, a scalar.
        terms: its weighted terms over all ranks, detached.
        metrics: further scalars for the log, detached.
    """

    total: Tensor
    terms: dict[str, Tensor]
    metrics: dict[str, Tensor]


@dataclass(frozen=True, eq=False)
class UserStates:
    """Output of a user tower: one vector per position, and one per token if the model has a token level."""

    u_BTD: Tensor
    h_BTKD: Tensor | None = None


class TwoTowerModel(nn.Module):
    """A user tower and an item tower on the same embedding tables.

    A subclass provides `tower`, which maps e_NKD to token vectors [N, K, D] or None and item vectors [N, D], and `encode`,
    whose output at a position depends on that position's item and earlier ones only. It sets `user_tokens` and `time_gap` if
    it has such inputs.

    Attributes:
        unread: settings, or sections of settings, that the model does not read, such as `loss.token_weight`: a configuration
            that changes one of them is refused.
    """

    unread: ClassVar[frozenset[str]] = frozenset()

    tower: nn.Module
    user_tokens: UserTokens | None
    time_gap: TimeGap | None
    head_weights: nn.Parameter | None
    listed_I: Tensor
    popularity_I: Tensor
    retired_I: Tensor

    def __init__(self, config: Config, table: TokenTable, tables: ItemTables) -> None:
        super().__init__()
        self.config, self.table, self.tables = config, table, tables
        # Items out of the catalogue can be positives of a history, but retired ones are no negatives.
        drawn_I = table.train_count_I.clone()
        drawn_I[table.retired_M] = 0
        trained_I = table.trained_I
        self.sampler = CandidateSampler(config.negatives, drawn_I, table.catalogue_N, trained_I)
        self.item_lmp = self.item_loss()
        self.token_lmp = nn.ModuleDict()
        self.user_tokens, self.time_gap = None, None
        self.repeats = None
        if config.model.repeats.enabled:
            self.repeats = RepeatTerm(
                config.model.width, config.loss.temperature, config.model.repeats.similarity
            )
        self.head_weights = None
        if config.model.token_heads:
            self.head_weights = nn.Parameter(torch.zeros(len(tables.names)))
        listed_I = torch.zeros(len(table.train_count_I), dtype=torch.bool)
        listed_I[table.catalogue_N] = True
        listed_I[table.retired_M] = True
        self.register_buffer("listed_I", listed_I, persistent=False)
        self.register_buffer("popularity_I", table.train_count_I.clone(), persistent=False)
        retired_I = torch.zeros_like(listed_I)
        retired_I[table.retired_M] = True
        self.register_buffer("retired_I", retired_I, persistent=False)

    @property
    def inputs(self) -> frozenset[str]:
        """The inputs that the model reads, by the names of `data.inputs`."""
        names = [LAST_ITEM, EARLIER_ITEMS, *(ITEM_FEATURE + f.name for f in self.table.features)]
        names += [ITEM_IDS] * self.config.model.item_id
        names += [BEHAVIOURS] * (self.config.model.behaviour and self.table.behaviours > 0)
        names += [TIME_GAPS] * (self.time_gap is not None)
        users = self.user_tokens.names if self.user_tokens is not None else []
        return frozenset([*names, *(USER_FEATURE + name for name in users)])

    @property
    def vector_width(self) -> int:
        """Width of the user and item vectors: D, or D + K D with token heads."""
        heads = 0 if self.head_weights is None else len(self.head_weights)
        return self.config.model.width * (1 + heads)

    @abstractmethod
    def encode(self, e_BTKD: Tensor, batch: Batch, last_B: Tensor | None = None) -> UserStates:
        """The user tower: maps the item embeddings of histories to user states.

        With `last_B`, the position of the only item of each history whose user vector is needed, u is [B, 1, D].
        """

    def item_loss(self) -> MultiStepLoss:
        """The loss of the item level."""
        return MultiStepLoss(self.config.loss, self.config.model.width)

    def positions_of(self, batch: Batch, row_N: Tensor, listed_N: Tensor) -> PackedPositions:
        """The positions of a training batch, and the targets that they predict; see `pack_positions`."""
        return pack_positions(batch, row_N, listed_N)

    def dense_pairs(self, batch: Batch, positions: PackedPositions) -> Pairs | None:
        """Positions and random later items, for the loss of `loss.dense`; None with weight 0."""
        dense = self.config.loss.dense
        return drawn_pairs(dense, batch, positions) if dense.weight else None

    def training_states(
        self, e_UKD: Tensor, row_BT: Tensor, batch: Batch, positions: PackedPositions
    ) -> UserStates:
        """The user states of a training batch, of all columns or of all but the last.

        Args:
            e_UKD: embeddings of the distinct items of the step.
            row_BT: rows of the batch's items among them.
            batch: the histories.
            positions: from `positions_of`.
        """
        known = batch.without_last()
        return self.encode(e_UKD[row_BT[:, : known.item_BT.shape[1]]], known)

    def forward(self, batch: Batch, seed: int) -> StepOutput:
        """The training loss of a batch; `seed` draws its negatives and is equal on all ranks."""
        step = self._draw(batch, seed)
        with self._autocast(step.item_U.device):
            e_UKD = self.tables(step.item_U)
            v_UKD, v_UD = self.tower(e_UKD)
            positions = self.positions_of(batch, step.row_N, self.listed_I[step.item_U[step.row_N]])
            encoded = self.training_states(e_UKD, step.row_BT, batch, positions)
        h_NKD = None
        if len(self.token_lmp):
            h_NKD, v_UKD = _full(_packed(self._token_states(encoded), positions)), _full(v_UKD)
        heads = None
        if self.head_weights is not None:
            assert h_NKD is not None, "token heads need token-level losses"
            heads = HeadVectors(self._head_queries(h_NKD), self._head_items(v_UKD))
        sums = LossSums()
        self.item_lmp(
            _full(_packed(encoded.u_BTD, positions)),
            for_similarity(_full(v_UD), self.config.loss),
            positions,
            self._item_negatives(step, positions, batch),
            sums,
            name="item",
            heads=heads,
            dense=self.dense_pairs(batch, positions),
        )
        if h_NKD is not None:
            self._token_losses(h_NKD, v_UKD, step, positions, sums)
        total, terms, shares = reduce_losses(sums, self.config.loss.normalise)
        metrics = {}
        if self.item_lmp.gated:
            gated = [name for name in shares if not name.endswith(("_step1", "_dense"))]
            metrics = {OPEN_GATES + name: shares[name] for name in gated}
        metrics["positions"] = sums.possible["item_step1"]
        return StepOutput(total, terms, metrics)

    def user_vectors(self, batch: Batch) -> Tensor:
        """W_1 u at every user's last item, for dot products with item vectors: [B, D], or [B, D + K D] with token heads."""
        with self._autocast(batch.item_BT.device):
            e_BTKD = self.tables(batch.item_BT.flatten()).unflatten(0, batch.item_BT.shape)
        return self.vectors_of_last(e_BTKD, batch)

    def vectors_of_last(self, e_BTKD: Tensor, batch: Batch) -> Tensor:
        """`user_vectors` from the item embeddings of the histories."""
        last_B = batch.length_B - 1
        with self._autocast(batch.item_BT.device):
            encoded = self.encode(e_BTKD, batch, last_B)
        u_BD = _full(encoded.u_BTD.squeeze(1))
        similar_BD = for_similarity(self.item_lmp.steps[0](u_BD), self.config.loss)
        if self.head_weights is None:
            return similar_BD
        h_BTKD = self._token_states(encoded)
        row_B1KD = last_B[:, None, None, None].expand(-1, 1, *h_BTKD.shape[2:])
        h_BKD = h_BTKD.gather(1, row_B1KD) if h_BTKD.shape[1] > 1 else h_BTKD
        return torch.cat([similar_BD, self._head_queries(_full(h_BKD.squeeze(1)))], 1)

    def item_vectors(self, item_N: Tensor) -> Tensor:
        """V of some items, for dot products with user vectors: [N, D], or [N, D + K D] with token heads."""
        with self._autocast(item_N.device):
            v_NKD, v_ND = self.tower(self.tables(item_N))
        similar_ND = for_similarity(_full(v_ND), self.config.loss)
        if self.head_weights is None:
            return similar_ND
        return torch.cat([similar_ND, self._head_items(_full(v_NKD))], 1)

    def sparse_parameters(self) -> list[Tensor]:
        """The tables with sparse gradients."""
        return [m.weight for m in self.modules() if isinstance(m, nn.Embedding) and m.sparse]

    def no_decay(self, name: str) -> bool:
        """Whether a parameter is excluded from weight decay: biases, norms, time-gap tables."""
        excluded = {"norm", "norms", "last_norm", "time_gap", "head_weights", "repeats"}
        return name.endswith("bias") or not excluded.isdisjoint(name.split("."))

    def rate_factor(self, name: str) -> float:
        """Factor of the learning rate of a parameter: scalars that weigh whole scores have to move faster than the vectors.

        Adam moves a parameter by about the learning rate per step, whatever its gradient.
        """
        if name.startswith(("repeats.inner", "repeats.outer")):
            return 3.0
        return 5.0 if name == "head_weights" else 1.0

    def _token_states(self, encoded: UserStates) -> Tensor:
        """The states that the token-level queries are computed from, [B, T, K, D]: the user states without a token level."""
        if encoded.h_BTKD is not None:
            return encoded.h_BTKD
        return encoded.u_BTD.unsqueeze(2).expand(-1, -1, len(self.tables.names), -1)

    def _head_queries(self, h_NKD: Tensor) -> Tensor:
        """The weighted queries of the token heads, [N, K D]."""
        assert self.head_weights is not None
        names = self.tables.names
        queries = [
            for_similarity(self._token_loss(name).steps[0](h_NKD[:, s]), self.config.loss)
            for s, name in enumerate(names)
        ]
        return (torch.stack(queries, 1) * self.head_weights[:, None]).flatten(1)

    def _head_items(self, v_NKD: Tensor) -> Tensor:
        """The token vectors of items for the token heads, [N, K D]."""
        return for_similarity(v_NKD, self.config.loss).flatten(1)

    def _token_loss(self, name: str) -> MultiStepLoss:
        loss = self.token_lmp[module_name(name)]
        assert isinstance(loss, MultiStepLoss)
        return loss

    def _token_losses(
        self,
        h_NKD: Tensor,
        v_UKD: Tensor,
        step: "_Step",
        positions: PackedPositions,
        sums: LossSums,
    ) -> None:
        """The token-level LMP: H_N1[t, s] predicts v^s of the next items, for every token s of an item."""
        rows = self.sampler.token_rows(step.candidates)
        fewer = self.sampler.part(step.candidates, rows)
        step = replace(step, candidates=fewer, row_C=step.row_C[rows])
        names = self.tables.names
        total = self.config.loss.token_weight
        weight = 1.0 if total == "sum" else total / len(names)
        for s, name in enumerate(names):
            value_U = step.item_U
            if name != ITEM_ID:
                feature = s - (names[0] == ITEM_ID)
                value_U = self.table.value_IK[step.item_U.cpu(), feature].to(value_U.device)
            self._token_loss(name)(
                h_NKD[:, s],
                for_similarity(v_UKD[:, s], self.config.loss),
                positions,
                self._negatives(step, positions, value_U),
                sums,
                name=f"token/{name}",
                weight=weight,
            )

    def _draw(self, batch: Batch, seed: int) -> "_Step":
        """The negatives of a step, and the distinct items that it needs vectors of."""
        valid_BT = batch.valid_BT()
        item_N, user_N = batch.item_BT[valid_BT], valid_BT.nonzero()[:, 0]
        kept_N = ~self.retired_I[item_N]
        candidates = self.sampler.draw(item_N[kept_N], user_N[kept_N], seed)
        own, own_G = None, item_N[:0]
        if self.repeats is not None:
            own = draw_own_items(batch, self.config.model.repeats.earlier, seed)
            own_G = own.item_BG.flatten()
        # row 0 is item 0, padding
        needed = [item_N.new_zeros(1), item_N, candidates.item_C, own_G]
        item_U, row = torch.unique(torch.cat(needed), return_inverse=True)
        _, row_N, row_C, row_G = row.split([len(items) for items in needed])
        row_BT = torch.zeros_like(batch.item_BT).masked_scatter(valid_BT, row_N)
        return _Step(item_U, row_N, row_BT, candidates, row_C, own, row_G)

    def _item_negatives(
        self, step: "_Step", positions: PackedPositions, batch: Batch
    ) -> Negatives | OwnNegatives:
        """The negatives of the item level: with a repeat term, the items of the user's own history too."""
        negatives = self._negatives(step, positions, step.item_U)
        if self.repeats is None:
            return negatives
        assert step.own is not None
        assert isinstance(negatives, SharedNegatives)
        return OwnNegatives.of(
            negatives,
            self.repeats,
            batch,
            step.own,
            step.row_G.view_as(step.own.item_BG),
            step.item_U,
            self.listed_I & ~self.retired_I,
            self.popularity_I,
        )

    def _negatives(self, step: "_Step", positions: PackedPositions, value_U: Tensor) -> Negatives:
        if self.config.negatives.source == "in_batch_same_position":
            none_BT = (step.row_BT == 0) | self.retired_I[step.item_U[step.row_BT]]
            return SamePositionNegatives(step.row_BT.masked_fill(none_BT, -1), value_U)
        shared = SharedNegatives(step.row_C, step.candidates.log_q_C, value_U)
        if self.config.negatives.mask_same_user:
            user_N = globally_unique(positions.user_N)
            return replace(shared, user_C=step.candidates.user_C, user_N=user_N)
        return shared

    def _autocast(self, device: torch.device) -> AbstractContextManager[None]:
        enabled = self.config.train.precision == "bfloat16"
        return torch.autocast(device.type, dtype=torch.bfloat16, enabled=enabled)


def token_losses(config: Config, tables: ItemTables) -> nn.ModuleDict:
    """One MultiStepLoss per token of an item, by module name."""
    return nn.ModuleDict(
        {module_name(name): MultiStepLoss(config.loss, config.model.width) for name in tables.names}
    )


def _full(x: Tensor) -> Tensor:
    """Convert autocast's bfloat16 to float32; other types are unchanged."""
    return x.float() if x.dtype is torch.bfloat16 else x


def _packed(x_BTX: Tensor, positions: PackedPositions) -> Tensor:
    """The rows of all positions. A last position, which has no column and no target, repeats the row before it."""
    columns = x_BTX.shape[1]
    row_N = positions.user_N * columns + positions.time_N.clamp(max=columns - 1)
    return x_BTX.flatten(0, 1).index_select(0, row_N)


@dataclass(frozen=True, eq=False)
class _Step:
    """The items of a training step, and what was drawn for it.

    Attributes:
        item_U: the distinct items, ascending; row 0 is item 0, padding.
        row_N: rows of the batch's real items.
        row_BT: the same by history, 0 where padded.
        candidates: negatives of all positions.
        row_C: their rows.
        own: own items of the users; None without a repeat term.
        row_G: their rows, [B * G].
    """

    item_U: Tensor
    row_N: Tensor
    row_BT: Tensor
    candidates: Candidates
    row_C: Tensor
    own: DrawnItems | None
    row_G: Tensor
