"""The same rows give the same bytes: however they are split, ordered, bundled and run."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from outcomes import FIXED, outcome, plain
from profiles import profile
from strategies import Dataset, datasets

THREADS = ["--direct_num_workers=3", "--direct_running_mode=multi_threading"]
WAYS: list[dict[str, Any]] = [
    {"files": 5, "shuffle_seed": 7},
    {"files": 9, "shuffle_seed": 9, "pipeline_args": THREADS},
]


def tables(found: dict[str, Any]) -> dict[str, Any]:
    """The bytes of an outcome; how rejected rows are named depends on the files."""
    return {name: found.get(name) for name in ("files", "content", "refused")}


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS, ids=["split", "threads"])
@pytest.mark.parametrize("name", FIXED)
def test_same_bytes(name: str, way: dict[str, Any]) -> None:
    assert tables(outcome(FIXED[name](), **way)) == tables(plain(name))


@pytest.mark.slow
@profile(4)
@given(dataset=datasets(), way=st.sampled_from(WAYS))
def test_same_bytes_of_any_input(dataset: Dataset, way: dict[str, Any]) -> None:
    assert tables(outcome(dataset, **way)) == tables(outcome(dataset))
