import json
import multiprocessing
import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from loader_helpers import all_same, config, rows_of_batches, rows_of_split, same, write_generation

from heterrec_model.config import Config
from heterrec_model.data.batch import Batch
from heterrec_model.data.train_loader import TrainLoader
from heterrec_schemas import Generation
from heterrec_schemas.errors import (
    CallError,
    CorruptCheckpointError,
    CorruptGenerationError,
    RunError,
)

# On a machine with one core two workers are one too many for PyTorch, which says so.
pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")


def epochs(loader: TrainLoader, until: int) -> list[Batch]:
    batches: list[Batch] = []
    while loader.epoch < until:
        batches += list(loader)
    return batches


def take(loader: TrainLoader, count: int) -> list[Batch]:
    """Some batches, over the ends of epochs."""
    batches: list[Batch] = []
    while len(batches) < count:
        for batch in loader:
            batches.append(batch)
            if len(batches) == count:
                break
    return batches


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_every_epoch_has_all_rows_in_another_order(generation: Generation, workers: int) -> None:
    loader = TrainLoader(generation, config(workers=workers))
    rows = rows_of_split(generation, "train")
    assert loader.rows == len(rows) == generation.manifest.counts.sequences["train"]
    orders = []
    for epoch in range(2):
        assert loader.epoch == epoch
        batches = list(loader)
        assert rows_of_batches(batches) == rows
        orders.append([user for batch in batches for user in batch.user_ids])
    assert orders[0] != orders[1]


@pytest.mark.parametrize("workers", [0, 2])
def test_equal_settings_give_equal_batches(generation: Generation, workers: int) -> None:
    first, again = (epochs(TrainLoader(generation, config(workers=workers)), 2) for _ in range(2))
    assert all_same(first, again)


@pytest.mark.parametrize("workers", [0, 2])
def test_ranks_share_the_rows(generation: Generation, workers: int) -> None:
    loaders = [
        TrainLoader(generation, config(workers=workers), rank=rank, world=2) for rank in range(2)
    ]
    parts = [list(loader) for loader in loaders]
    rows = [len(rows_of_batches(part)) for part in parts]
    assert rows_of_batches(parts[0] + parts[1]) == rows_of_split(generation, "train")
    assert max(rows) - min(rows) <= max(workers, 1)


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_a_saved_state_goes_on_as_if_never_interrupted(
    generation: Generation, workers: int
) -> None:
    """At every batch of an epoch, also after one of two workers has delivered its last batch."""
    settings = config(workers=workers, seed=2, batch_items=30)
    loader = TrainLoader(generation, settings)
    whole: list[Batch] = []
    states = [json.dumps(loader.state_dict())]
    for batch in loader:
        whole.append(batch)
        states.append(json.dumps(loader.state_dict()))
    second = list(loader)
    last = json.loads(states[-1])
    assert workers < 2 or (len(whole), last["next_part"]) == (11, 0), "part 1 is one batch longer"
    for count, state in enumerate(states):
        resumed = TrainLoader(generation, settings)
        resumed.load_state_dict(json.loads(state))
        assert json.dumps(resumed.state_dict()) == state
        assert all_same(resumed, whole[count:])
        assert resumed.epoch == 1
    assert all_same(resumed, second)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_loader_in_use_can_be_set_back(generation: Generation, workers: int) -> None:
    loader = TrainLoader(generation, config(workers=workers))
    take(loader, 2)
    state = loader.state_dict()
    rest = epochs(loader, 2)
    loader.load_state_dict(state)
    assert loader.epoch == 0
    assert all_same(epochs(loader, 2), rest)


@pytest.mark.parametrize("workers", [0, 2])
def test_the_state_is_small_and_is_not_written_to_later(
    generation: Generation, workers: int
) -> None:
    loader = TrainLoader(generation, config(workers=workers))
    take(loader, 3)
    state = loader.state_dict()
    text = json.dumps(state)
    take(loader, 2)
    assert json.dumps(state) == text
    assert len(text) < 1500
    assert state["generation"] == generation.manifest.generation


@pytest.mark.parametrize("workers", [0, 2])
def test_an_iteration_that_was_left_is_gone_on_with(generation: Generation, workers: int) -> None:
    whole = list(TrainLoader(generation, config(workers=workers)))
    loader = TrainLoader(generation, config(workers=workers))
    parts = take(loader, 2)
    assert loader.epoch == 0
    assert all_same([*parts, *loader], whole)
    assert loader.epoch == 1


@pytest.mark.parametrize("workers", [0, 1])
def test_the_runs_own_random_numbers_are_left_alone(generation: Generation, workers: int) -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    list(TrainLoader(generation, config(workers=workers)))
    assert torch.equal(torch.get_rng_state(), before)


def test_both_layouts_give_equal_batches(generation: Generation, flattened: Generation) -> None:
    assert flattened.spec.output.layout == "flattened"
    left, right = (epochs(TrainLoader(g, config()), 2) for g in (generation, flattened))
    assert all_same(left, right)


def test_histories_are_padded_on_the_right(generation: Generation) -> None:
    for batch in TrainLoader(generation, config(length_buckets=False)):
        valid = batch.valid_BT()
        assert torch.equal(valid.sum(1), batch.length_B)
        assert (batch.item_BT[valid] > 0).all()
        assert not batch.item_BT[~valid].any()
        assert batch.behaviour_BT is not None
        assert not batch.behaviour_BT[~valid].any()
        last = batch.timestamp_BT.gather(1, batch.length_B[:, None] - 1)
        assert torch.equal(batch.timestamp_BT[~valid], last.expand_as(valid)[~valid])
        for x in (batch.item_BT, batch.timestamp_BT, batch.length_B, batch.behaviour_BT):
            assert x.dtype == torch.int64
        assert batch.targets is None


