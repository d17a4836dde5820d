"""Large vocabularies, looked up by bucket, give the same bytes, counts and rejects as those held in memory."""

import copy
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import polars as pl
import pytest
from building import build_dataset
from fixed import catalogue, denormalised, empty_splits
from hypothesis import given
from hypothesis import strategies as st
from profiles import profile
from same_as_reference import assert_as_reference
from strategies import Dataset, datasets
from test_same_bytes import hashes

from heterrec_pipeline import sizing
from heterrec_pipeline.sizing import Sizes
from heterrec_pipeline.wiring import exchange
from heterrec_schemas import tokens
from heterrec_schemas.errors import DataError, HeterrecError
from heterrec_schemas.manifest import Manifest
from heterrec_schemas.testing import reference_features

FIXED = {"catalogue": catalogue, "denormalised": denormalised, "empty_splits": empty_splits}
KINDS = ("items", "users", "item/", "user/")
THREADS = ["--direct_num_workers=2", "--direct_running_mode=multi_threading"]


def limited(dataset: Dataset, limit: int) -> Dataset:
    """The same data under `limits.broadcast_values`."""
    spec = copy.deepcopy(dataset.spec)
    spec.setdefault("limits", {})["broadcast_values"] = limit
    return Dataset(spec, dataset.tables)


def outcome(dataset: Dataset, **how: Any) -> dict[str, Any]:
    """The result of a build: its files by hash, counts, features, rejects; or the kind of its refusal.

    Raises:
        HeterrecError: the run failed, or was refused for what is no mistake of the data.
    """
    with tempfile.TemporaryDirectory() as name:
        try:
            result = build_dataset(dataset, Path(name), **how)
        except HeterrecError as error:
            if not isinstance(error, DataError):
                raise
            return {"refused": type(error).__name__}
        return described(Path(result.path), result.manifest)


def described(path: Path, manifest: Manifest) -> dict[str, Any]:
    files = hashes(path)
    del files["spec.yaml"]  # names the limit
    rejects = pl.read_parquet(path / "rejects" / "*.parquet")
    return {
        "files": files,
        "content": manifest.content_sha256,
        "counts": manifest.counts,
        "features": [
            f.model_copy(update={"begun": None, "fitted": None}) for f in manifest.features
        ],
        "reasons": manifest.rejects,
        "rejects": sorted(rejects.rows(), key=str),
        "parts": (path / "parts").exists(),
    }


@contextmanager
def forced(kinds: tuple[str, ...], bucket: int, shard: int | None) -> Iterator[None]:
    """Make some kinds of vocabularies large.

    Args:
        kinds: which, by the beginnings of their names.
        bucket: about how many values go into a bucket.
        shard: how many values a vocabulary shard may hold (where the spec does not declare shards).
    """
    with ExitStack() as stack:
        stack.enter_context(patch.object(Sizes, "is_large", lambda _, v: v.startswith(kinds)))
        stack.enter_context(patch.object(sizing, "VALUES_PER_BUCKET", bucket))
        if shard is not None:
            for module in (tokens, reference_features):
                stack.enter_context(patch.object(module, "VALUES_PER_SHARD", shard))
        yield


_plain: dict[tuple[str, int | None], dict[str, Any]] = {}


def plain(name: str, shard: int | None) -> dict[str, Any]:
    """The build in which every worker holds everything; run once."""
    if (name, shard) not in _plain:
        with forced((), 1, shard):
            _plain[name, shard] = outcome(FIXED[name]())
        assert "files" in _plain[name, shard], "the fixed data sets can be built"
    return _plain[name, shard]


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
        assert outcome(catalogue()) == plain("catalogue", None)


@pytest.mark.slow
def test_the_limit_of_the_spec_chooses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sizing, "VALUES_PER_BUCKET", 8)
    dataset = catalogue()
    want = outcome(dataset, files=4, shuffle_seed=5)
    for limit in (0, 20):
        found = outcome(limited(dataset, limit), files=3, shuffle_seed=6, pipeline_args=THREADS)
        del found["rejects"]  # name other files and rows
        assert found == {k: v for k, v in want.items() if k != "rejects"}


@pytest.mark.slow
@profile(8)
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
