"""Every file of a build equals the brute-force reference, on small nasty inputs."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from building import build_dataset
from compare import differences
from fixed import catalogue, denormalised, empty_splits, erased, erased_from_the_log
from hypothesis import given
from profiles import profile
from strategies import Dataset, datasets

from heterrec_schemas.errors import HeterrecError
from heterrec_schemas.testing.reference import reference
from heterrec_schemas.testing.reference_values import RefusedError


@pytest.mark.slow
@profile(20)
@given(dataset=datasets())
def test_build_equals_reference(dataset: Dataset) -> None:
    with tempfile.TemporaryDirectory() as name:
        assert_as_reference(dataset, Path(name), files=1)


@pytest.mark.slow
@profile(8)
@given(dataset=datasets(most_interactions=60))
def test_build_of_split_and_shuffled_input_equals_reference(dataset: Dataset) -> None:
    with tempfile.TemporaryDirectory() as name:
        assert_as_reference(dataset, Path(name), files=3, shuffle_seed=1)


@pytest.mark.slow
@pytest.mark.parametrize(
    "make", [catalogue, denormalised, empty_splits, erased, erased_from_the_log]
)
def test_build_of_fixed_input_equals_reference(make: Callable[[], Dataset], tmp_path: Path) -> None:
    assert_as_reference(make(), tmp_path, files=2, shuffle_seed=3)


def assert_as_reference(
    dataset: Dataset, folder: Path, *, files: int, shuffle_seed: int | None = None
) -> None:
    """Build and compare; if the reference refuses the input, the build fails with exit code 2."""
    error = result = None
    try:
        result = build_dataset(dataset, folder, files=files, shuffle_seed=shuffle_seed)
    except HeterrecError as raised:
        error = raised
    spec = yaml.safe_load(dataset.spec_text)
    refused = found = None
    try:
        found = reference(spec, folder / "input")
    except RefusedError as raised:
        refused = raised
    if found is None:
        assert error is not None, f"built, though the contract refuses: {refused}"
        assert error.exit_code == 2, error
        assert not (folder / "output" / "latest.json").exists()
        return
    assert error is None, f"refused: {error}"
    lines = differences(found, spec, Path(result.path))
    assert not lines, "\n".join(lines[:20])
