"""The lookup tables of Section 2.3: one vector of width D per feature of an item.

HTFL and the item tower share one `ItemTables`, so a feature value has the same embedding in both towers.
Shapes: N items, K tokens per item, D width, Z groups, F total width of an embedding feature's groups.
"""

import math
from collections.abc import Collection

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from heterrec_model.config import ModelConfig
from heterrec_model.data.chosen_features import FeatureInfo
from heterrec_model.data.token_table import TokenTable
from heterrec_model.layers.initial_codes import initial_weights
from heterrec_model.layers.narrow_lookup import narrow_lookup
from heterrec_schemas import MISSING
from heterrec_schemas.errors import CallError

ITEM_ID = "item_id"
FROZEN = ".vectors_IF"
"""End of the names of the buffers with frozen vectors."""


class ItemTables(nn.Module):
    """Embedding tables of all item features: maps item_index to d_i = {e^1 .. e^K}.

    Args:
        config: configuration of the model.
        table: tokens of the items.
        codes: the `code_vectors` of every embedding feature, for `embedding_init: quantizer`.
        sparse: whether the id table has sparse gradients.

    Raises:
        CallError: an item would have no token.
    """

    tokens_IC: Tensor
    trained_I: Tensor

    def __init__(
        self,
        config: ModelConfig,
        table: TokenTable,
        codes: dict[str, Tensor],
        *,
        sparse: bool = False,
    ) -> None:
        super().__init__()
        self.features = table.features
        self.names = ((ITEM_ID,) if config.item_id else ()) + tuple(f.name for f in table.features)
        check_tokens(config, len(table.features))
        self.id_dropout, self.share_missing = config.id_dropout, config.share_missing
        tokens_IC = with_item_rows(table, config.frozen) if config.frozen else table.tokens_IC
        self.register_buffer("tokens_IC", tokens_IC, persistent=False)
        # In checkpoints: a run that is warm-started from this one needs it.
        self.register_buffer("trained_I", table.trained_I.clone())
        if config.item_id:
            rows = len(table.tokens_IC)
            self.item_id = nn.Embedding(rows, config.width, sparse=sparse)
            nn.init.normal_(self.item_id.weight, std=config.table_std)
        self.tables = nn.ModuleDict(
            {
                module_name(f.name): FrozenTable(len(tokens_IC), f.dim, config)
                if f.name in config.frozen
                else feature_table(f, config, codes)
                for f in self.features
            }
        )

    @property
    def tokens(self) -> int:
        """K."""
        return len(self.names)

    def keep_tokens_here(self) -> None:
        """Keep the item tokens on their device when the model is moved; lookups then copy between devices."""
        tokens_IC = self.tokens_IC
        del self.tokens_IC
        self.tokens_IC = tokens_IC  # no buffer any more

    def known_ids(self, item_N: Tensor) -> Tensor:
        """Rows of the id table: with `share_missing`, items without training interactions share the row for missing.

        In training this row randomly replaces other ids, so its embedding is trained too.
        """
        known_N = item_N
        if self.share_missing:
            known_N = torch.where(self.trained_I[item_N], item_N, MISSING)
        if self.training and self.id_dropout:
            dropped_N = torch.rand(len(item_N), device=item_N.device) < self.id_dropout
            known_N = torch.where(dropped_N, MISSING, known_N)
        return known_N

    def forward(self, item_N: Tensor) -> Tensor:
        """e_NKD of the items; the id is the first token, the features follow in the order of the spec."""
        tokens_NC = self.tokens_IC[item_N.to(self.tokens_IC.device)].to(item_N.device)
        return self.embed(self.known_ids(item_N), tokens_NC)

    def embed(self, row_N: Tensor, tokens_NC: Tensor) -> Tensor:
        """e_NKD of items from their rows of the id table, which are not read without such a table, and their tokens."""
        parts = [self.item_id(row_N)] if self.names[:1] == (ITEM_ID,) else []
        for feature in self.features:
            cells = tokens_NC[:, feature.start : feature.start + feature.columns].long()
            parts.append(self.tables[module_name(feature.name)](cells))
        return torch.stack(parts, dim=1)


class CategoryTable(nn.Module):
    """Table of a categorical or numeric feature: one row per token; the tokens of a cell are averaged without padding."""

    def __init__(self, size: int, width: int, std: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(size, width))
        nn.init.normal_(self.weight, std=std)

    def forward(self, tokens_NL: Tensor) -> Tensor:
        """Embeddings of cells with L tokens, 0 where padded: [N, D]."""
        if tokens_NL.shape[1] == 1:
            return F.embedding(tokens_NL[:, 0], self.weight)
        if (
            torch.compiler.is_exporting()
        ):  # ONNX has no operator for a bag: it would be a loop over cells
            real_NL1 = (tokens_NL != 0).to(self.weight.dtype).unsqueeze(-1)
            summed_ND = (F.embedding(tokens_NL, self.weight) * real_NL1).sum(1)
            return summed_ND / real_NL1.sum(1).clamp(min=1)
        return F.embedding_bag(tokens_NL, self.weight, mode="mean", padding_idx=0)


