from itertools import pairwise

import pytest
import torch
from loader_helpers import all_same, config, rows_of_batches, rows_of_split

from heterrec_model.data.inference_batches import split_batches
from heterrec_model.data.row_spans import windows
from heterrec_schemas import Generation

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
