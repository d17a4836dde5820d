"""The bodies of requests, and their limits."""

import json
from typing import Annotated, Any, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from heterrec_model.recommending.history import History
from heterrec_model.service.problems import bad_request, of_validation

MOST_BYTES = 65_536
"""Bytes of a body."""
MOST_K = 1_000
"""Largest number of items of an answer."""
MOST_USERS = 16
"""Largest number of users, or of items of /similar, in a request."""
MOST_VECTORS = 256
"""Largest number of items of /vectors."""
MOST_EVENTS = 1_000
"""Largest number of items of a history."""

Whole = Annotated[int, Field(ge=-(2**63), lt=2**63)]
Text = Annotated[str, Field(min_length=1, max_length=1_000)]
Id = Whole | Text
Value = Id | list[Id]
Scalar = Whole | float | bool | Annotated[str, Field(max_length=1_000)] | None


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class HistoryBody(_Body):
    """What a person did, who need not be in the bundle.

    Attributes:
        items: ids, oldest first.
        times: one per item, not descending: milliseconds since 1970 or ISO 8601 (without a zone: UTC); null if unknown.
        behaviours: one per item; null if unknown.
        user_features: values by feature.
    """

    items: Annotated[list[Id], Field(max_length=MOST_EVENTS)]
    times: Annotated[list[Id], Field(max_length=MOST_EVENTS)] | None = None
    behaviours: Annotated[list[Text], Field(max_length=MOST_EVENTS)] | None = None
    user_features: dict[Text, Scalar | list[Scalar]] = {}

    @model_validator(mode="after")
    def _same_length(self) -> Self:
        for name, column in (("times", self.times), ("behaviours", self.behaviours)):
            if column is not None and len(column) != len(self.items):
                raise ValueError(
                    f"as many {name} as items: got {len(column):,} of {len(self.items):,}"
                )
        return self

    def history(self) -> History:
        """The history as the recommender takes it."""
        return History(self.items, self.times, self.behaviours, self.user_features)


class _Filtered(_Body):
    k: Annotated[int, Field(ge=1, le=MOST_K)] = 10
    allow: list[Id] | None = None
    deny: list[Id] = []
    where: dict[Text, Value] | None = None
    words: bool = False


class _OfUsers(_Body):
    user: Id | None = None
    users: Annotated[list[Id], Field(min_length=1, max_length=MOST_USERS)] | None = None
    history: HistoryBody | None = None

    def who(self) -> list[Id] | None:
        """The users; None for a history."""
        return self.users if self.user is None else [self.user]


class RecommendBody(_Filtered, _OfUsers):
    """The body of POST /recommend: one of `user`, `users` and `history`.

    Attributes:
        user: id of a user.
        users: ids of several users.
        history: of a person who need not be in the bundle.
        k: number of items; fewer are returned only if fewer are allowed.
        allow: ids of the items that may be recommended; null allows all.
        deny: ids of items that are left out.
        where: values by feature; an item needs one of the values of every feature.
        filter_seen: whether items of the whole history are left out.
        words: whether items are described by their features, and the history is returned.
    """

    filter_seen: bool = False

    @model_validator(mode="after")
    def _one(self) -> Self:
        return _exactly_one(self, "user", "users", "history")


class SimilarBody(_Filtered):
    """The body of POST /similar.

    Attributes:
        items: ids; each gets an answer of its own.
        k, allow, deny, where, words: as in /recommend.
    """

    items: Annotated[list[Id], Field(min_length=1, max_length=MOST_USERS)]


class VectorsBody(_OfUsers):
    """The body of POST /vectors: one of `user`, `users`, `history` and `items`.

    Attributes:
        user, users, history: as in /recommend.
        items: ids of items.
    """

    items: Annotated[list[Id], Field(min_length=1, max_length=MOST_VECTORS)] | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        return _exactly_one(self, "user", "users", "history", "items")


BodyT = TypeVar("BodyT", bound=_Body)


def _exactly_one(body: BodyT, *names: str) -> BodyT:
    given = [name for name in names if getattr(body, name) is not None]
    if len(given) != 1:
        raise ValueError(f"exactly one of {', '.join(names)}: got {' and '.join(given) or 'none'}")
    return body


def parse(raw: bytes, model: type[BodyT]) -> BodyT:
    """The body of a request.

    Raises:
        RefusedError: 400 if it is no JSON object in UTF-8, 422 if fields are wrong.
    """
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise bad_request("the body is not UTF-8", f"byte {error.start:,}") from None
    try:
        found = json.loads(text, object_pairs_hook=_object, parse_constant=_no_constant)
    except RecursionError:
        raise bad_request("the body is nested too deeply") from None
    except ValueError as error:
        got = "nothing" if not text.strip() else error
        raise bad_request("the body is no JSON", got, "a JSON object") from None
    if not isinstance(found, dict):
        raise bad_request("the body is no JSON object", type(found).__name__, "a JSON object")
    if "\\u" in text:
        _check_surrogates(found)
    try:
        return model.model_validate(found)
    except ValidationError as error:
        raise of_validation(error.errors(), list(model.model_fields)) from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice[:100]!r} twice")
    return found


def _no_constant(word: str) -> Any:
    raise ValueError(f"{word}, which is no JSON number")


def _check_surrogates(found: dict[str, Any]) -> None:
    try:
        json.dumps(found, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        raise bad_request("the body has an incomplete surrogate pair", expected="pairs") from None
