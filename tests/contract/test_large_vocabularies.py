"""Large vocabularies, looked up by bucket, give the same bytes, counts and rejects as those held in memory."""

import copy
import tempfile
from pathlib import Path
from typing import Any

import pytest
from fixed import catalogue
from hypothesis import given
from hypothesis import strategies as st
from outcomes import FIXED, forced, outcome, plain
from profiles import profile
from same_as_reference import assert_as_reference
from strategies import Dataset, datasets

from heterrec_pipeline import sizing
from heterrec_pipeline.wiring import exchange

KINDS = ("items", "users", "item/", "user/")
THREADS = ["--direct_num_workers=2", "--direct_running_mode=multi_threading"]


def limited(dataset: Dataset, limit: int) -> Dataset:
    """The same data under `limits.broadcast_values`."""
    spec = copy.deepcopy(dataset.spec)
    spec.setdefault("limits", {})["broadcast_values"] = limit
    return Dataset(spec, dataset.tables)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "kinds", "bucket", "shard"),
    [
        ("catalogue", KINDS, 8, None),
        ("catalogue", KINDS, 50, 4),
        ("catalogue", ("items",), 2**20, 4),
        ("catalogue", ("item/", "users"), 8, 4),
        ("denormalised", KINDS, 3, 50),
        ("empty_splits", KINDS, 2, None),
        ("imported", KINDS, 3, None),
        ("imported", ("item/", "user/"), 2, 2),
    ],
)
def test_large_ones_give_the_same(
    name: str, kinds: tuple[str, ...], bucket: int, shard: int | None
) -> None:
    with forced(kinds, bucket, shard):
        assert outcome(FIXED[name]()) == plain(name, shard)


@pytest.mark.slow
def test_tables_may_go_through_the_shuffle_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "DISTRIBUTED", ("FnApiRunner",))
    with forced(KINDS, 8, None):
        assert outcome(catalogue()) == plain("catalogue")


@pytest.mark.slow
def test_the_limit_of_the_spec_chooses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sizing, "VALUES_PER_BUCKET", 8)
    want = plain("catalogue")
    for limit in (0, 20):
        found = outcome(limited(catalogue(), limit), files=3, shuffle_seed=6, pipeline_args=THREADS)
        assert _of_the_rows(found) == _of_the_rows(want)


def _of_the_rows(result: dict[str, Any]) -> dict[str, Any]:
    """A result without the spec, which names the limit, and the rejects, which name files and rows."""
    files = {name: sha for name, sha in result["files"].items() if name != "spec.yaml"}
    return {**result, "files": files, "rejects": None}


@pytest.mark.slow
@profile(6)
@given(
    dataset=datasets(),
    kinds=st.sets(st.sampled_from(KINDS), min_size=1).map(lambda s: tuple(sorted(s))),
    bucket=st.sampled_from([1, 3, 8, 1000]),
    shard=st.sampled_from([None, 2, 8]),
)
def test_large_ones_of_any_input_equal_the_reference(
    dataset: Dataset, kinds: tuple[str, ...], bucket: int, shard: int | None
) -> None:
    with forced(kinds, bucket, shard), tempfile.TemporaryDirectory() as name:
        assert_as_reference(dataset, Path(name), files=1)
