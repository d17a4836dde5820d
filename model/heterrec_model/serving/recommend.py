"""Recommendations of a run for users or lists of items, with features in words."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from heterrec_model.recommending.answer import Answer, Filters
from heterrec_model.recommending.history import EncodedHistory, History, Key
from heterrec_model.runs.load_run import LoadedRun
from heterrec_model.serving.recommender import Recommender
from heterrec_schemas.errors import CallError
from heterrec_schemas.feature_spec import EmbeddingFeature
from heterrec_schemas.generation import Generation, item_in_words, user_in_words
from heterrec_schemas.generation.decode import bucket_words, decode_cells
from heterrec_schemas.generation.describe import utc_text
from heterrec_schemas.manifest import SPLITS
from heterrec_schemas.tokens import FIRST_FREE
from heterrec_schemas.user_ids import id_in_generation


@dataclass(frozen=True)
class Recommendation:
    """A history and the recommended items.

    Attributes:
        user: id of the user; None for a list of items.
        user_features: features of the user in words.
        history: all items of the generation's row, oldest first, each with item_id, item_index, features in words, and for
            a user time and behaviour (if the generation has behaviours).
        history_used: number of its last items that the model read.
        items: best first, each with item_id, item_index, features in words, score.
        seen_filtered: whether items of the history were left out.
        fallback: see `Answer.fallback`: None if the model answered.
        segment: of the popular items.
        model: name of the model.
        checkpoint: name of the checkpoint.
        generation: id of the generation.
    """

    user: int | str | None
    user_features: dict[str, str]
    history: list[dict[str, Any]]
    history_used: int
    items: list[dict[str, Any]]
    seen_filtered: bool
    fallback: str | None
    segment: str | None
    model: str
    checkpoint: str
    generation: str

    def to_json(self) -> dict[str, Any]:
        """The output of `recommend --json`."""
        return asdict(self)


def recommend(
    run: str | Path | LoadedRun,
    data: str | Path | Generation,
    *,
    users: Sequence[Key] | None = None,
    items: Sequence[Key] | None = None,
    k: int = 10,
    split: str = "latest",
    checkpoint: str = "best",
    allow: Sequence[Key] | None = None,
    deny: Sequence[Key] = (),
    where: Mapping[str, Key | Sequence[Key]] | None = None,
    filter_seen: bool = False,
) -> list[Recommendation]:
    """Recommend items to users of the generation, or after a list of items. `Recommender.load` answers several such calls.

    Args:
        run: folder of the run, or a loaded run.
        data: an output folder (its latest generation), the folder of a generation, or an open generation.
        users: ids of users of the split. Of a generation with hashed user ids, the ids of the input if the environment has
            the key, else the hashed ids.
        items: ids of items, oldest first; without times, so all gaps are 0.
        k: number of items; fewer are returned if fewer are allowed.
        split: source of the histories: latest (complete), or another split.
        checkpoint: best, last, or the name of a checkpoint.
        allow: ids of items that may be recommended; None allows the catalogue.
        deny: ids of items that are left out.
        where: values by feature that an item must have; see `Filters`.
        filter_seen: leave out all items of the history.

    Raises:
        CallError: neither or both of users and items are given; a user, an item, a feature, a value, the split, run or
            checkpoint does not exist; k is out of range.
        GenerationError: the generation does not exist, is damaged, or is not that of the run.
        RunError: a vector is not finite.
    """
    if (users is None) == (items is None):
        got = "neither" if users is None else "both"
        raise CallError("recommend", got=got, expected="either users or items")
    for name, listed in (("users", users), ("items", items)):
        if listed is not None and not listed:
            raise CallError(name, got="none", expected="at least one")
    recommender = Recommender.load(run, data, checkpoint=checkpoint)
    generation = recommender.generation
    filters = Filters(allow, deny, where, filter_seen)
    histories: list[EncodedHistory | None]
    written: list[Key | None] = [None]
    if users is not None:
        key = generation.manifest.user_key
        found = [id_in_generation(user, key) for user in users]
        histories, written = recommender.find(found, split), list(found)
        for user, own, history in zip(users, found, histories, strict=True):
            if history is None:
                _refuse(generation, user, own, split)
    else:
        for item in items or ():
            item_in_words(generation, str(item))  # raises an error that suggests similar ids
        histories = [recommender.translate(History(items=items or ()))]
    answers = recommender.answer(written, histories, k, filters)
    return [
        _described(recommender, answer, history, filter_seen)
        for answer, history in zip(answers, histories, strict=True)
        if history is not None
    ]


def _refuse(generation: Generation, user: Key, written: Key, split: str) -> None:
    # Raises an error that suggests similar ids if the user is in no split.
    splits = user_in_words(generation, str(user))["splits"]
    raise CallError(
        f"user {written!r} has no row in the split {split!r}",
        expected=f"one of {', '.join(s for s in SPLITS if s in splits)}",
    )


def _described(
    recommender: Recommender, answer: Answer, history: EncodedHistory, filter_seen: bool
) -> Recommendation:
    words = recommender.catalogue.words([*history.item_T.tolist(), *answer.item_index])
    timed = answer.user is not None
    identity = answer.identity
    return Recommendation(
        user=answer.user,
        user_features=_user_features(recommender.generation, history) if timed else {},
        history=_history(recommender.generation, history, words, timed=timed),
        history_used=min(len(history), recommender.loaded.config.model.max_length),
        items=[
            {**words[index], "score": score}
            for index, score in zip(answer.item_index, answer.scores, strict=True)
        ],
        seen_filtered=filter_seen,
        fallback=answer.fallback,
        segment=answer.segment,
        model=identity.model,
        checkpoint=identity.checkpoint,
        generation=identity.generation,
    )


def _history(
    generation: Generation,
    history: EncodedHistory,
    words: Mapping[int, dict[str, Any]],
    *,
    timed: bool,
) -> list[dict[str, Any]]:
    """The history in words; `timed` adds times and behaviours."""
    events = [
        dict(words[index]) if index in words else _no_item(generation, index)
        for index in history.item_T.tolist()
    ]
    if not timed:
        return events
    for event, time in zip(events, history.time_T.tolist(), strict=True):
        event["time"] = utc_text(time)
    behaviour = generation.spec.interactions.behaviour
    if behaviour is not None and history.behaviour_T is not None:
        for event, token in zip(events, history.behaviour_T.tolist(), strict=True):
            event["behaviour"] = behaviour.values[token - FIRST_FREE]
    return events


def _no_item(generation: Generation, index: int) -> dict[str, Any]:
    """An item_index without a row, in words."""
    buckets = generation.spec.items.catalogue_vocabulary.oov_buckets
    outside = FIRST_FREE <= index < FIRST_FREE + buckets
    words = bucket_words(index, buckets) if outside else "(no such item)"
    return {"item_id": None, "item_index": index, "features": {}, "words": words}


def _user_features(generation: Generation, history: EncodedHistory) -> dict[str, str]:
    """The user features that the model reads, in words."""
    words = {}
    for feature in generation.spec.user_features:
        if feature.name in history.user_features and not isinstance(feature, EmbeddingFeature):
            tokens = history.user_features[feature.name].tolist()
            cell = tokens if getattr(feature, "multivalued", False) else tokens[0]
            words[feature.name] = decode_cells(generation, feature.name, [cell], side="user")[0][
                "words"
            ]
    return words
