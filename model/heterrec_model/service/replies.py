"""The bodies of answers, as the OpenAPI description shows them."""

from typing import Any

from pydantic import BaseModel, ConfigDict

from heterrec_model.recommending.history import Key


class _Reply(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _OfBundle(_Reply):
    generation: str
    content_sha256: str
    model: str
    checkpoint: str
    fingerprint: str


class Item(_Reply):
    """A recommended item; `features` in words if the request asks for words.

    `score` is a dot product, and in a fallback the number of interactions.
    """

    item_id: Key
    item_index: int
    score: float
    features: dict[str, str] | None = None


class Event(_Reply):
    """An item of a history in words; `time_ms` counts milliseconds since 1970."""

    item_id: Key | None
    item_index: int
    time_ms: int
    behaviour: str | None = None
    features: dict[str, str] | None = None


class OneAnswer(_Reply):
    """The items of one user, or those similar to one item.

    `fallback` is null if the model answered, else `popular` or `popular_in_segment`. `known_user` says whether the user has a
    history in the bundle. `unknown_items` are ids of the history that are no items.
    """

    user: Key | None = None
    item: Key | None = None
    items: list[Item]
    fallback: str | None = None
    segment: str | None = None
    known_user: bool | None = None
    unknown_items: list[Key] = []
    history: list[Event] | None = None


class Answers(_OfBundle):
    """One answer per user or item, in the order of the request."""

    answers: list[OneAnswer]


class Vector(_Reply):
    """The vector of a user or an item; null for a user without a history."""

    user: Key | None = None
    item: Key | None = None
    known_user: bool | None = None
    unknown_items: list[Key] = []
    vector: list[float] | None


class Vectors(_OfBundle):
    """One vector per user or item, in the order of the request."""

    width: int
    vectors: list[Vector]


class Examples(_OfBundle):
    """What the page offers: some users and items, features of the filter, behaviours."""

    users: list[Key]
    items: list[dict[str, Any]]
    features: list[str]
    behaviours: list[str]


class Health(_Reply):
    """`ok`, or `stopping` while the service drains."""

    status: str


class Ready(_OfBundle):
    """`ok` with the bundle in use, or `stopping` while the service drains."""

    status: str
