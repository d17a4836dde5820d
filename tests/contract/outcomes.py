"""The result of a build, to be compared with another build of the same rows."""

import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import polars as pl
from building import build_dataset
from fixed import catalogue, denormalised, empty_splits, imported
from strategies import Dataset

from heterrec_pipeline import sizing
from heterrec_pipeline.sizing import Sizes
from heterrec_schemas import tokens
from heterrec_schemas.errors import DataError, HeterrecError
from heterrec_schemas.manifest import Manifest
from heterrec_schemas.testing import reference_features

FIXED = {
    "catalogue": catalogue,
    "denormalised": denormalised,
    "empty_splits": empty_splits,
    "imported": imported,
}
FREE = ("rejects/", "state/", "manifest.json")
"""Files with the names of input files, rows and times: only these may differ."""


def hashes(path: Path) -> dict[str, str]:
    """SHA-256 of every file whose bytes depend on the rows only."""
    return {
        str(p.relative_to(path)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(path.rglob("*"))
        if p.is_file() and not str(p.relative_to(path)).startswith(FREE)
    }


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
    rejects = pl.read_parquet(path / "rejects" / "*.parquet")
    return {
        "files": hashes(path),
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


def plain(name: str, shard: int | None = None) -> dict[str, Any]:
    """The build of a fixed data set from one file per table, in which every worker holds everything; run once."""
    if (name, shard) not in _plain:
        with forced((), 1, shard):
            _plain[name, shard] = outcome(FIXED[name]())
        assert "files" in _plain[name, shard], "the fixed data sets can be built"
    return _plain[name, shard]
