from itertools import pairwise

import pytest
import torch
from loader_helpers import all_same, config, rows_of_batches, rows_of_split, same

from heterrec_model.data.inference_batches import items_batch, split_batches, user_batch
from heterrec_model.data.row_spans import windows
from heterrec_schemas import Generation
from heterrec_schemas.errors import CallError

SPLITS = ["train", "validation", "test", "latest"]


@pytest.fixture(params=["generation", "flattened", "rich"])
def any_generation(request: pytest.FixtureRequest) -> Generation:
    found: Generation = request.getfixturevalue(request.param)
    return found


@pytest.mark.parametrize("split", SPLITS)
def test_a_split_is_read_whole(any_generation: Generation, split: str) -> None:
    batches = list(split_batches(any_generation, split, config()))
    assert rows_of_batches(batches) == rows_of_split(any_generation, split)
    assert all((batch.targets is not None) == (split in SPLITS[1:3]) for batch in batches)


def test_targets_are_never_cut(rich: Generation) -> None:
    settings = config(model={"max_length": 2})
    batches = list(split_batches(rich, "test", settings))
    assert rows_of_batches(batches) == rows_of_split(rich, "test", longest=2)
    targets = [t for batch in batches for t in batch.targets or ()]
    assert max(map(len, targets)) > 2
    assert all(t.dtype == torch.int64 for t in targets)


def test_both_layouts_give_equal_batches(generation: Generation, flattened: Generation) -> None:
    left, right = (split_batches(g, "test", config()) for g in (generation, flattened))
    assert all_same(left, right)


@pytest.mark.parametrize("count", [0, 1, 5, 30, 1000])
def test_the_first_users_alone(generation: Generation, count: int) -> None:
    batches = list(split_batches(generation, "validation", config(), max_users=count))
    users = generation.sequences("validation", ["user_id"])["user_id"].to_pylist()
    assert sorted(user for batch in batches for user in batch.user_ids) == sorted(users[:count])


def test_windows_follow_the_shards_with_like_lengths_together(generation: Generation) -> None:
    settings = config(shuffle_rows=9)
    batches = list(split_batches(generation, "latest", settings))
    got = [user for batch in batches for user in batch.user_ids]
    lengths = [length for batch in batches for length in batch.length_B.tolist()]
    users = generation.sequences("latest", ["user_id"])["user_id"].to_pylist()
    assert got != users
    for start, stop in pairwise(windows(len(users), 9)):
        assert set(got[start:stop]) == set(users[start:stop])
        assert lengths[start:stop] == sorted(lengths[start:stop])


@pytest.mark.parametrize("split", SPLITS)
def test_one_users_row(any_generation: Generation, split: str) -> None:
    rows = {}
    for row in any_generation.sequences(split).to_pylist():
        rows.setdefault(row["user_id"], row)
    for user, row in rows.items():
        for name in {user, str(user)}:
            batch = user_batch(any_generation, name, split, config())
            assert batch is not None
            assert batch.user_ids == [user]
            assert batch.item_BT.tolist() == [row["item_index"]]
            if split in ("validation", "test"):
                assert batch.targets is not None
                assert batch.targets[0].tolist() == row["target_item_index"]


def test_a_users_batch_is_the_splits(generation: Generation) -> None:
    for batch in split_batches(generation, "test", config(batch_users=1, batch_items=1)):
        if batch.users == 1:
            found = user_batch(generation, batch.user_ids[0], "test", config())
            assert found is not None
            assert same(found, batch)


def test_unknown_users_have_no_batch(generation: Generation, rich: Generation) -> None:
    for opened in (generation, rich):
        for user in ("nobody", 987654, "", "-"):
            assert user_batch(opened, user, "test", config()) is None


def test_a_made_up_history(generation: Generation) -> None:
    batch = items_batch([5, 3, 7], generation, config(model={"max_length": 2}))
    assert batch.item_BT.tolist() == [[3, 7]]
    assert batch.timestamp_BT.tolist() == [[0, 0]]
    assert batch.length_B.tolist() == [2]
    assert batch.behaviour_BT is not None
    assert batch.behaviour_BT.tolist() == [[1, 1]]
    assert {name: x.tolist() for name, x in batch.user_features.items()} == {
        "age": [1],
        "age_bin": [1],
        "likes": [[1]],
        "taste": [[1, 1, 1]],
    }
    assert batch.targets is None


def test_a_made_up_history_has_what_the_settings_ask_for(generation: Generation) -> None:
    settings = config(model={"behaviour": False, "user_features": []})
    batch = items_batch([5], generation, settings)
    assert batch.behaviour_BT is None
    assert batch.user_features == {}
    with pytest.raises(CallError, match="at least one"):
        items_batch([], generation, settings)
