"""Recommendations of a run in PyTorch: the model and the item vectors stay in memory.

Shapes: B users, N items of the catalogue, D width.
"""

from collections import defaultdict
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch

from heterrec_model.bundle.encoder import BATCH
from heterrec_model.bundle.files import Identity
from heterrec_model.bundle.histories import BEHAVIOUR, ITEM, SEGMENT, TIME, USER_FEATURE
from heterrec_model.data.inference_batches import histories_batch, split_batches
from heterrec_model.evaluation.evaluate import load_generation
from heterrec_model.evaluation.scorers import VectorScorer
from heterrec_model.loss.repeat_term import CENTRES, SCALE
from heterrec_model.recommending.catalogue import Catalogue, as_key
from heterrec_model.recommending.history import EncodedHistory, History, Key
from heterrec_model.recommending.own_items import RepeatScores
from heterrec_model.recommending.popular import PopularItems
from heterrec_model.recommending.recommender import Recommender as BaseRecommender
from heterrec_model.recommending.translate import Translator
from heterrec_model.retrieval.search import Searcher
from heterrec_model.runs.load_run import LoadedRun, load_run
from heterrec_model.serving.tables import (
    PopularCounts,
    as_history_rows,
    history_columns,
    history_tables,
    items_table,
    segment_feature,
    user_features_of,
)
from heterrec_model.serving.user_tower import reads_behaviours
from heterrec_model.two_tower import TwoTowerModel
from heterrec_schemas.generation import Generation
from heterrec_schemas.hashing import stable_hash

Floats = npt.NDArray[np.float32]


def repeat_scores(model: TwoTowerModel) -> RepeatScores | None:
    """The repeat term of a model, for `recommending`; None for a model without it."""
    term = model.repeats
    if term is None:
        return None
    weights = {name: p.detach().cpu().numpy() for name, p in term.named_parameters()}
    weights["centres"] = np.asarray(CENTRES, np.float32)
    weights["scale"] = np.asarray(SCALE, np.float32)
    for name in ("similarity", "temperature"):
        weights[name] = np.asarray(getattr(term, name), np.float32)
    popularity_I = model.popularity_I.cpu()
    return RepeatScores(weights, popularity_I[model.table.catalogue_N].numpy())


