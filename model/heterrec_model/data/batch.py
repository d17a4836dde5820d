"""A batch of users' histories, as tensors.

Shapes: B users, T items of the longest history in the batch, E items of all histories.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class HistoryItems:
    """Items of several histories, history after history, oldest first.

    Attributes:
        user_E: row of the batch, int64, ascending.
        item_E: item_index, int64.
        timestamp_E: milliseconds since 1970 (UTC), int64.
    """

    user_E: Tensor
    item_E: Tensor
    timestamp_E: Tensor


@dataclass(frozen=True, eq=False)
class Batch:
    """Histories, oldest item first, padded on the right.

    Right padding puts padded keys in the future of every real query, so a causal mask hides them.

    Attributes:
        item_BT: item_index, int64; 0 where padded.
        timestamp_BT: milliseconds since 1970 (UTC), int64; padded with the last timestamp of the history.
        length_B: number of real items, int64, at least 1.
        behaviour_BT: id of the behaviour, int64, 0 where padded; None if the generation has no behaviours.
        user_features: int64 tokens by feature: [B], or [B, L] padded with 0 for a multivalued feature.
        user_ids: ids of the users, for messages and results.
        targets: item_index of the targets in validation and test, one int64 tensor per user.
        first_target_B: in training, position of the first item of a history that is a target, int64; None if all are.
            Earlier items are targets in another row.
        earlier: the items of the generation's rows before those of item_BT; None if they were not read.
    """

    item_BT: Tensor
    timestamp_BT: Tensor
    length_B: Tensor
    behaviour_BT: Tensor | None
    user_features: Mapping[str, Tensor]
    user_ids: Sequence[str | int]
    targets: Sequence[Tensor] | None = None
    first_target_B: Tensor | None = None
    earlier: HistoryItems | None = None

    @property
    def users(self) -> int:
        """B."""
        return len(self.length_B)

    def valid_BT(self) -> Tensor:
        """True for real items, bool."""
        steps_T = torch.arange(self.item_BT.shape[1], device=self.item_BT.device)
        return steps_T[None, :] < self.length_B[:, None]

    def all_items(self) -> HistoryItems:
        """The whole histories: earlier items, and then those of item_BT."""
        user_N, column_N = self.valid_BT().nonzero(as_tuple=True)
        item_N, time_N = self.item_BT[user_N, column_N], self.timestamp_BT[user_N, column_N]
        if self.earlier is None:
            return HistoryItems(user_N, item_N, time_N)
        user_E = torch.cat([self.earlier.user_E, user_N])
        order_E = user_E.argsort(stable=True)
        item_E = torch.cat([self.earlier.item_E, item_N])[order_E]
        time_E = torch.cat([self.earlier.timestamp_E, time_N])[order_E]
        return HistoryItems(user_E[order_E], item_E, time_E)

    def without_last(self) -> "Batch":
        """Drop the last column, which has no next item to predict; a single column is kept."""
        columns = max(self.item_BT.shape[1] - 1, 1)
        return replace(
            self,
            item_BT=self.item_BT[:, :columns],
            timestamp_BT=self.timestamp_BT[:, :columns],
            length_B=self.length_B.clamp(max=columns),
            behaviour_BT=None if self.behaviour_BT is None else self.behaviour_BT[:, :columns],
        )

    def to(self, device: torch.device | str) -> "Batch":
        """Move the model inputs to a device; targets stay on the CPU."""

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
            earlier=None
            if self.earlier is None
            else HistoryItems(
                move(self.earlier.user_E), move(self.earlier.item_E), move(self.earlier.timestamp_E)
            ),
        )