class GroupTable(nn.Module):
    """Table of an embedding feature: Z lookups of width F / Z, concatenated, then projected to D unless F is D.

    Each group has its own rows, or all groups share theirs. The levels of a residual quantizer are groups here: the
    projection of their concatenation contains their sum, the composition that residual quantization has in mind.

    Raises:
        CallError: F has to be D, and Z does not divide it.
    """

    offsets_Z: Tensor

    def __init__(self, feature: FeatureInfo, config: ModelConfig, codes: Tensor | None) -> None:
        super().__init__()
        groups, shared = feature.groups, config.group_tables == "shared"
        check_group_width(feature.name, groups, feature.quantizer, feature.width, config)
        least = config.width if config.embedding_width == "width" else config.embedding_width
        group_width = math.ceil(max(least, groups) / groups)
        composed = group_width * groups
        if codes is None:
            tables = 1 if shared else groups
            weight = torch.randn(tables, feature.size, group_width) * config.table_std
        else:
            weight = initial_weights(codes, feature.size, group_width, config.table_std)
        self.weight = nn.Parameter(weight.flatten(0, 1))
        offsets = torch.arange(groups) * (0 if shared else feature.size)
        self.register_buffer("offsets_Z", offsets, persistent=False)
        self.project: nn.Module = nn.Identity()
        if composed != config.width:
            self.project = nn.Linear(composed, config.width, bias=False)
            nn.init.normal_(self.project.weight, std=1 / math.sqrt(composed))

    def forward(self, tokens_NZ: Tensor) -> Tensor:
        """Embeddings of the tokens of all groups: [N, D]."""
        composed: Tensor = self.project(
            narrow_lookup(tokens_NZ + self.offsets_Z, self.weight).flatten(1)
        )
        return composed


class FrozenTable(nn.Module):
    """Frozen vectors of an embedding feature, projected to D by one matrix: the alternative to its tokens.

    A buffer, which checkpoints contain, holds the vectors of all items: zero until `fill`, and for items without one, which
    share an embedding for missing.
    """

    vectors_IF: Tensor
    scale: Tensor

    def __init__(self, items: int, dim: int, config: ModelConfig) -> None:
        super().__init__()
        self.std = config.table_std
        self.register_buffer("vectors_IF", torch.zeros(items, dim))
        self.register_buffer("scale", torch.ones(()))
        self.project = nn.Linear(dim, config.width, bias=False)
        nn.init.normal_(self.project.weight, std=1 / math.sqrt(dim))
        self.missing = nn.Parameter(torch.randn(config.width) * config.table_std)

    def fill(self, vectors_IF: Tensor) -> None:
        """Set the vectors, and their scale, with which initial embeddings are as long as those of other features."""
        self.vectors_IF.copy_(vectors_IF)
        known_IF = vectors_IF[(vectors_IF != 0).any(1)]
        self.scale.copy_(self.std / known_IF.square().mean().sqrt().clamp(min=1e-12))

    def forward(self, cells_NZ: Tensor) -> Tensor:
        """Embeddings of items, [N, D]; the first column of their cells is item_index."""
        vectors_NF = F.embedding(cells_NZ[:, 0], self.vectors_IF)
        known_N1 = (vectors_NF != 0).any(1, keepdim=True)
        return torch.where(known_N1, self.project(vectors_NF * self.scale), self.missing)


def with_item_rows(table: TokenTable, frozen: Collection[str]) -> Tensor:
    """The tokens of the items with item_index as the first token of some features, int32 [I, C]."""
    tokens_IC = table.tokens_IC.clone()
    for feature in table.features:
        if feature.name in frozen:
            tokens_IC[:, feature.start] = torch.arange(len(tokens_IC), dtype=tokens_IC.dtype)
    return tokens_IC


def check_tokens(config: ModelConfig, features: int) -> None:
    """Check that an item with some number of features has a token.

    Raises:
        CallError: it has none.
    """
    if not (features or config.item_id):
        raise CallError(
            "an item needs a token",
            got="model.item_id: false and no item feature",
            todo="Set model.item_id: true, or use a generation with item features.",
        )


def check_group_width(
    name: str, groups: int, quantizer: str, dim: int, config: ModelConfig
) -> None:
    """Check that an embedding feature of `groups` groups fits `embedding_width: width`.

    Args:
        name: of the feature.
        groups: Z, or the number of levels.
        quantizer: of the feature.
        dim: number of dimensions that were quantised, which other numbers of groups, but not of levels, have to divide too.
        config: of the model.

    Raises:
        CallError: Z does not divide D.
    """
    width = config.width
    if config.embedding_width != "width" or width % groups == 0:
        return
    word, limit = (
        ("levels", "") if quantizer == "rq" else ("groups", f" that its {dim} dimensions allow")
    )
    most = width if quantizer == "rq" else math.gcd(width, dim)
    nearest = min(
        (z for z in range(1, most + 1) if most % z == 0), key=lambda z: (abs(z - groups), z)
    )
    raise CallError(
        f"model.embedding_width: width: the {word} of feature {name!r} do not divide model.width",
        got=f"{groups} {word} and model.width: {width}",
        expected=f"a divisor of {width}: the nearest{limit} is {nearest}",
        todo=f"Build the generation with {word}: {nearest}, set model.width to a multiple of {groups}, or set "
        "model.embedding_width to a number, which adds a projection.",
    )


def module_name(feature: str) -> str:
    """Name of a feature's submodule: PyTorch reserves names such as `type` and `items`."""
    return f"feature_{feature}"


def feature_table(feature: FeatureInfo, config: ModelConfig, codes: dict[str, Tensor]) -> nn.Module:
    """The table for a feature's kind."""
    if feature.kind == "embedding":
        return GroupTable(feature, config, codes.get(feature.name))
    return CategoryTable(feature.size, config.width, config.table_std)