class Recommender(BaseRecommender):
    """A recommender on a run and its generation.

    Args:
        loaded: a loaded run.
        generation: the generation that it was trained on.

    Attributes:
        loaded: the run.
        generation: the generation.
    """

    def __init__(self, loaded: LoadedRun, generation: Generation) -> None:
        self.loaded, self.generation = loaded, generation
        self._scorer = VectorScorer(loaded.model)
        self.catalogue = Catalogue(items_table(generation))
        self.searcher = Searcher(self._scorer.items_ND.cpu().numpy())
        self.repeats = repeat_scores(loaded.model)
        self.identity = Identity(
            generation=generation.manifest.generation,
            content_sha256=generation.manifest.content_sha256,
            model=loaded.config.model.name,
            checkpoint=loaded.name,
        )
        self._segment_by = segment_feature(generation, None)
        self._features, values = user_features_of(generation, loaded.model.table.user_features)
        behaviour = generation.spec.interactions.behaviour
        self._translator = Translator(
            self.catalogue,
            [] if behaviour is None else behaviour.values,
            self._features,
            values,
            self._segment_by,
        )

    @classmethod
    def load(
        cls,
        run: str | Path | LoadedRun,
        data: str | Path | Generation,
        *,
        checkpoint: str = "best",
        device: str | None = None,
    ) -> Self:
        """Load the model of a run, and compute the vectors of its catalogue.

        Args:
            run: folder of the run, or a loaded run.
            data: the generation that it was trained on: an output folder (its latest generation), the folder of a
                generation, or an open generation.
            checkpoint: best, last, or the name of a checkpoint; of a folder.
            device: of the model; None uses `train.device`.

        Raises:
            CallError: the run or checkpoint does not exist.
            GenerationError: the generation does not exist, is damaged, or is not that of the run.
            RunError: an item vector is not finite.
        """
        generation = load_generation(data)
        if not isinstance(run, LoadedRun):
            run = load_run(run, checkpoint=checkpoint, data=generation, device=device)
        return cls(run, generation)

    @cached_property
    def popular(self) -> PopularItems:  # type: ignore[override]
        """The items for users without a history; counted in all histories on first use."""
        counts = PopularCounts()
        for rows in history_tables(self.generation, (), self._segment_by):
            counts.add(rows)
        return PopularItems(counts.table(), self.catalogue)

    def user_vectors(self, split: str = "latest") -> tuple[list[Key], Floats]:
        """The ids and the vectors of all users of a split, in the order of its batches: [B], float32 [B, D].

        Raises:
            CallError: the split does not exist.
        """
        ids: list[Key] = []
        parts = [np.zeros((0, self.searcher.items_ND.shape[1]), np.float32)]
        for batch in split_batches(self.generation, split, self.loaded.config):
            ids.extend(batch.user_ids)
            parts.append(self._scorer.encode(batch).cpu().numpy())
        return ids, np.concatenate(parts)

    def encode(self, histories: Sequence[EncodedHistory]) -> Floats:
        """The user vectors of some histories with at least one item each, float32 [B, D]."""
        config, model = self.loaded.config.model, self.loaded.model
        longest = config.max_length
        order = np.argsort([min(len(h), longest) for h in histories], kind="stable")
        width = self.searcher.items_ND.shape[1]
        vectors_BD = np.empty((len(histories), width), np.float32)
        for start in range(0, len(order), BATCH):
            rows = order[start : start + BATCH]
            chosen = [histories[row] for row in rows]
            columns: dict[str, list[Any]] = {
                "items": [h.item_T for h in chosen],
                "times": [h.time_T for h in chosen],
                "behaviours": [h.behaviour_T for h in chosen],
                "user_features": [h.user_features for h in chosen],
            }
            batch = histories_batch(
                columns,
                model.table.user_features,
                longest,
                with_behaviours=reads_behaviours(model),
            )
            with torch.no_grad():
                vectors_BD[rows] = self._scorer.encode(batch).cpu().numpy()
        return vectors_BD

    def find(self, users: Sequence[Key], split: str = "latest") -> list[EncodedHistory | None]:
        """The histories of some users in a split (its newest window for `train`); None for a user without one.

        Raises:
            CallError: the split does not exist.
        """
        paths = self.generation.sequence_shards(split)
        with self.generation.open_shard(paths[0]) as shard:
            integral = pa.types.is_integer(shard.schema_arrow.field("user_id").type)
        keys = [as_key(user, integral=integral) for user in users]
        wanted: dict[str, set[Key]] = defaultdict(set)
        for key in keys:
            if key is not None:
                wanted[paths[stable_hash(str(key)) % len(paths)]].add(key)
        features = self.loaded.model.table.user_features
        names = history_columns(self.generation, features, self._segment_by)
        found: dict[Key, EncodedHistory] = {}
        for path, ids in wanted.items():
            rows = self.generation.rows([path], "user_id", ids, names)
            if not len(rows):
                continue
            rows = as_history_rows(self.generation, rows, features, self._segment_by)
            for row in rows.to_pylist():
                found.setdefault(row["user_id"], self._encoded(row))
        return [None if key is None else found.get(key) for key in keys]

    def translate(self, history: History) -> EncodedHistory:
        """A caller's history in the ids of the generation.

        Raises:
            CallError: a time, a behaviour or a user feature is wrong.
        """
        return self._translator.history(history)

    def _encoded(self, row: dict[str, Any]) -> EncodedHistory:
        return EncodedHistory(
            item_T=np.asarray(row[ITEM], np.int64),
            time_T=np.asarray(row[TIME], np.int64),
            behaviour_T=np.asarray(row[BEHAVIOUR], np.int64) if BEHAVIOUR in row else None,
            user_features={
                f.name: np.asarray(row[USER_FEATURE + f.name], np.int64) for f in self._features
            },
            segment=row.get(SEGMENT),
        )
