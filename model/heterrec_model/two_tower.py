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
from heterrec_model.loss.lmp import LossSums, MultiStepLoss, for_similarity, reduce_losses
from heterrec_model.loss.negative_logits import (
    Negatives,
    PackedPositions,
    SamePositionNegatives,
    SharedNegatives,
    pack_positions,
)

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
    listed_I: Tensor
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
        listed_I = torch.zeros(len(table.train_count_I), dtype=torch.bool)
        listed_I[table.catalogue_N] = True
        listed_I[table.retired_M] = True
        self.register_buffer("listed_I", listed_I, persistent=False)
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
        valid_BT = batch.valid_BT()
        item_N = batch.item_BT[valid_BT]
        user_N = valid_BT.nonzero()[:, 0]
        retired_N = self.retired_I[item_N]
        candidates = self.sampler.draw(item_N[~retired_N], user_N[~retired_N], seed)
        # row 0 is item 0, padding
        item_U, row = torch.unique(
            torch.cat([item_N.new_zeros(1), item_N, candidates.item_C]), return_inverse=True
        )
        row_N, row_C = row[1 : 1 + len(item_N)], row[1 + len(item_N) :]
        row_BT = torch.zeros_like(batch.item_BT).masked_scatter(valid_BT, row_N)
        with self._autocast(item_N.device):
            e_UKD = self.tables(item_U)
            v_UKD, v_UD = self.tower(e_UKD)
            positions = self.positions_of(batch, row_N, self.listed_I[item_N])
            encoded = self.training_states(e_UKD, row_BT, batch, positions)
        shared_BT = valid_BT.masked_scatter(valid_BT, ~retired_N)
        step = _Step(positions, candidates, row_C, row_BT.masked_fill(~shared_BT, -1), item_U)
        sums = LossSums()
        self.item_lmp(
            _full(_packed(encoded.u_BTD, positions)),
            for_similarity(_full(v_UD), self.config.loss),
            positions,
            self._negatives(step, item_U),
            sums,
            name="item",
        )
        if len(self.token_lmp):
            assert encoded.h_BTKD is not None
            self._token_losses(_full(_packed(encoded.h_BTKD, positions)), _full(v_UKD), step, sums)
        total, terms, shares = reduce_losses(sums, self.config.loss.normalise)
        metrics = {}
        if self.item_lmp.gated:
            metrics = {OPEN_GATES + n: s for n, s in shares.items() if not n.endswith("_step1")}
        metrics["positions"] = sums.possible["item_step1"]
        return StepOutput(total, terms, metrics)

    def user_vectors(self, batch: Batch) -> Tensor:
        """W_1 u at every user's last item, for dot products with item vectors: [B, D]."""
        with self._autocast(batch.item_BT.device):
            e_BTKD = self.tables(batch.item_BT.flatten()).unflatten(0, batch.item_BT.shape)
            u_B1D = self.encode(e_BTKD, batch, batch.length_B - 1).u_BTD
        return self.for_items(u_B1D.squeeze(1))

    def for_items(self, u_BD: Tensor) -> Tensor:
        """W_1 u, for dot products with item vectors: [B, D]."""
        return for_similarity(self.item_lmp.steps[0](_full(u_BD)), self.config.loss)

    def item_vectors(self, item_N: Tensor) -> Tensor:
        """V of some items, for dot products with user vectors: [N, D]."""
        with self._autocast(item_N.device):
            v_ND = self.tower(self.tables(item_N))[1]
        return for_similarity(_full(v_ND), self.config.loss)

    def sparse_parameters(self) -> list[Tensor]:
        """The tables with sparse gradients."""
        return [m.weight for m in self.modules() if isinstance(m, nn.Embedding) and m.sparse]

    def no_decay(self, name: str) -> bool:
        """Whether a parameter is excluded from weight decay: biases, norms, time-gap tables."""
        excluded = {"norm", "norms", "last_norm", "time_gap"}
        return name.endswith("bias") or not excluded.isdisjoint(name.split("."))

    def _token_losses(self, h_NKD: Tensor, v_UKD: Tensor, step: "_Step", sums: LossSums) -> None:
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
            self.token_lmp[module_name(name)](
                h_NKD[:, s],
                for_similarity(v_UKD[:, s], self.config.loss),
                step.positions,
                self._negatives(step, value_U),
                sums,
                name=f"token/{name}",
                weight=weight,
            )

    def _negatives(self, step: "_Step", value_U: Tensor) -> Negatives:
        if self.config.negatives.source == "in_batch_same_position":
            return SamePositionNegatives(step.row_BT, value_U)
        shared = SharedNegatives(step.row_C, step.candidates.log_q_C, value_U)
        if self.config.negatives.mask_same_user:
            user_N = globally_unique(step.positions.user_N)
            return replace(shared, user_C=step.candidates.user_C, user_N=user_N)
        return shared

    def _autocast(self, device: torch.device) -> AbstractContextManager[None]:
        enabled = self.config.train.precision == "bfloat16"
        return torch.autocast(device.type, dtype=torch.bfloat16, enabled=enabled)


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
    """Inputs that both levels of the loss share."""

    positions: PackedPositions
    candidates: Candidates
    row_C: Tensor
    row_BT: Tensor
    item_U: Tensor
