"""The refit's rows: validation histories with their targets, without training on anything twice."""

from collections import Counter
from pathlib import Path

import pytest

from heterrec_model.config import parse_config
from heterrec_model.data.token_table import open_token_table
from heterrec_model.data.train_loader import TrainLoader
from heterrec_schemas import Generation, open_generation
from heterrec_schemas.testing import Settings, small_generation

SPLITS = {
    "leave_one_out": Settings(split="leave_one_out"),
    "last": Settings(split="temporal", targets="last"),
    "next": Settings(split="temporal", targets="next"),
    "all": Settings(split="temporal", targets="all"),
}


@pytest.fixture(params=sorted(SPLITS))
def generation(request: pytest.FixtureRequest, tmp_path: Path) -> Generation:
    return open_generation(small_generation(tmp_path, 3, settings=SPLITS[request.param]))


def targets_by_user(
    generation: Generation, max_length: int
) -> list[Counter[tuple[object, int, int]]]:
    """(user, item, time) of every target, an epoch each: one ordinary, one of the refit."""
    settings = {
        "model": {"max_length": max_length},
        "train": {"epochs": 1, "refit_epochs": 1},
        "data": {"batch_items": 40},
    }
    loader = TrainLoader(generation, parse_config(settings, "here"))
    epochs = []
    for _ in range(2):
        seen: Counter[tuple[object, int, int]] = Counter()
        for batch in loader:
            for b, user in enumerate(batch.user_ids):
                first = 0 if batch.first_target_B is None else int(batch.first_target_B[b])
                for t in range(max(first, 1), int(batch.length_B[b])):
                    seen[user, int(batch.item_BT[b, t]), int(batch.timestamp_BT[b, t])] += 1
        epochs.append(seen)
    return epochs


def known_before_test(generation: Generation) -> Counter[tuple[object, int, int]]:
    """Every interaction of the training and validation splits that has one before it in its row."""
    wanted: Counter[tuple[object, int, int]] = Counter()
    for row in generation.sequences("train").to_pylist():
        events = list(zip(row["item_index"], row["timestamp_ms"], strict=True))
        wanted.update((row["user_id"], *event) for event in events[1:])
    end = generation.manifest.cuts.get("validation_at_ms")
    for row in generation.sequences("validation").to_pylist():
        events = list(zip(row["item_index"], row["timestamp_ms"], strict=True))
        after = [e for e in events[1:] if end is not None and e[1] >= end]
        after += zip(row["target_item_index"], row["target_timestamp_ms"], strict=True)
        wanted.update((row["user_id"], *event) for event in after)
    return wanted


def test_the_refit_trains_on_each_interaction_before_the_test_once(generation: Generation) -> None:
    ordinary, refit = targets_by_user(generation, max_length=1000)
    assert generation.manifest.counts.sequences["validation"] > 0
    assert refit == known_before_test(generation)
    assert ordinary < refit


def test_cut_histories_keep_their_new_targets(generation: Generation) -> None:
    _, whole = targets_by_user(generation, max_length=1000)
    _, cut = targets_by_user(generation, max_length=3)
    assert cut <= whole
    assert len(cut) > 0


def test_the_counts_take_in_the_validation_split(generation: Generation) -> None:
    plain = open_token_table(generation).train_count_I
    refit = open_token_table(generation, refit=True).train_count_I
    added = Counter(item for _, item, _ in known_before_test(generation).elements())
    added -= Counter(
        item for row in generation.sequences("train")["item_index"].to_pylist() for item in row[1:]
    )
    assert int((refit - plain).sum()) >= sum(added.values()) > 0
    assert (refit >= plain).all()
