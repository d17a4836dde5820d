"""Builds of small nasty inputs: every file equals the brute-force reference, and `plan` has their counts."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from fixed import catalogue, denormalised, empty_splits, erased, erased_from_the_log, imported
from hypothesis import given
from profiles import profile
from same_as_planned import assert_planned, assert_refused
from same_as_reference import assert_as_reference
from strategies import Dataset, datasets

from heterrec_schemas.errors import HeterrecError


@pytest.mark.slow
@profile(8)
@given(dataset=datasets())
def test_build_equals_reference(dataset: Dataset) -> None:
    with tempfile.TemporaryDirectory() as name:
        assert_as_reference(dataset, Path(name), files=1)


@pytest.mark.slow
@profile(6)
@given(dataset=datasets(most_interactions=60))
def test_build_of_split_and_shuffled_input_equals_reference_and_plan(dataset: Dataset) -> None:
    with tempfile.TemporaryDirectory() as name:
        assert_as_reference_and_plan(dataset, Path(name), files=3, shuffle_seed=1)


@pytest.mark.slow
@pytest.mark.parametrize(
    "make", [catalogue, denormalised, empty_splits, erased, erased_from_the_log, imported]
)
def test_build_of_fixed_input_equals_reference_and_plan(
    make: Callable[[], Dataset], tmp_path: Path
) -> None:
    assert_as_reference_and_plan(make(), tmp_path, files=2, shuffle_seed=3)


def assert_as_reference_and_plan(
    dataset: Dataset, folder: Path, *, files: int, shuffle_seed: int
) -> None:
    """Build once, and compare; a plan may say more than a build that refuses."""
    done = assert_as_reference(dataset, folder, files=files, shuffle_seed=shuffle_seed)
    text, source = dataset.spec_text, folder / "input"
    if isinstance(done, HeterrecError):
        assert_refused(text, source, done)
    else:
        assert_planned(text, source, done.manifest)
