"""Items that the user had before, by their decayed counts; all others by popularity."""

from pathlib import Path

import pytest
import torch

from heterrec_model.baselines.repeat import HALF_LIFE_DAYS, Repeat
from heterrec_model.config import Config
from heterrec_model.data.inference_batches import split_batches
from heterrec_schemas import open_generation
from heterrec_schemas.testing import Settings, small_generation


def test_scores_are_a_plain_count(tmp_path: Path) -> None:
    """The whole row counts, though a model would read two items of it; items outside the catalogue have no score."""
    small_generation(tmp_path, settings=Settings(unknown_items="oov"))
    generation = open_generation(tmp_path)
    counts = {c["item_index"]: c["train_count"] for c in generation.item_counts().to_pylist()}
    catalogue = generation.items(["item_index"])["item_index"].to_pylist()
    rows = {row["user_id"]: row for row in generation.sequences("test").to_pylist()}
    repeat, users, twice = Repeat(generation), 0, 0
    most = max(counts.get(item, 0) for item in catalogue)
    for batch in split_batches(
        generation, "test", Config.model_validate({"model": {"max_length": 2}})
    ):
        state = repeat.encode(batch)
        scores_BN = repeat.scores(state, 0, len(catalogue))
        added = repeat.added(batch, state)
        scores_BN[added.pairs.user_P, added.pairs.position_P] += added.score_P
        for user, found in zip(batch.user_ids, scores_BN.tolist(), strict=True):
            items, times = rows[user]["item_index"], rows[user]["timestamp_ms"]
            wanted = [counts.get(item, 0) / (1 + most) for item in catalogue]
            for item, time in zip(items, times, strict=True):
                if item in catalogue:
                    age = (times[-1] - time) / 86_400_000
                    wanted[catalogue.index(item)] += 0.5 ** (age / HALF_LIFE_DAYS)
            for item in {*items} & {*catalogue}:
                wanted[catalogue.index(item)] += 1
            assert found == pytest.approx(wanted)
            # own items are before all others
            own = torch.tensor([item in items for item in catalogue])
            assert (
                own.all()
                or not own.any()
                or min(s for s, o in zip(found, own.tolist(), strict=True) if o)
                >= 1
                > max(s for s, o in zip(found, own.tolist(), strict=True) if not o)
            )
            users += 1
            twice += len({*items}) < len(items)
    assert users == len(rows)
    assert twice > 0, "somebody had an item twice"
