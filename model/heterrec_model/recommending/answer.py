"""What a caller asks for, and the answer.

Shapes: K items of an answer.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from heterrec_model.bundle.files import Identity
from heterrec_model.recommending.history import Key

POPULAR = "popular"
"""Value of `Answer.fallback` for the items that are popular with all users."""
POPULAR_IN_SEGMENT = "popular_in_segment"
"""Value of `Answer.fallback` for the items that are popular with the users of the same segment."""


@dataclass(frozen=True)
class Filters:
    """Which items may be recommended.

    Attributes:
        allow: ids of items; None allows all.
        deny: ids of items that are left out.
        where: values by feature; an item needs one of the values of every feature. A path such as `DELI > MEATS` of a nested
            feature stands for everything below it.
        filter_seen: whether items of the whole history are left out.
    """

    allow: Sequence[Key] | None = None
    deny: Sequence[Key] = ()
    where: Mapping[str, Key | Sequence[Key]] | None = None
    filter_seen: bool = False


@dataclass(frozen=True)
class Answer:
    """The recommended items of one user.

    Attributes:
        user: id of the user; None for a history.
        item_ids: best first; min(k, allowed items) of them.
        item_index: likewise.
        scores: likewise: dot products; for popular items their number of interactions.
        fallback: None if the model answered, else how the items were chosen: POPULAR or POPULAR_IN_SEGMENT.
        segment: of POPULAR_IN_SEGMENT.
        known_user: whether the user has a history here; None for a history.
        unknown_items: ids of the history that are no items.
        identity: of the generation, the checkpoint and the bundle.
    """

    user: Key | None
    item_ids: list[Key]
    item_index: list[int]
    scores: list[float]
    fallback: str | None
    segment: str | None
    known_user: bool | None
    unknown_items: tuple[Key, ...]
    identity: Identity

    def to_json(self) -> dict[str, Any]:
        """The answer as plain data: one object per item."""
        columns = zip(self.item_ids, self.item_index, self.scores, strict=True)
        return {
            "user": self.user,
            "items": [
                {"item_id": item, "item_index": index, "score": score}
                for item, index, score in columns
            ],
            "fallback": self.fallback,
            "segment": self.segment,
            "known_user": self.known_user,
            "unknown_items": list(self.unknown_items),
            **self.identity.model_dump(exclude_none=True),
        }
