"""Every file of a chain of refreshes equals the brute-force reference, on small nasty inputs."""

import json
import random
import shutil
import tempfile
from pathlib import Path

import pytest
import yaml
from building import build_folder
from compare import differences
from hypothesis import given
from profiles import profile
from shop_chains import Step, chains
from strategies import write_input

from heterrec_schemas.errors import HeterrecError
from heterrec_schemas.testing.reference import Reference, reference
from heterrec_schemas.testing.reference_values import RefusedError


@pytest.mark.slow
@profile(4)
@given(steps=chains())
def test_chain_of_refreshes_equals_reference(steps: list[Step]) -> None:
    with tempfile.TemporaryDirectory() as name:
        follow(steps, Path(name))


@pytest.mark.slow
@profile(2)
@given(steps=chains(most_interactions=60))
def test_chain_with_large_vocabularies_of_shuffled_files_equals_reference(
    steps: list[Step],
) -> None:
    for step in steps:
        step.dataset.spec["limits"]["broadcast_values"] = 0
    with tempfile.TemporaryDirectory() as name:
        follow(steps, Path(name), files=3, shuffle_seed=1)


def follow(
    steps: list[Step], folder: Path, *, files: int = 1, shuffle_seed: int | None = None
) -> None:
    """Build the first possible step, refresh the others; a step that the reference refuses must fail, and changes nothing."""
    output = folder / "output"
    parent: Reference | None = None
    before = ""
    for number, step in enumerate(steps):
        source = folder / f"input-{number}"
        write_input(source, step.dataset, files=files, shuffle_seed=shuffle_seed)
        if number:
            leave_unchanged(folder / f"input-{number - 1}", source, random.Random(number))
        spec = yaml.safe_load(step.dataset.spec_text)
        refit = [name for name in step.refit if parent and name in fitted_names(parent)]
        error = result = None
        base = None if parent is None else str(output)
        try:
            result = build_folder(step.dataset.spec_text, source, output, base=base, refit=refit)
        except HeterrecError as raised:
            error = raised
        refused = found = None
        try:
            found = reference(spec, source, parent, refit)
        except RefusedError as raised:
            refused = raised
        if found is None:
            assert error is not None, f"step {number} built, though the contract refuses: {refused}"
            assert error.exit_code == 2, error
            assert latest(output) == before
            continue
        assert error is None, f"step {number} refused: {error}"
        lines = differences(found, spec, Path(result.path))
        assert not lines, f"step {number}:\n" + "\n".join(lines[:20])
        parent, before = found, latest(output)
        assert json.loads(before)["generation"] == Path(result.path).name


def leave_unchanged(before: Path, now: Path, rng: random.Random) -> None:
    """Put files of the day before in the place of some of today's, so that they need not be parsed again."""
    for path in sorted(now.rglob("*")):
        earlier = before / path.relative_to(now)
        if path.is_file() and earlier.exists() and rng.random() < 0.5:
            shutil.copyfile(earlier, path)


def latest(output: Path) -> str:
    path = output / "latest.json"
    return path.read_text(encoding="utf-8") if path.exists() else ""


def fitted_names(parent: Reference) -> set[str]:
    """The features with boundaries or quantizers, by the names of their files."""
    return {*parent.boundaries, *parent.quantizers, *parent.codebooks}
