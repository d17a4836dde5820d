from types import SimpleNamespace
from typing import Any, cast

import pyarrow as pa
import pytest
import torch

from heterrec_model.config import Config
from heterrec_model.evaluation.candidates import candidate_mask
from heterrec_schemas import Generation

CATALOGUE = torch.tensor([3, 4, 5, 6, 7, 8])


def generation_of(method: str = "temporal", *, listed: bool) -> Generation:
    """Cuts at 100 and 200. Items 3 .. 6 occur, 2 is outside the catalogue; 5, 7 and 8 are listed at some time."""
    first = pa.table({"item_index": [2, 3, 4, 5, 6], "first_ms": [0, 99, 100, 150, 200]})
    since = pa.table({"item_index": [5, 7, 8], "available_from_ms": [99, 199, 200]})
    fake = SimpleNamespace(
        root="here",
        spec=SimpleNamespace(split=SimpleNamespace(method=method)),
        manifest=SimpleNamespace(
            cuts={"validation_at_ms": 100, "test_at_ms": 200}, item_vocabulary_size=9
        ),
        files=lambda folder: [folder],
        first_interactions=lambda: first,
        available_from=lambda: since if listed else None,
    )
    return cast(Generation, fake)


@pytest.mark.parametrize(
    ("listed", "split", "known"),
    [
        (False, "validation", {3}),
        (False, "test", {3, 4, 5}),
        (True, "validation", {3, 5}),
        (True, "test", {3, 4, 5, 7}),
    ],
)
def test_candidates_occur_or_are_listed_before_the_cut(
    listed: bool, split: str, known: set[int]
) -> None:
    """An item of the catalogue that does neither is none; a time at the cut is not before it."""
    mask = candidate_mask(generation_of(listed=listed), split, Config(), CATALOGUE)
    assert mask is not None
    assert set(CATALOGUE[mask].tolist()) == known


def test_all_items_are_candidates_if_asked_for_or_without_a_cut() -> None:
    config: Any = Config.model_validate({"evaluation": {"candidates": "all"}})
    assert candidate_mask(generation_of(listed=True), "test", config, CATALOGUE) is None
    of_users = generation_of("leave_one_out", listed=True)
    assert candidate_mask(of_users, "test", Config(), CATALOGUE) is None
