"""The lookup tables of Section 2.3: every feature of an item becomes one vector of width D.

HTFL and the item tower share one `ItemTables`, so that a feature value means the same on both sides.
Shapes: N items, K tokens an item, D width, Z groups, F width of an embedding feature's composed groups.
"""

import math
from statistics import NormalDist

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from heterrec_model.config import ModelConfig
from heterrec_model.data.features import FeatureInfo
from heterrec_model.data.token_table import TokenTable
from heterrec_model.layers.narrow_lookup import narrow_lookup
from heterrec_schemas import MISSING
from heterrec_schemas.errors import CallError

ITEM_ID = "item_id"


class ItemTables(nn.Module):
    """Item indices in, the embeddings d_i = {e^1 .. e^K} out.

    Args:
        config: the model's settings.
        table: the generation's items.
        edges: the quantile edges [q - 1, dim] of every embedding feature, for `embedding_init: quantizer`.
        sparse: whether the id's table has sparse gradients.

    Raises:
        CallError: there is nothing to look up.
    """

    tokens_IC: Tensor
    trained_I: Tensor

    def __init__(
        self,
        config: ModelConfig,
        table: TokenTable,
        edges: dict[str, Tensor],
        *,
        sparse: bool = False,
    ) -> None:
        super().__init__()
        self.features = table.features
        self.names = ((ITEM_ID,) if config.item_id else ()) + tuple(f.name for f in table.features)
        if not self.names:
            raise CallError(
                "an item needs a token",
                got="model.item_id: false and no item feature",
                todo="Set model.item_id: true, or take a generation with item features.",
            )
        self.id_dropout = config.id_dropout
        self.register_buffer("tokens_IC", table.tokens_IC, persistent=False)
        self.register_buffer("trained_I", table.train_count_I > 0, persistent=False)
        if config.item_id:
            rows = len(table.tokens_IC)
            self.item_id = nn.Embedding(rows, config.width, sparse=sparse)
            nn.init.normal_(self.item_id.weight, std=config.table_std)
        self.tables = nn.ModuleDict(
            {module_name(f.name): feature_table(f, config, edges) for f in self.features}
        )

    @property
    def tokens(self) -> int:
        """K."""
        return len(self.names)

    def keep_tokens_here(self) -> None:
        """Leave the items' tokens where they are when the model is moved; lookups then cross to its device."""
        tokens_IC = self.tokens_IC
        del self.tokens_IC
        self.tokens_IC = tokens_IC  # no buffer any more

    def known_ids(self, item_N: Tensor) -> Tensor:
        """The rows of the id table: items that were never trained on share the row for missing.

        In training the same row takes the place of some other ids at random, and so learns what an unknown item is like.
        """
        known_N = torch.where(self.trained_I[item_N], item_N, MISSING)
        if self.training and self.id_dropout:
            dropped_N = torch.rand(len(item_N), device=item_N.device) < self.id_dropout
            known_N = torch.where(dropped_N, MISSING, known_N)
        return known_N

    def forward(self, item_N: Tensor) -> Tensor:
        """e_NKD of the items; the id is the first token, the features follow in the spec's order."""
        tokens_NC = self.tokens_IC[item_N.to(self.tokens_IC.device)].to(item_N.device)
        parts = [self.item_id(self.known_ids(item_N))] if self.names[:1] == (ITEM_ID,) else []
        for feature in self.features:
            cells = tokens_NC[:, feature.start : feature.start + feature.columns].long()
            parts.append(self.tables[module_name(feature.name)](cells))
        return torch.stack(parts, dim=1)


class CategoryTable(nn.Module):
    """A categorical or numeric feature: one row a token; several tokens of a cell are averaged, padding left out."""

    def __init__(self, size: int, width: int, std: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(size, width))
        nn.init.normal_(self.weight, std=std)

    def forward(self, tokens_NL: Tensor) -> Tensor:
        """[N, D] of cells with L tokens, 0 where padded."""
        if tokens_NL.shape[1] == 1:
            return F.embedding(tokens_NL[:, 0], self.weight)
        return F.embedding_bag(tokens_NL, self.weight, mode="mean", padding_idx=0)


class GroupTable(nn.Module):
    """An embedding feature: Z lookups of width F / Z, concatenated, then projected to D where F is not D."""

    offsets_Z: Tensor

    def __init__(self, feature: FeatureInfo, config: ModelConfig, edges: Tensor | None) -> None:
        super().__init__()
        groups = feature.groups
        group_width = math.ceil(max(config.embedding_width, groups) / groups)
        composed = group_width * groups
        if edges is None:
            weight = torch.randn(groups, feature.size, group_width) * config.table_std
        else:
            weight = bin_centres(feature, edges, group_width, config.table_std)
        self.weight = nn.Parameter(weight.flatten(0, 1))
        offsets = torch.arange(groups) * feature.size
        self.register_buffer("offsets_Z", offsets, persistent=False)
        self.project: nn.Module = nn.Identity()
        if composed != config.width:
            self.project = nn.Linear(composed, config.width, bias=False)
            nn.init.normal_(self.project.weight, std=1 / math.sqrt(composed))

    def forward(self, tokens_NZ: Tensor) -> Tensor:
        """[N, D] of the groups' tokens."""
        composed: Tensor = self.project(
            narrow_lookup(tokens_NZ + self.offsets_Z, self.weight).flatten(1)
        )
        return composed


def bin_centres(feature: FeatureInfo, edges: Tensor, width: int, std: float) -> Tensor:
    """Where the groups' tables start: each code at the centre of its bins, [Z, size, width].

    A dimension is taken as normal: with two edges or more its spread is fitted to them, with one it is 1. Centres are
    the expected values of the standard normal inside the bins, times the spread, less the mean. A group of m dimensions
    is turned to `width` numbers by a random matrix unless m is `width`; all is scaled to the standard deviation `std`.
    Codes that stand for no bin (padding, missing) start at zero.
    """
    q, groups = feature.quantiles, feature.groups
    dims = feature.dim // groups
    normal = NormalDist()
    cuts = [normal.inv_cdf(i / q) for i in range(1, q)]
    heights = [0.0, *(normal.pdf(c) for c in cuts), 0.0]
    centres_q = torch.tensor([(heights[i] - heights[i + 1]) * q for i in range(q)])
    spread_D = torch.ones(feature.dim)
    if q > 2:
        cuts_q = torch.tensor(cuts)[:, None]
        spread_D = (edges * cuts_q).sum(0) / (cuts_q * cuts_q).sum()
    codes = torch.arange(q**dims)
    bins = torch.stack([(codes // q**j) % q for j in range(dims)], dim=1)
    values = centres_q[bins][None] * spread_D.view(groups, 1, dims)
    if width != dims:
        values = values @ torch.randn(groups, dims, width)
    weight = torch.zeros(groups, feature.size, width)
    weight[:, feature.size - len(codes) :] = values * (std / values.std().clamp(min=1e-12))
    return weight


def module_name(feature: str) -> str:
    """What a feature's modules are called: PyTorch keeps names such as `type` and `items` for itself."""
    return f"feature_{feature}"


def feature_table(feature: FeatureInfo, config: ModelConfig, edges: dict[str, Tensor]) -> nn.Module:
    """The table that a feature's kind needs."""
    if feature.kind == "embedding":
        return GroupTable(feature, config, edges.get(feature.name))
    return CategoryTable(feature.size, config.width, config.table_std)
