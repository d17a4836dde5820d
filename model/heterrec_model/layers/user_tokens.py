"""User features as prefix tokens of the item level, Section 2.4.

Shapes: B users, P prefix tokens, D width.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from heterrec_model.config import ModelConfig
from heterrec_model.data.chosen_features import FeatureInfo
from heterrec_model.layers.embedding_tables import feature_table, module_name


class UserTokens(nn.Module):
    """One token per user feature, in the order of the spec; tables of embedding features are initialised at random."""

    def __init__(self, config: ModelConfig, features: Sequence[FeatureInfo]) -> None:
        super().__init__()
        self.names = [f.name for f in features]
        self.tables = nn.ModuleDict(
            {module_name(f.name): feature_table(f, config, codes={}) for f in features}
        )
        self.norm = nn.LayerNorm(config.width) if features else nn.Identity()

    def forward(self, user_features: Mapping[str, Tensor]) -> Tensor | None:
        """The prefix tokens [B, P, D], or None without user features."""
        if not self.names:
            return None
        parts = []
        for name in self.names:
            tokens = user_features[name]
            table = self.tables[module_name(name)]
            parts.append(table(tokens if tokens.dim() == 2 else tokens[:, None]))
        prefix_BPD: Tensor = self.norm(torch.stack(parts, dim=1))
        return prefix_BPD
