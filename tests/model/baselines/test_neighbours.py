import os
from collections import Counter
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from heterrec_model.baselines import neighbours
from heterrec_model.baselines.neighbours import NeighbourCounts, Neighbours, count_neighbours
from heterrec_model.config import Config
from heterrec_model.data.inference_batches import split_batches
from heterrec_schemas import Generation, open_generation
from heterrec_schemas.testing import Settings, shop, small_generation

SOAK = int(os.environ.get("HETERREC_EXAMPLES", "0"))
MANY = settings(deadline=None, derandomize=not SOAK, database=None, max_examples=SOAK or 60)


@pytest.fixture(scope="module")
def generation(tmp_path_factory: pytest.TempPathFactory) -> Generation:
    """Long histories in several windows, items outside the catalogue."""
    chosen = Settings(split="temporal", train_windows="all", unknown_items="oov", max_length=8)
    folder = tmp_path_factory.mktemp("neighbours")
    small_generation(folder, 2, settings=chosen, goods=shop(2, items=40, interactions=900))
    return open_generation(folder)


def plain_counts(histories: list[list[int]], window: int) -> Counter[tuple[int, int]]:
    """How often two different items stand at most `window` places apart, both ways."""
    found: Counter[tuple[int, int]] = Counter()
    for history in histories:
        for (i, a), (j, b) in combinations(enumerate(history), 2):
            if j - i <= window and a != b:
                found[a, b] += 1
                found[b, a] += 1
    return found


def as_counter(found: NeighbourCounts) -> Counter[tuple[int, int]]:
    lengths = found.first_I.diff()
    item_P = torch.repeat_interleave(torch.arange(len(lengths)), lengths)
    rows = zip(item_P.tolist(), found.item_P.tolist(), found.count_P.tolist(), strict=True)
    return Counter({(item, neighbour): count for item, neighbour, count in rows})


@MANY
@given(
    st.lists(st.lists(st.integers(2, 7), max_size=9), max_size=6), st.integers(1, 10), st.booleans()
)
def test_counts_are_those_worked_out_plainly(
    histories: list[list[int]], window: int, merge: bool
) -> None:
    """In one row group or in one a row, merged at the end or all the time."""
    groups = [histories] if not merge else [[history] for history in histories]
    arrays = [
        (pa.array(group, pa.list_(pa.int64())), np.zeros(len(group), np.int64)) for group in groups
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(neighbours, "_row_groups", lambda generation, refit: iter(arrays))
        patch.setattr(neighbours, "_MERGE_AT", 3 if merge else 10**6)
        found = count_neighbours(None, 8, window)  # type: ignore[arg-type]
    assert as_counter(found) == plain_counts(histories, window)


@pytest.mark.parametrize("targets", ["last", "all"])
def test_a_refit_counts_every_new_pair_once(targets: Any, tmp_path: Path) -> None:
    settings = Settings(split="temporal", targets=targets)
    generation = open_generation(small_generation(tmp_path, 2, settings=settings))
    ids, end = (
        generation.manifest.item_vocabulary_size,
        generation.manifest.cuts["validation_at_ms"],
    )
    wanted = plain_counts(generation.sequences("train")["item_index"].to_pylist(), 2)
    for row in generation.sequences("validation").to_pylist():
        old = [i for i, t in zip(row["item_index"], row["timestamp_ms"], strict=True) if t < end]
        wanted += plain_counts([row["item_index"] + row["target_item_index"]], 2)
        wanted -= plain_counts([old], 2)
    assert as_counter(count_neighbours(generation, ids, 2, refit=True)) == wanted
    assert as_counter(count_neighbours(generation, ids, 2)) < wanted


@pytest.mark.parametrize("window", [1, 4])
def test_scores_put_neighbours_first_and_then_popularity(
    generation: Generation, window: int
) -> None:
    rows = generation.sequences("train", ["item_index"])["item_index"].to_pylist()
    together = plain_counts(rows, window)
    counts = {c["item_index"]: c["train_count"] for c in generation.item_counts().to_pylist()}
    scorer = Neighbours(generation, window=window)
    items = scorer.table.catalogue_N.tolist()
    for batch in split_batches(generation, "test", Config()):
        users = scorer.encode(batch)
        parts = [
            scorer.scores(users, start, min(start + 7, len(items)))
            for start in range(0, len(items), 7)
        ]
        scores = torch.cat(parts, dim=1)
        assert torch.equal(scores, scorer.scores(users, 0, len(items)))
        for row in range(batch.users):
            last = int(batch.item_BT[row, batch.length_B[row] - 1])
            keys = [(together[last, item], counts.get(item, 0)) for item in items]
            by_key = sorted(range(len(items)), key=lambda n: keys[n])
            by_score = sorted(range(len(items)), key=lambda n: float(scores[row, n]))
            assert by_key == by_score
            equal = {n for n in by_key if keys.count(keys[n]) > 1}
            assert equal == {
                n for n in by_key if (scores[row] == scores[row, n]).count_nonzero() > 1
            }


def test_an_item_that_was_never_trained_on_leaves_popularity(generation: Generation) -> None:
    scorer = Neighbours(generation)
    unknown = torch.tensor([[1]])
    popularity = scorer.table.train_count_I[scorer.table.catalogue_N].double()
    scores = scorer.scores(unknown, 0, len(popularity))
    assert scores[0].tolist() == popularity.tolist()


def test_no_training_sequences_at_all(tmp_path: Path) -> None:
    small_generation(
        tmp_path, settings=Settings(min_length=1), goods=shop(0, users=30, interactions=3)
    )
    generation = open_generation(tmp_path)
    assert generation.manifest.counts.sequences["train"] == 0
    scorer = Neighbours(generation)
    size = len(scorer.table.catalogue_N)
    assert scorer.scores(torch.tensor([[2]]), 0, size).shape == (1, size)
