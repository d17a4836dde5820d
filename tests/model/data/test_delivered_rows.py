"""Histories longer than the model's are cut into pieces, and counted as they are delivered; against plain Python."""

import json
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from loader_helpers import MANY, all_same, config, rows_of_batches, same, write_generation

from heterrec_model.config import Config, parse_config
from heterrec_model.data.batch import Batch
from heterrec_model.data.batch_transfer import pack, unpack
from heterrec_model.data.delivered_rows import count_rows, delivered_counts
from heterrec_model.data.inference_batches import split_batches
from heterrec_model.data.ragged_array import ListExtents
from heterrec_model.data.token_table import configured_table, open_token_table
from heterrec_model.data.train_loader import TrainLoader
from heterrec_model.data.train_stream import StreamPosition
from heterrec_model.registry import build_counting, build_model
from heterrec_schemas import Generation
from heterrec_schemas.testing import Settings, shop

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")
LENGTHS = (1, 2, 3, 5, 7, 50)


@pytest.fixture(scope="module")
def windowed(tmp_path_factory: pytest.TempPathFactory) -> Generation:
    """Rows of up to 17 interactions, several per user; temporal, so that validation rows may be long too."""
    settings = Settings(split="temporal", targets="all", train_windows="all", max_length=17)
    folder = tmp_path_factory.mktemp("windowed")
    goods = shop(5, users=25, interactions=1200)
    return write_generation(folder, settings=settings, goods=goods, liked=True)


@pytest.fixture(scope="module")
def whole_histories(tmp_path_factory: pytest.TempPathFactory) -> Generation:
    """One row of up to 17 interactions per user."""
    return write_generation(tmp_path_factory.mktemp("last"), settings=Settings(max_length=17))


def pieces_of(length: int, longest: int) -> list[range]:
    """Places of each piece of a list, newest first, without a rest of one."""
    pieces = [range(max(0, end - longest), end) for end in range(length, 0, -longest)]
    if longest == 1:
        return pieces[:1]
    return [p for p in pieces if len(p) > 1 or length == 1]


def cut_rows(generation: Generation, longest: int) -> list[dict[str, Any]]:
    """The training rows of the shards, cut."""
    rows = []
    for row in generation.sequences("train").to_pylist():
        for piece in pieces_of(len(row["item_index"]), longest):
            user = {n: x for n, x in row.items() if n.startswith("user_")}
            events = {
                n: row[n][piece.start : piece.stop]
                for n in ("item_index", "timestamp_ms", "behaviour")
            }
            rows.append({"user_id": row["user_id"], **events, **user})
    return sorted(rows, key=str)


def same_rows(got: list[dict[str, Any]], want: list[dict[str, Any]]) -> bool:
    return sorted(map(_sorted, got)) == sorted(map(_sorted, want))


def _sorted(row: dict[str, Any]) -> str:
    return json.dumps(row, sort_keys=True)


def refitted(longest: int, **data: Any) -> Config:
    settings = {
        "model": {"max_length": longest},
        "train": {"epochs": 1, "refit_epochs": 1},
        "data": {"batch_items": 40, "shuffle_rows": 11, **data},
    }
    return parse_config(settings, "here")


@MANY
@given(lengths=st.lists(st.integers(0, 12), max_size=6), longest=st.integers(1, 6))
def test_pieces_are_cut_from_the_end(lengths: list[int], longest: int) -> None:
    extents, row_P = ListExtents.of(np.array(lengths, np.int64)).pieces(longest)
    want = []
    for row, length in enumerate(lengths):
        for piece in pieces_of(length, longest) or [range(0)]:
            start = sum(lengths[:row]) + piece.start
            want.append((row, start, len(piece)))
    got = [row_P.tolist(), extents.starts_R.tolist(), extents.lengths_R.tolist()]
    assert list(zip(*got, strict=True)) == want


