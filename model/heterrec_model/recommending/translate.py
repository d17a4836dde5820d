"""A caller's history in the ids of a generation."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from heterrec_model.bundle.files import UserFeature
from heterrec_model.recommending.catalogue import Catalogue
from heterrec_model.recommending.history import EncodedHistory, History
from heterrec_schemas.errors import CallError, suggest
from heterrec_schemas.hashing import stable_hash
from heterrec_schemas.tables import END_MS
from heterrec_schemas.tokens import FIRST_FREE, MISSING
from heterrec_schemas.values import value_text

Ints = npt.NDArray[np.int64]


class Translator:
    """Maps ids, times, names of behaviours and values of user features to what the model reads.

    Args:
        catalogue: the items.
        behaviours: names in the order of their ids; empty without behaviours.
        user_features: that the model reads.
        values: feature, value, token of the categorical user features.
        segment_by: user feature of the segments of popular items.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        behaviours: Sequence[str],
        user_features: Sequence[UserFeature],
        values: pa.Table,
        segment_by: str | None,
    ) -> None:
        self._catalogue, self._behaviours = catalogue, list(behaviours)
        self._features = {feature.name: feature for feature in user_features}
        self._segment_by = segment_by
        self._tokens: dict[str, dict[str, int]] = {}
        columns = (values[name].to_pylist() for name in ("feature", "value", "token"))
        for feature, value, token in zip(*columns, strict=True):
            self._tokens.setdefault(feature, {})[value] = token

    def history(self, given: History) -> EncodedHistory:
        """The history in ids; unknown items are left out and listed.

        Raises:
            CallError: the numbers of items, times and behaviours differ, or a time, a behaviour or a user feature is wrong.
        """
        length = len(given.items)
        for name, listed in (("times", given.times), ("behaviours", given.behaviours)):
            if listed is not None and len(listed) != length:
                raise CallError(name, got=len(listed), expected=f"one for each of {length} items")
        times = np.zeros(length, np.int64)
        if given.times is not None:
            times = np.asarray([_milliseconds(time) for time in given.times], np.int64)
            if (np.diff(times) < 0).any():
                raise CallError(
                    "times", got="a later one before an earlier one", expected="the oldest first"
                )
        found = [self._catalogue.item_index_of(item) for item in given.items]
        kept = np.asarray([index is not None for index in found], np.bool_)
        items = np.asarray([index for index in found if index is not None], np.int64)
        segment = None
        if self._segment_by is not None and self._segment_by in given.user_features:
            segment = value_text(given.user_features[self._segment_by])
        return EncodedHistory(
            item_T=items,
            time_T=times[kept],
            behaviour_T=self._behaviour_ids(given, length)[kept] if self._behaviours else None,
            user_features=self._user_tokens(given.user_features),
            segment=segment,
            unknown=tuple(i for i, index in zip(given.items, found, strict=True) if index is None),
        )

    def _behaviour_ids(self, given: History, length: int) -> Ints:
        if given.behaviours is None:
            return np.full(length, MISSING, np.int64)
        for name in given.behaviours:
            if name not in self._behaviours:
                raise CallError(
                    f"behaviours: there is no behaviour {name!r}",
                    todo=suggest(str(name), self._behaviours),
                )
        return np.asarray(
            [FIRST_FREE + self._behaviours.index(name) for name in given.behaviours], np.int64
        )

    def _user_tokens(self, values: Mapping[str, Any]) -> dict[str, Ints]:
        known = {*self._features, *([self._segment_by] if self._segment_by else [])}
        for name in values:
            if name not in known:
                raise CallError(
                    f"user_features: there is no user feature {name!r}",
                    todo=suggest(name, sorted(known)) or "The model reads no user features.",
                )
        return {
            name: np.asarray(self._cell(feature, values.get(name)), np.int64)
            for name, feature in self._features.items()
        }

    def _cell(self, feature: UserFeature, value: Any) -> list[int]:
        """The tokens of one value."""
        if value is None:
            return [MISSING] * max(feature.columns, 1)
        where = f"user_features.{feature.name}"
        if feature.kind == "embedding":
            raise CallError(where, got="a value", expected="none: it is an embedding")
        if feature.kind == "numeric":
            if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
                raise CallError(where, got=repr(value), expected="a number")
            return [FIRST_FREE + int(np.searchsorted(feature.edges, value + 0.0, side="right"))]
        if not feature.multivalued:
            return [self._token(feature, where, value)]
        listed = [value] if isinstance(value, str | int | float) else list(value)
        return [self._token(feature, where, part) for part in listed] or [MISSING]

    def _token(self, feature: UserFeature, where: str, value: Any) -> int:
        try:
            text = value_text(value)
        except TypeError:
            raise CallError(where, got=repr(value), expected="text or a number") from None
        if text is None:
            return MISSING
        tokens = self._tokens.get(feature.name, {})
        if text in tokens:
            return tokens[text]
        # as in a build: an out-of-vocabulary bucket, or missing
        if feature.oov_buckets:
            return FIRST_FREE + stable_hash(text) % feature.oov_buckets
        return MISSING


def _milliseconds(time: datetime | str | int) -> int:
    """A time in milliseconds since 1970; without a zone it is UTC."""
    moment: Any = time
    if isinstance(time, str):
        try:
            moment = datetime.fromisoformat(time)
        except ValueError:
            raise CallError("times", got=repr(time), expected="ISO 8601") from None
    if isinstance(moment, datetime):
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
        moment = round(moment.timestamp() * 1000)
    if isinstance(moment, bool) or not isinstance(moment, int) or not 0 <= moment < END_MS:
        raise CallError(
            "times", got=repr(time), expected="times from 1970 to 2199, as ISO 8601 or milliseconds"
        )
    return moment
