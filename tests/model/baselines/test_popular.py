from pathlib import Path

import pytest
import torch

from heterrec_model.baselines.popular import Popular
from heterrec_model.config import Config
from heterrec_model.data.inference_batches import split_batches
from heterrec_schemas import open_generation
from heterrec_schemas.testing import small_generation


@pytest.mark.parametrize(("start", "stop"), [(0, 5), (3, 17)])
def test_an_item_is_scored_by_its_training_interactions(
    tmp_path: Path, start: int, stop: int
) -> None:
    small_generation(tmp_path)
    generation = open_generation(tmp_path)
    counts = {c["item_index"]: c["train_count"] for c in generation.item_counts().to_pylist()}
    items = generation.items(["item_index"])["item_index"].to_pylist()[start:stop]
    popular = Popular(generation)
    batch = next(split_batches(generation, "test", Config()))
    users = popular.encode(batch)
    assert users.shape == (batch.users, 0)
    scores = popular.scores(users, start, stop)
    assert scores.dtype == torch.float64
    assert scores.tolist() == [[counts.get(item, 0) for item in items]] * batch.users
    # a caller may overwrite them
    scores.fill_(-1)
    assert popular.scores(users, start, stop).min() >= 0
