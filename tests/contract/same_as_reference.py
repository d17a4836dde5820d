"""Every file of a build equals the brute-force reference."""

from pathlib import Path
from typing import Any

import yaml
from building import build_dataset
from compare import differences
from strategies import Dataset

from heterrec_schemas.errors import HeterrecError
from heterrec_schemas.testing.reference import reference
from heterrec_schemas.testing.reference_values import RefusedError


def assert_as_reference(
    dataset: Dataset, folder: Path, *, files: int, shuffle_seed: int | None = None
) -> Any:
    """Build and compare; if the reference refuses the input, the build fails with exit code 2.

    Returns:
        The result of the build, or the error that it ended with.
    """
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
        return error
    assert error is None, f"refused: {error}"
    lines = differences(found, spec, Path(result.path))
    assert not lines, "\n".join(lines[:20])
    return result
