from pathlib import Path

import torch

from heterrec_model.baselines.unseen_first import UnseenFirst
from heterrec_model.config import Config
from heterrec_model.data.inference_batches import split_batches
from heterrec_schemas import open_generation
from heterrec_schemas.testing import shop, small_generation


def test_items_without_training_interactions_come_first(tmp_path: Path) -> None:
    small_generation(tmp_path, 2, goods=shop(2, items=200, users=20, interactions=300))
    generation = open_generation(tmp_path)
    trained = set(generation.item_counts()["item_index"].to_pylist())
    items = generation.items(["item_index"])["item_index"].to_pylist()[3:90]
    scorer = UnseenFirst(generation)
    batch = next(split_batches(generation, "test", Config()))
    users = scorer.encode(batch)
    assert users.shape == (batch.users, 0)
    expected = [float(item not in trained) for item in items]
    assert set(expected) == {0.0, 1.0}
    scores = scorer.scores(users, 3, 90)
    assert scores.dtype == torch.float64
    assert scores.tolist() == [expected] * batch.users
    scores.fill_(7)  # a caller may overwrite them
    assert scorer.scores(users, 3, 90).max() == 1