def test_histories_are_cut_to_their_last_items(generation: Generation) -> None:
    settings = config(model={"max_length": 3})
    batches = list(TrainLoader(generation, settings))
    assert rows_of_batches(batches) == rows_of_split(generation, "train", longest=3)
    assert max(batch.item_BT.shape[1] for batch in batches) == 3


def test_what_the_settings_leave_out_is_not_read(generation: Generation) -> None:
    settings = config(model={"behaviour": False, "user_features": ["likes", "age"]})
    batch = next(iter(TrainLoader(generation, settings)))
    assert batch.behaviour_BT is None
    assert list(batch.user_features) == ["age", "likes"]
    assert batch.user_features["age"].shape == (batch.users,)
    assert batch.user_features["likes"].shape[0] == batch.users


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (config(seed=1), "train.seed was 0 and is 1"),
        (config(batch_items=61), "data.batch_items was 60 and is 61"),
        (config(batch_users=8), "data.batch_users was 9 and is 8"),
        (config(shuffle_rows=12), "data.shuffle_rows was 11 and is 12"),
        (config(length_buckets=False), "data.length_buckets was True and is False"),
        (config(model={"max_length": 4}), "model.max_length was 50 and is 4"),
        (config(workers=1), "data.workers was 0 and is 1"),
    ],
)
def test_a_state_of_other_settings_is_refused_by_name(
    generation: Generation, settings: Config, message: str
) -> None:
    state = TrainLoader(generation, config()).state_dict()
    with pytest.raises(CallError, match=message):
        TrainLoader(generation, settings).load_state_dict(state)


def test_a_state_of_another_rank_world_or_generation_is_refused(
    generation: Generation, rich: Generation
) -> None:
    state = TrainLoader(generation, config()).state_dict()
    with pytest.raises(CallError, match="rank was 0 and is 1; world was 1 and is 2"):
        TrainLoader(generation, config(), rank=1, world=2).load_state_dict(state)
    with pytest.raises(CallError, match=f"another generation: got {state['generation']}"):
        TrainLoader(rich, config()).load_state_dict(state)
    del state["epoch"]
    with pytest.raises(CallError, match="not a loader state of this version: got no epoch"):
        TrainLoader(generation, config()).load_state_dict(state)


@pytest.mark.parametrize(
    "damage",
    [
        {"epoch": -1},
        {"epoch": "x"},
        {"next_part": 1},
        {"next_part": None},
        {"positions": None},
        {"positions": []},
        {"positions": [{"window": 0, "batch": 0}] * 2},
        {"positions": [{"window": 99, "batch": 0}]},
        {"positions": [{"window": 0, "batch": True}]},
        {"positions": [{"window": 0}, 3]},
        {"positions": {"window": 0, "batch": 0}},
        {"positions": [{"window": 0, "batch": 0, "x": 0}]},
    ],
)
def test_a_damaged_position_is_refused(generation: Generation, damage: dict[str, Any]) -> None:
    loader = TrainLoader(generation, config())
    with pytest.raises(CorruptCheckpointError, match="the loader state is damaged"):
        loader.load_state_dict(loader.state_dict() | damage)


def test_settings_that_change_no_order_may_change(generation: Generation) -> None:
    state = TrainLoader(generation, config()).state_dict()
    loader = TrainLoader(generation, config(prefetch=2))
    loader.load_state_dict(state)
    assert loader.state_dict() == state


def test_a_rank_outside_the_world_is_refused(generation: Generation) -> None:
    with pytest.raises(CallError, match=r"rank: got 2, expected 0 \.\. 1"):
        TrainLoader(generation, config(), rank=2, world=2)


def test_an_unknown_user_feature_is_refused_at_once(generation: Generation) -> None:
    with pytest.raises(CallError, match=r"no user feature 'agee'.*Did you mean 'age'"):
        TrainLoader(generation, config(model={"user_features": ["agee"]}))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_shard_that_vanishes_is_named(tmp_path: Path, workers: int) -> None:
    generation = write_generation(tmp_path)
    loader = TrainLoader(generation, config(workers=workers))
    for path in generation.sequence_shards("train"):
        Path(generation.locate(path)).unlink()
    with pytest.raises(CorruptGenerationError) as raised:
        list(loader)
    assert re.fullmatch(r"\S+train-0000.-of-00003.parquet is absent", raised.value.message)


@pytest.mark.slow
def test_a_worker_that_dies_ends_the_iteration(generation: Generation) -> None:
    loader = TrainLoader(generation, config(workers=1, prefetch=1, batch_users=1))
    others = set(multiprocessing.active_children())
    batches = iter(loader)
    next(batches)
    (worker,) = set(multiprocessing.active_children()) - others
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGKILL)
    with pytest.raises(RunError, match="a worker of the loader died"):
        list(batches)


def test_a_batch_of_a_worker_equals_one_of_this_process(generation: Generation) -> None:
    plain, worked = (next(iter(TrainLoader(generation, config(workers=w)))) for w in (0, 1))
    assert same(plain, worked)
