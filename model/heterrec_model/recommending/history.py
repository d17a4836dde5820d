"""Histories: as a caller gives them, and as the model reads them.

Shapes: T items of a history.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Key = int | str


@dataclass(frozen=True)
class History:
    """What a person did, who may be in no generation.

    Attributes:
        items: ids of items, oldest first.
        times: one per item, not descending: datetimes (without a zone: UTC), ISO 8601 texts, or milliseconds since 1970; None
            if unknown, all gaps are then 0.
        behaviours: one per item, if the generation has behaviours; None if unknown.
        user_features: values of user features by name; absent ones count as missing.
    """

    items: Sequence[Key]
    times: Sequence[datetime | str | int] | None = None
    behaviours: Sequence[str] | None = None
    user_features: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class EncodedHistory:
    """A history in the ids of a generation.

    Attributes:
        item_T: item_index of all its items, oldest first: more than the model reads; int64.
        time_T: milliseconds since 1970 (UTC), int64.
        behaviour_T: ids of behaviours, int64; None if the generation has none.
        user_features: tokens by feature, int64 [columns]; lists without padding.
        segment: value of the feature that `popular.parquet` has its segments by, None if it is unknown.
        unknown: ids that are no items, as the caller gave them; `item_T` lacks them.
    """

    item_T: Ints
    time_T: Ints
    behaviour_T: Ints | None
    user_features: Mapping[str, Ints]
    segment: str | None = None
    unknown: tuple[Key, ...] = ()

    def __len__(self) -> int:
        return len(self.item_T)
