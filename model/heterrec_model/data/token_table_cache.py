"""Cache of token tables as memory-mapped files, whose pages several processes share.

Each table has a folder named by a hash of its sources. It is written under a temporary name and renamed when complete, so
an interrupted build leaves nothing that could be read.
"""

import hashlib
import json
import shutil
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from heterrec_model.data.chosen_features import FeatureInfo
from heterrec_model.data.token_table_arrays import ARRAYS, Arrays, Described, read_arrays
from heterrec_schemas import Generation
from heterrec_schemas.documents import parse_json
from heterrec_schemas.errors import RunError
from heterrec_schemas.manifest import FeatureEntry
from heterrec_schemas.stores.disk import locked

_VERSION = 2
_ABOUT = "about.json"
_UNFINISHED = "unfinished-"


def cached_table(
    generation: Generation,
    cache: Path,
    items: Sequence[FeatureEntry],
    users: Sequence[FeatureEntry],
) -> tuple[Described, Arrays]:
    """The arrays of a token table with the chosen item and user features, mapped from the cache; they are built if absent.

    Raises:
        CorruptGenerationError: a shard cannot be read.
        RunError: the cache cannot be written.
    """
    about: dict[str, Any] = {
        "version": _VERSION,
        "content_sha256": generation.manifest.content_sha256,
        "items": [entry.name for entry in items],
        "users": [entry.name for entry in users],
    }
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()
    folder = cache / f"table-{digest[:20]}"
    if (table := _load(folder, about)) is not None:
        return table
    try:
        with _locked(cache):
            # Another process may have built it in the meantime.
            if (table := _load(folder, about)) is None:
                _build(generation, folder, about, items, users)
                table = _load(folder, about)
    except OSError as error:
        raise RunError(
            f"cannot write the token table to {cache}: {error}",
            todo="Free some space there, or choose another folder.",
        ) from error
    assert table is not None, f"{folder} was written but cannot be read"
    return table


def _build(
    generation: Generation,
    folder: Path,
    about: dict[str, Any],
    items: Sequence[FeatureEntry],
    users: Sequence[FeatureEntry],
) -> None:
    unfinished = folder.parent / f"{_UNFINISHED}{uuid.uuid4().hex}"
    unfinished.mkdir()
    arrays: list[np.memmap[Any, Any]] = []

    def allocate(name: str, shape: tuple[int, ...], dtype: Any) -> npt.NDArray[Any]:
        path = unfinished / f"{name}.npy"
        arrays.append(np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape))
        return arrays[-1]

    described, _ = read_arrays(generation, items, users, allocate)
    for array in arrays:
        array.flush()
    body = {side: [asdict(feature) for feature in described[side]] for side in described}
    text = json.dumps({**about, "described": body}, indent=1)
    (unfinished / _ABOUT).write_text(text, encoding="utf-8")
    # An existing folder is unreadable, or it would have been used.
    shutil.rmtree(folder, ignore_errors=True)
    unfinished.rename(folder)


def _load(folder: Path, about: dict[str, Any]) -> tuple[Described, Arrays] | None:
    """The table in a folder; None if it is absent, incomplete or of other sources."""
    try:
        body = parse_json((folder / _ABOUT).read_bytes())
        if any(body.get(key) != value for key, value in about.items()):
            return None
        sides = body["described"]
        described = {s: tuple(FeatureInfo(**f) for f in sides[s]) for s in ("items", "users")}
        # Copy on write: PyTorch requires writable arrays.
        arrays = {
            name: np.load(folder / f"{name}.npy", mmap_mode="c", allow_pickle=False)
            for name in ARRAYS
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    items = len(arrays["train_count"])
    columns = sum(feature.columns for feature in described["items"])
    expected = {"tokens": (items, columns), "value": (items, len(described["items"]))}
    if any(arrays[name].shape != shape for name, shape in expected.items()):
        return None
    return described, arrays


@contextmanager
def _locked(cache: Path) -> Iterator[None]:
    """Let one process at a time build; remove the leftovers of interrupted builds."""
    cache.mkdir(parents=True, exist_ok=True)
    with locked(cache / "lock"):
        for leftover in cache.glob(f"{_UNFINISHED}*"):
            shutil.rmtree(leftover, ignore_errors=True)
        yield
