"""The same rows give the same bytes: however they are split, ordered, bundled and run."""

import hashlib
import tempfile
from pathlib import Path
from typing import Any

import pytest
from building import build_dataset
from fixed import catalogue, denormalised, empty_splits
from hypothesis import given
from hypothesis import strategies as st
from profiles import profile
from strategies import Dataset, datasets

from heterrec_schemas.errors import DataError, HeterrecError

THREADS = ["--direct_num_workers=2", "--direct_running_mode=multi_threading"]
MORE_THREADS = ["--direct_num_workers=3", "--direct_running_mode=multi_threading"]
FREE = ("rejects/", "state/", "manifest.json")
"""Files with the names of input files, rows and times: only these may differ."""


def hashes(path: Path) -> dict[str, str]:
    """SHA-256 of every file whose bytes depend on the rows only."""
    return {
        str(p.relative_to(path)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(path.rglob("*"))
        if p.is_file() and not str(p.relative_to(path)).startswith(FREE)
    }


def outcome(dataset: Dataset, **how: Any) -> tuple[object, object]:
    """The hashes of a build's files and its content hash, or the kind of its refusal.

    Raises:
        HeterrecError: the run failed, or was refused for what is no mistake of the data.
    """
    with tempfile.TemporaryDirectory() as name:
        try:
            result = build_dataset(dataset, Path(name), **how)
        except HeterrecError as error:
            if not isinstance(error, DataError):
                raise
            return type(error).__name__, None
        return hashes(Path(result.path)), result.manifest.content_sha256


FIXED = {"catalogue": catalogue, "denormalised": denormalised, "empty_splits": empty_splits}
WAYS: list[dict[str, Any]] = [
    {"files": 5},
    {"shuffle_seed": 7},
    {"files": 3, "shuffle_seed": 8, "pipeline_args": THREADS},
    {"files": 9, "shuffle_seed": 9, "pipeline_args": MORE_THREADS},
]


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS, ids=["split", "shuffled", "threads", "many"])
@pytest.mark.parametrize("name", FIXED)
def test_same_bytes(name: str, way: dict[str, Any]) -> None:
    dataset = FIXED[name]()
    assert outcome(dataset, **way) == plain(name)


_plain: dict[str, tuple[object, object]] = {}


def plain(name: str) -> tuple[object, object]:
    """The build of the unchanged data set from one file; run once."""
    if name not in _plain:
        _plain[name] = outcome(FIXED[name]())
        assert isinstance(_plain[name][0], dict), "the fixed data sets can be built"
    return _plain[name]


@pytest.mark.slow
@profile(6)
@given(dataset=datasets(), way=st.sampled_from(WAYS))
def test_same_bytes_of_any_input(dataset: Dataset, way: dict[str, Any]) -> None:
    assert outcome(dataset, **way) == outcome(dataset)