@pytest.mark.parametrize("longest", LENGTHS)
@pytest.mark.parametrize(("world", "workers"), [(1, 0), (3, 0), (2, 2)])
def test_all_windows_are_trained_on(
    windowed: Generation, longest: int, world: int, workers: int
) -> None:
    if workers and longest != 3:
        return  # processes take their time
    settings = config(model={"max_length": longest}, workers=workers)
    loaders = [TrainLoader(windowed, settings, rank=r, world=world) for r in range(world)]
    want = cut_rows(windowed, longest)
    for _ in range(2):
        got = rows_of_batches([batch for loader in loaders for batch in loader])
        assert same_rows(got, want)
    assert {loader.rows for loader in loaders} == {len(want)}
    assert {loader.run_rows for loader in loaders} == {len(want) * settings.train.epochs}
    assert len(want) > windowed.manifest.counts.sequences["train"] or longest in (1, 50)


def test_nothing_but_remainders_is_left_out(windowed: Generation) -> None:
    rows = windowed.sequences("train")["item_index"].to_pylist()
    batches = list(TrainLoader(windowed, config(model={"max_length": 4})))
    delivered = sum(int(batch.length_B.sum()) for batch in batches)
    remainders = sum(len(row) % 4 == 1 for row in rows)
    assert delivered == sum(map(len, rows)) - remainders


def test_a_row_per_user_is_truncated(whole_histories: Generation) -> None:
    settings = config(model={"max_length": 5})
    got = rows_of_batches(TrainLoader(whole_histories, settings))
    rows = whole_histories.sequences("train").to_pylist()
    assert sorted((r["user_id"], r["item_index"]) for r in got) == sorted(
        (r["user_id"], r["item_index"][-5:]) for r in rows
    )


def test_pieces_resume_at_any_batch(windowed: Generation) -> None:
    settings = config(model={"max_length": 3}, shuffle_rows=30)
    whole = list(TrainLoader(windowed, settings))
    for count in range(0, len(whole), 7):
        loader = TrainLoader(windowed, settings)
        batches = iter(loader)
        for _ in range(count):
            next(batches)
        resumed = TrainLoader(windowed, settings)
        resumed.load_state_dict(json.loads(json.dumps(loader.state_dict())))
        assert all_same(resumed, whole[count:])


def test_about_shuffle_rows_pieces_are_held_at_a_time(windowed: Generation) -> None:
    settings = config(model={"max_length": 3}, shuffle_rows=60)
    stream = TrainLoader(windowed, settings)._stream
    epoch = stream.part(0)
    sizes = []
    for window in range(epoch.windows):
        epoch.position = StreamPosition(window, 0)
        sizes.append(len(epoch._read_window()[0]))
    assert sum(sizes) == len(cut_rows(windowed, 3))
    assert len(sizes) > 2
    assert max(sizes) < 2 * 60


def trained_targets(batches: list[Batch]) -> Counter[tuple[object, int, int]]:
    seen: Counter[tuple[object, int, int]] = Counter()
    for batch in batches:
        for b, user in enumerate(batch.user_ids):
            first = 0 if batch.first_target_B is None else int(batch.first_target_B[b])
            for t in range(max(first, 1), int(batch.length_B[b])):
                seen[user, int(batch.item_BT[b, t]), int(batch.timestamp_BT[b, t])] += 1
    return seen


def refit_targets(generation: Generation, longest: int) -> Counter[tuple[object, int, int]]:
    """What the pieces of the joined validation rows add: everything since the cut, but for the first item of a piece."""
    end = generation.manifest.cuts["validation_at_ms"]
    wanted: Counter[tuple[object, int, int]] = Counter()
    for row in generation.sequences("validation").to_pylist():
        items = row["item_index"] + row["target_item_index"]
        times = row["timestamp_ms"] + row["target_timestamp_ms"]
        events = list(zip(items, times, strict=True))
        for piece in pieces_of(len(events), longest):
            later = [events[n] for n in piece[1:] if events[n][1] >= end]
            wanted.update((row["user_id"], *event) for event in later)
    return wanted


@pytest.mark.parametrize("longest", [2, 3, 5, 50])
def test_the_refit_cuts_validation_rows_too(windowed: Generation, longest: int) -> None:
    loader = TrainLoader(windowed, refitted(longest))
    ordinary, both = list(loader), list(loader)
    assert sum(batch.users for batch in ordinary) == loader.rows
    assert sum(batch.users for batch in [*ordinary, *both]) == loader.run_rows
    added = trained_targets(both) - trained_targets(ordinary)
    assert added == refit_targets(windowed, longest)
    assert sum(added.values()) > 0
    for batch in both:  # no piece without a target
        if batch.first_target_B is not None:
            assert (batch.first_target_B < batch.length_B).all()


