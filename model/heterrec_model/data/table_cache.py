"""Keep the arrays of a token table as files that are mapped, so that processes share their pages.

A folder a table, named by what it was made of. It is written under another name and renamed when it is whole, so that an
interrupted build leaves nothing that could be read.
"""

import fcntl
import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from heterrec_model.data.features import FeatureInfo
from heterrec_model.data.table_arrays import TableArrays, fill_arrays
from heterrec_schemas import Generation
from heterrec_schemas.errors import RunError

_VERSION = 1
_ABOUT = "about.json"
_UNFINISHED = "unfinished-"


@dataclass(frozen=True)
class Described:
    """The chosen features of both sides."""

    items: tuple[FeatureInfo, ...]
    users: tuple[FeatureInfo, ...]


def cached_table(
    generation: Generation,
    cache: Path,
    names: tuple[Sequence[str], Sequence[str]],
    describe: Callable[[], Described],
) -> tuple[Described, TableArrays]:
    """The arrays of a token table, mapped from the cache; they are built if they are not there.

    Args:
        generation: where the items come from.
        cache: the folder; made if absent.
        names: of the chosen item features and user features.
        describe: what the features look like; asked only when the arrays are built.

    Raises:
        CorruptGenerationError: a shard cannot be read.
        RunError: the cache cannot be written.
    """
    about: dict[str, Any] = {
        "version": _VERSION,
        "content_sha256": generation.manifest.content_sha256,
        "items": list(names[0]),
        "users": list(names[1]),
    }
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()
    folder = cache / f"table-{digest[:20]}"
    if (found := _load(folder, about)) is not None:
        return found
    try:
        with _alone(cache):
            # Another process may have built it meanwhile.
            if (found := _load(folder, about)) is None:
                _build(generation, folder, about, describe())
                found = _load(folder, about)
    except OSError as error:
        raise RunError(
            f"the token table cannot be kept in {cache}: {error}",
            todo="Make room there, or name another folder.",
        ) from error
    assert found is not None, f"{folder} was written and cannot be read"
    return found


def _build(
    generation: Generation, folder: Path, about: dict[str, Any], described: Described
) -> None:
    unfinished = Path(tempfile.mkdtemp(prefix=_UNFINISHED, dir=folder.parent))
    made: list[np.memmap[Any, Any]] = []

    def make(name: str, shape: tuple[int, ...], dtype: Any) -> npt.NDArray[Any]:
        path = unfinished / f"{name}.npy"
        made.append(np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape))
        return made[-1]

    fill_arrays(generation, described.items, make)
    for array in made:
        array.flush()
    text = json.dumps({**about, "described": asdict(described)}, indent=1)
    (unfinished / _ABOUT).write_text(text, encoding="utf-8")
    unfinished.chmod(0o755)
    # What stands there could not be read.
    shutil.rmtree(folder, ignore_errors=True)
    unfinished.rename(folder)


def _load(folder: Path, about: dict[str, Any]) -> tuple[Described, TableArrays] | None:
    """The table of a folder; None where there is none, or none that is whole and about the same."""
    try:
        found = json.loads((folder / _ABOUT).read_text(encoding="utf-8"))
        if any(found.get(key) != value for key, value in about.items()):
            return None
        described = Described(
            *(tuple(FeatureInfo(**f) for f in found["described"][s]) for s in ("items", "users"))
        )
        # Copy on write: PyTorch wants arrays that may be written to.
        arrays = (
            np.load(folder / f"{name}.npy", mmap_mode="c", allow_pickle=False)
            for name in ("tokens", "value", "catalogue", "train_count")
        )
        return described, TableArrays(*arrays)
    except (OSError, ValueError, KeyError, TypeError):
        return None


@contextmanager
def _alone(cache: Path) -> Iterator[None]:
    """One process at a time builds; what died while it built is cleared away."""
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as lock:
        # The system lets go of it when the process ends, however it ends.
        fcntl.flock(lock, fcntl.LOCK_EX)
        for left in cache.glob(f"{_UNFINISHED}*"):
            shutil.rmtree(left, ignore_errors=True)
        yield
