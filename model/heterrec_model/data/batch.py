"""A batch of users' histories, as tensors.

Shapes: B users, T items of the longest history in the batch.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Batch:
    """Histories, oldest item first, padded on the right.

    Padding on the right keeps padded keys in the future of every real query, so that a causal mask hides them.

    Attributes:
        item_BT: item_index, int64; 0 where padded.
        timestamp_BT: milliseconds since 1970 (UTC), int64; where padded, the history's last.
        length_B: the number of real items, int64, at least 1.
        behaviour_BT: the behaviour's id, int64, 0 where padded; None where the generation has none.
        user_features: int64 tokens by feature: [B], or [B, L] padded with 0 for a multivalued feature.
        user_ids: whose histories these are, for messages and answers.
        targets: for validation and test: the item_index of every target, an int64 tensor a user.
        first_target_B: in training, the place of the first item of a history that is a target of its loss, int64; None: all
            are. Items before it were trained on in another row.
    """

    item_BT: Tensor
    timestamp_BT: Tensor
    length_B: Tensor
    behaviour_BT: Tensor | None
    user_features: Mapping[str, Tensor]
    user_ids: Sequence[str | int]
    targets: Sequence[Tensor] | None = None
    first_target_B: Tensor | None = None

    @property
    def users(self) -> int:
        """B."""
        return len(self.length_B)

    def valid_BT(self) -> Tensor:
        """True where there is an item, bool."""
        steps_T = torch.arange(self.item_BT.shape[1], device=self.item_BT.device)
        return steps_T[None, :] < self.length_B[:, None]

    def without_last(self) -> "Batch":
        """Histories without the last column, behind which nothing comes that could be predicted; a single one stays."""
        columns = max(self.item_BT.shape[1] - 1, 1)
        return replace(
            self,
            item_BT=self.item_BT[:, :columns],
            timestamp_BT=self.timestamp_BT[:, :columns],
            length_B=self.length_B.clamp(max=columns),
            behaviour_BT=None if self.behaviour_BT is None else self.behaviour_BT[:, :columns],
        )

    def to(self, device: torch.device | str) -> "Batch":
        """The same batch with its model inputs on a device; targets stay where they are."""

        def move(x: Tensor) -> Tensor:
            return x.to(device, non_blocking=True)

        return replace(
            self,
            item_BT=move(self.item_BT),
            timestamp_BT=move(self.timestamp_BT),
            length_B=move(self.length_B),
            behaviour_BT=None if self.behaviour_BT is None else move(self.behaviour_BT),
            user_features={name: move(x) for name, x in self.user_features.items()},
            first_target_B=None if self.first_target_B is None else move(self.first_target_B),
        )