@pytest.mark.parametrize("longest", [3, 50])
@pytest.mark.parametrize("refit", [False, True])
@pytest.mark.parametrize("name", ["windowed", "whole_histories"])
def test_counts_are_those_of_the_batches(
    name: str, longest: int, refit: bool, request: pytest.FixtureRequest
) -> None:
    generation: Generation = request.getfixturevalue(name)
    settings = refitted(longest) if refit else config(model={"max_length": longest})
    loader = TrainLoader(generation, settings)
    batches = list(loader)
    if refit:
        batches = list(loader)
    occurrences = Counter(
        item for batch in batches for item in batch.item_BT[batch.valid_BT()].tolist()
    )
    table = configured_table(settings, generation)
    ids = len(table.train_count_I)
    assert delivered_counts(generation, settings, ids).tolist() == [
        occurrences[i] for i in range(ids)
    ]
    listed = set(table.catalogue_N.tolist())
    assert table.train_count_I.tolist() == [
        occurrences[i] if i in listed else 0 for i in range(ids)
    ]
    rows = sum(len(batch.user_ids) for batch in batches)
    splits = ("train", "validation") if refit else ("train",)
    assert rows == sum(count_rows(generation, split, settings) for split in splits)


def test_items_that_are_cut_away_are_not_trained(whole_histories: Generation) -> None:
    settings = config(model={"max_length": 2})
    model = build_model(
        settings, table := configured_table(settings, whole_histories), whole_histories
    )
    every = open_token_table(whole_histories).train_count_I > 0
    trained = table.train_count_I > 0
    assert (trained & ~every).sum() == 0
    assert (every & ~trained).sum() > 0
    assert model.tables.trained_I.tolist() == trained.tolist()
    assert set(model.sampler.pool_P.tolist()) == set(trained.nonzero()[:, 0].tolist())
    # a baseline has the same warm items, but counts whole histories
    baseline = build_counting("popular", whole_histories, config=settings)
    assert baseline.table.train_count_I.tolist() == table.train_count_I.tolist()
    plain = build_counting("popular", whole_histories)
    users = plain.encode(next(iter(TrainLoader(whole_histories, settings))))
    size = len(table.catalogue_N)
    assert baseline.scores(users, 0, size).tolist() == plain.scores(users, 0, size).tolist()


@pytest.mark.parametrize("windows", ["windowed", "whole_histories"])
@pytest.mark.parametrize("longest", [1, 3, 50])
def test_earlier_items_are_those_of_the_row_before_the_piece(
    request: pytest.FixtureRequest, windows: str, longest: int
) -> None:
    generation: Generation = request.getfixturevalue(windows)
    settings = config(model={"max_length": longest, "repeats": {"enabled": True}})
    names = ("item_index", "timestamp_ms")
    for split, batches in (
        ("train", list(TrainLoader(generation, settings))),
        ("test", list(split_batches(generation, "test", settings))),
    ):
        rows = generation.sequences(split, ["user_id", *names]).to_pylist()
        beginnings = Counter(
            (row["user_id"], tuple(zip(*(row[name][: piece.stop] for name in names), strict=True)))
            for row in rows
            for piece in (
                pieces_of(len(row["item_index"]), longest)
                if split == "train" and windows == "windowed"
                else [range(len(row["item_index"]))]
            )
        )
        found = Counter()
        for batch in batches:
            assert batch.earlier is not None
            assert same(unpack(pack(batch)), batch)
            for b, user in enumerate(batch.user_ids):
                own_E, length = batch.earlier.user_E == b, int(batch.length_B[b])
                assert length <= longest
                before = (batch.earlier.item_E[own_E], batch.earlier.timestamp_E[own_E])
                piece = (batch.item_BT[b, :length], batch.timestamp_BT[b, :length])
                whole = (torch.cat(pair).tolist() for pair in zip(before, piece, strict=True))
                found[user, tuple(zip(*whole, strict=True))] += 1
            order = batch.all_items()
            assert order.user_E.tolist() == sorted(order.user_E.tolist())
        assert found == beginnings


def test_without_repeats_training_has_no_earlier_items(windowed: Generation) -> None:
    settings = config(model={"max_length": 3})
    assert all(batch.earlier is None for batch in TrainLoader(windowed, settings))
