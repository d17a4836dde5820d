"""Recommendations of a run for a user or a list of items, with features in words."""

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from heterrec_model.config import MOST, Config
from heterrec_model.data.batch import Batch
from heterrec_model.data.catalogue_positions import NO_ROW, CataloguePositions
from heterrec_model.data.inference_batches import items_batch, user_batch
from heterrec_model.evaluation.evaluate import load_generation
from heterrec_model.evaluation.history_length import seen_pairs, truncated, with_whole_histories
from heterrec_model.evaluation.ranking import UserBlock, UserItemPairs, top_items
from heterrec_model.evaluation.scorers import VectorScorer
from heterrec_model.runs.load_run import load_run
from heterrec_schemas.errors import CallError
from heterrec_schemas.feature_spec import CategoricalFeature, EmbeddingFeature, Feature
from heterrec_schemas.generation import Generation, item_in_words, user_in_words
from heterrec_schemas.generation.decode import bucket_words, decode_cells
from heterrec_schemas.generation.describe import utc_text
from heterrec_schemas.manifest import SPLITS
from heterrec_schemas.tokens import FIRST_FREE

NESTED = " > "
"""Separator of the nodes of a path."""


@dataclass(frozen=True)
class Recommendation:
    """A history and the recommended items.

    Attributes:
        user: id of the user; None for a list of items.
        user_features: features of the user in words.
        history: all items of the generation's row, oldest first, each with item_id, item_index, features in words, and for
            a user time and behaviour (if the generation has behaviours).
        history_used: number of its last items that the model read.
        items: best first, each with item_id, item_index, score, features in words.
        seen_filtered: whether items of the history were left out.
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
    model: str
    checkpoint: str
    generation: str

    def to_json(self) -> dict[str, Any]:
        """The output of `recommend --json`."""
        return asdict(self)


def recommend(
    data: str | Path | Generation,
    run: str | Path,
    *,
    user: str | int | None = None,
    items: Sequence[str | int] | None = None,
    k: int = 10,
    split: str = "latest",
    checkpoint: str = "best",
    filter_seen: bool = False,
) -> Recommendation:
    """Recommend items to a user of the generation, or after a list of items.

    Args:
        data: an output folder (its latest generation), the folder of a generation, or an open generation.
        run: folder of the run.
        user: id of a user.
        items: ids of items, oldest first; without times, so all gaps are 0.
        k: number of items; fewer are returned if the catalogue is smaller.
        split: source of the user's history: latest (complete), or another split.
        checkpoint: best, last, or the name of a checkpoint.
        filter_seen: leave out items of the history.

    Raises:
        CallError: neither or both of user and items are given; the user, an item, the split, run or checkpoint does not
            exist; k is below 1 or above a million.
        GenerationError: the generation does not exist, is damaged, or is not that of the run.
        RunError: a score is not finite.
    """
    if (user is None) == (items is None):
        got = "neither" if user is None else "both"
        raise CallError("recommend", got=got, expected="either a user or items")
    if items is not None and not items:
        raise CallError("items", got="none", expected="at least one")
    if not 1 <= k <= MOST:
        raise CallError("k", got=k, expected=f"1 to {MOST:,}")
    generation = load_generation(data)
    indices = (
        None
        if items is None
        else [item_in_words(generation, str(item))["item_index"] for item in items]
    )
    loaded = load_run(run, checkpoint=checkpoint, data=generation)
    whole = with_whole_histories(loaded.config, generation)
    if indices is not None:
        batch = items_batch(indices, generation, whole)
    else:
        batch = _batch_of_user(generation, user, split, whole)
    model_input = truncated(batch, loaded.config.model.max_length)
    hidden = batch if filter_seen else None
    best = _best(VectorScorer(loaded.model), model_input, hidden, loaded.config, k)
    words = items_in_words(generation, {*batch.item_BT[0].tolist(), *best})
    return Recommendation(
        user=None if user is None else batch.user_ids[0],
        user_features={} if user is None else _user_features(generation, batch),
        history=_history(generation, batch, words, timed=user is not None),
        history_used=int(model_input.length_B[0]),
        items=[{**words[index], "score": score} for index, score in best.items()],
        seen_filtered=filter_seen,
        model=loaded.config.model.name,
        checkpoint=loaded.name,
        generation=generation.manifest.generation,
    )


def items_in_words(
    generation: Generation, item_index: Collection[int]
) -> dict[int, dict[str, Any]]:
    """Items by item_index: item_id, item_index and features in words, except embeddings.

    Of a path and its prefixes only the path is shown. An item without a row has no id and no features, but a description
    in `words`.
    """
    features = [f for f in generation.spec.items.features if not isinstance(f, EmbeddingFeature)]
    names = [f.name for f in features]
    rows = generation.rows(
        generation.known_item_shards(),
        "item_index",
        sorted(set(item_index)),
        ["item_index", "item_id", *names],
    )
    cells = {f.name: _in_words(generation, f, rows[f.name].to_pylist()) for f in features}
    buckets = generation.spec.items.catalogue_vocabulary.oov_buckets
    items: dict[int, dict[str, Any]] = {}
    for index in item_index:
        outside = FIRST_FREE <= index < FIRST_FREE + buckets
        words = bucket_words(index, buckets) if outside else "(no such item)"
        items[index] = {"item_id": None, "item_index": index, "features": {}, "words": words}
    keys = zip(rows["item_index"].to_pylist(), rows["item_id"].to_pylist(), strict=True)
    for row, (index, item_id) in enumerate(keys):
        words_of = {name: cells[name][row] for name in names}
        items[index] = {"item_id": item_id, "item_index": index, "features": words_of}
    return items


def _in_words(generation: Generation, feature: Feature, cells: Sequence[Any]) -> list[str]:
    """The cells of a feature in words."""
    decoded = decode_cells(generation, feature.name, cells)
    if not isinstance(feature, CategoricalFeature) or feature.nested != "prefixes":
        return [cell["words"] for cell in decoded]
    words = []
    for cell in decoded:
        values = [str(value) for value in cell["values"] if value is not None]
        ends = [v for v in values if not any(o.startswith(v + NESTED) for o in values)]
        words.append(", ".join(ends) or cell["words"])
    return words


def _batch_of_user(
    generation: Generation, user: str | int | None, split: str, config: Config
) -> Batch:
    assert user is not None, "either a user or items"
    batch = user_batch(generation, user, split, config)
    if batch is None:
        # Raises an error that suggests similar ids if the user is in no split.
        splits = user_in_words(generation, str(user))["splits"]
        raise CallError(
            f"user {user!r} has no row in the split {split!r}",
            expected=f"one of {', '.join(s for s in SPLITS if s in splits)}",
        )
    return batch


def _best(
    scorer: VectorScorer, batch: Batch, hidden: Batch | None, config: Config, k: int
) -> dict[int, float]:
    """Scores by item_index of the k best items that are not in the hidden history, best first."""
    catalogue_N = scorer.table.catalogue_N
    seen = None
    if hidden is not None:
        user_E, item_E = seen_pairs(hidden)
        seen = UserItemPairs(user_E, CataloguePositions(catalogue_N).of(item_E))
        seen = seen.where(seen.position_P != NO_ROW)
    block = UserBlock(scorer.encode(batch), batch.user_ids, seen)
    position_BK, score_BK = top_items(scorer, block, k, chunk_items=config.evaluation.chunk_items)
    visible_K = score_BK[0].isfinite()
    item_K = catalogue_N[position_BK[0][visible_K]]
    return dict(zip(item_K.tolist(), score_BK[0][visible_K].tolist(), strict=True))


def _history(
    generation: Generation, batch: Batch, words: dict[int, dict[str, Any]], *, timed: bool
) -> list[dict[str, Any]]:
    """The history of the batch's only user; `timed` adds times and behaviours."""
    events = [dict(words[index]) for index in batch.item_BT[0].tolist()]
    if not timed:
        return events
    for event, time in zip(events, batch.timestamp_BT[0].tolist(), strict=True):
        event["time"] = utc_text(time)
    behaviour = generation.spec.interactions.behaviour
    if behaviour is not None and batch.behaviour_BT is not None:
        for event, token in zip(events, batch.behaviour_BT[0].tolist(), strict=True):
            event["behaviour"] = behaviour.values[token - FIRST_FREE]
    return events


def _user_features(generation: Generation, batch: Batch) -> dict[str, str]:
    """Features of the batch's only user, in words."""
    words = {}
    for feature in generation.spec.user_features:
        if feature.name in batch.user_features and not isinstance(feature, EmbeddingFeature):
            cell = batch.user_features[feature.name][0].tolist()
            tokens = [t for t in cell if t] if isinstance(cell, list) else cell
            decoded = decode_cells(generation, feature.name, [tokens], side="user")
            words[feature.name] = decoded[0]["words"]
    return words
