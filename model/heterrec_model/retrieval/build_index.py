"""Build the index of a bundle: train, fill, choose the effort, measure the recall, publish.

The effort is chosen on one half of the users of the bundle's sample, and the recall is measured on the other half.

Shapes: S users, N items, D width, K number of answers.
"""

import math
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from heterrec_model.bundle.files import INDEX, INDEX_FILE, INDEX_INFO, IndexInfo
from heterrec_model.bundle.reader import Bundle, open_bundle
from heterrec_model.retrieval.exact import NONE, Floats, Ints, TopItems, exact_top
from heterrec_model.retrieval.swap import swap
from heterrec_model.retrieval.vector_index import (
    EFFORT,
    FLAT,
    HNSW,
    IVF,
    faiss_module,
    search_parameters,
)
from heterrec_schemas.errors import BundleError, CallError, RunError, suggest
from heterrec_schemas.hashing import file_sha256
from heterrec_schemas.stores.disk import locked, sync

AUTO = "auto"
KINDS = (AUTO, FLAT, IVF, HNSW)
FLAT_UP_TO = 50_000
"""Largest number of items for which `auto` chooses `flat`: exact search of one user then takes about a millisecond."""
_USERS = 1_000
"""Largest number of users of each half."""
_DEEP_USERS = 100
"""Likewise for further depths, where a search takes longer and varies less."""
_SEED = 20260
_ITERATIONS = 10
_PER_LIST = 128
"""Number of items per list that the centres of the lists are computed from."""
_NEIGHBOURS, _CONSTRUCTION = 32, 200
_MOST_EF = 4096
_DEPTHS = (10, 100)
"""Further depths whose effort is measured, as multiples of k."""
_DEEP = 0.995
"""Recall aimed at beyond the first depth: answers then consist of the last of these items, which are missed more often."""
_CLOSE = 1e-5
"""Relative difference up to which scores of two libraries count as equal."""
Report = Callable[[str], None]


@dataclass(frozen=True)
class IndexSettings:
    """How an index is built.

    Attributes:
        kind: auto, flat, ivf or hnsw; auto is flat up to 50,000 items, then ivf.
        k: of the recall.
        min_recall: least recall at k with which the index is published, 0 to 1.
    """

    kind: str = AUTO
    k: int = 100
    min_recall: float = 0.99

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise CallError(f"there is no kind {self.kind!r}", todo=suggest(self.kind, KINDS))
        if not 1 <= self.k <= 10_000:
            raise CallError("k", got=self.k, expected="1 to 10,000")
        if not 0 < self.min_recall <= 1:
            raise CallError("min_recall", got=self.min_recall, expected="above 0, at most 1")


def build_index(
    bundle_folder: str | Path,
    kind: str = AUTO,
    k: int = 100,
    min_recall: float = 0.99,
    *,
    report: Report = lambda line: None,
) -> IndexInfo:
    """Build the index of a bundle and publish it in the folder `index`, in place of one that is there.

    The same bundle gives the same index, with the same versions of the libraries.

    Args:
        bundle_folder: of the bundle, on this machine.
        kind: auto, flat, ivf or hnsw.
        k: of the recall.
        min_recall: least recall at k.
        report: receives lines about the progress.

    Raises:
        CallError: an argument is out of range, or faiss is not installed.
        BundleError: the bundle cannot be read, has no sample of users, or another process builds its index.
        RunError: the recall is not reached, or the index cannot be written. The published index, if any, is unchanged.
    """
    settings = IndexSettings(kind, k, min_recall)
    if "://" in str(bundle_folder):
        raise CallError(
            "an index is built on this machine",
            got=str(bundle_folder),
            expected="a local folder",
            todo="Copy the bundle here, run `heterrec-model index`, and copy its folder `index` back.",
        )
    bundle = open_bundle(bundle_folder)
    with _only_builder(bundle.folder):
        return _build(bundle, settings, report)


def _build(bundle: Bundle, settings: IndexSettings, report: Report) -> IndexInfo:
    faiss = faiss_module()
    items_ND = bundle.item_vectors_ND
    kind = settings.kind
    if kind == AUTO:
        kind = FLAT if len(items_ND) <= FLAT_UP_TO else IVF
    if not len(items_ND):
        raise BundleError(f"{bundle.folder} has no items", todo="Export a run with a catalogue.")
    users_SD = np.asarray(bundle.sample_user_vectors_SD)
    if not len(users_SD) and kind != FLAT:
        text = f"{bundle.folder} has no sample of user vectors to measure the recall on"
        raise BundleError(
            text, todo="Use --kind flat, or export the bundle from a generation with users."
        )
    chosen_SD = users_SD[0::2][:_USERS]
    measured_SD = (users_SD[1::2] if len(users_SD) > 1 else users_SD)[:_USERS]
    report(f"{kind}: building the index of {len(items_ND):,} items")
    index, made = _filled(kind, items_ND)
    if kind == FLAT:
        effort: dict[str, int] = {}
        recall = 1.0
    else:
        trial = _Trial(index, kind, items_ND)
        effort, recall = _tuned(trial, chosen_SD, measured_SD, settings, report)
    draft = bundle.folder / _DRAFT
    try:
        draft.mkdir()
        file = draft / INDEX_FILE
        faiss.write_index(index, str(file))
        info = IndexInfo(
            fingerprint=bundle.fingerprint,
            kind=kind,
            settings=made | effort,
            k=settings.k,
            recall=recall,
            users=len(measured_SD),
            least_recall=settings.min_recall,
            bytes=file.stat().st_size,
            sha256=file_sha256(file),
            versions={
                "faiss": faiss.__version__,
                "numpy": np.__version__,
                "python": ".".join(map(str, sys.version_info[:3])),
            },
        )
        (draft / INDEX_INFO).write_text(info.model_dump_json(indent=1) + "\n")
        for name in (INDEX_FILE, INDEX_INFO):
            sync(draft / name)
        sync(draft)
        swap(draft, bundle.folder / INDEX)
        sync(bundle.folder)
    except (OSError, RuntimeError) as error:
        text = f"the index cannot be written to {bundle.folder}: {error}"
        raise RunError(text, todo="Free space or permissions there, then run again.") from None
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return info


_DRAFT = f".{INDEX}-draft"


@contextmanager
def _only_builder(folder: Path) -> Iterator[None]:
    """Hold the lock of a bundle's builder, and remove what a killed one has left."""
    busy = BundleError(f"another process is building the index of {folder}", todo="Wait for it.")
    with locked(folder, busy):
        with suppress(OSError):
            shutil.rmtree(folder / _DRAFT)
        yield


def _filled(kind: str, items_ND: Floats) -> tuple[Any, dict[str, int]]:
    """An index with all items, and how it was made. It does not depend on the number of threads."""
    faiss = faiss_module()
    items, width = items_ND.shape
    if kind == FLAT:
        index = faiss.IndexFlatIP(width)
        index.add(np.ascontiguousarray(items_ND))
        return index, {}
    if kind == HNSW:
        index = faiss.IndexHNSWFlat(width, _NEIGHBOURS, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = _CONSTRUCTION
        threads = faiss.omp_get_max_threads()
        faiss.omp_set_num_threads(1)  # with several, links depend on who comes first
        try:
            index.add(np.ascontiguousarray(items_ND))
        finally:
            faiss.omp_set_num_threads(threads)
        return index, {"neighbours": _NEIGHBOURS, "construction": _CONSTRUCTION}
    lists = max(1, min(round(2 * math.sqrt(items)), items))
    index = faiss.IndexIVFFlat(faiss.IndexFlatIP(width), width, lists, faiss.METRIC_INNER_PRODUCT)
    index.cp.niter, index.cp.seed = _ITERATIONS, _SEED
    index.cp.min_points_per_centroid, index.cp.max_points_per_centroid = 1, _PER_LIST
    sample = np.arange(items)
    if items > lists * _PER_LIST:
        random = np.random.default_rng(_SEED)
        sample = np.sort(random.choice(items, lists * _PER_LIST, replace=False))
    index.train(np.ascontiguousarray(items_ND[sample]))
    for start in range(0, items, 2**17):
        index.add(np.ascontiguousarray(items_ND[start : start + 2**17]))
    return index, {"lists": lists}


@dataclass(frozen=True, eq=False)
class _Trial:
    """Searches with an index before it is published.

    Attributes:
        index: of faiss.
        kind: ivf or hnsw.
        items_ND: its items.
    """

    index: Any
    kind: str
    items_ND: Floats

    @property
    def most(self) -> int:
        """The largest effort."""
        return int(self.index.nlist) if self.kind == IVF else _MOST_EF

    def recall(
        self, effort: int, users_SD: Floats, best: TopItems, k: int
    ) -> npt.NDArray[np.float64]:
        """Share of the k best items of each user that a search finds, [S]. Items of equal score count as the same."""
        parameters = search_parameters(self.kind, max(effort, k if self.kind == HNSW else 1))
        _, found_SK = self.index.search(users_SD, k, params=parameters)
        worst_S = best.score_BK[:, k - 1]
        recall_S = np.zeros(len(users_SD))
        for row in range(len(users_SD)):
            position: Ints = found_SK[row][found_SK[row] != NONE]
            sure = np.isin(position, best.position_BK[row, :k], kind="sort")
            scores = self.items_ND[position[~sure]] @ users_SD[row]
            equal = scores >= worst_S[row] - _CLOSE * abs(worst_S[row])
            recall_S[row] = (sure.sum() + equal.sum()) / k
        return recall_S

    def least_effort(
        self, users_SD: Floats, best: TopItems, k: int, start: int, aim: float
    ) -> int | None:
        """The least effort whose recall, less two standard errors, reaches an aim, to about 5%; None if there is none."""

        def reaches(effort: int) -> bool:
            recall_S = self.recall(effort, users_SD, best, k)
            return bool(recall_S.mean() - 2 * recall_S.std() / math.sqrt(len(recall_S)) >= aim)

        low, high = max(start // 2, 0), start
        while not reaches(high):
            if high >= self.most:
                return None
            low, high = high, min(2 * high, self.most)
        while high - low > max(1, high // 20):
            middle = (low + high) // 2
            low, high = (low, middle) if reaches(middle) else (middle, high)
        return high


def _tuned(
    trial: _Trial,
    chosen_SD: Floats,
    measured_SD: Floats,
    settings: IndexSettings,
    report: Report,
) -> tuple[dict[str, int], float]:
    """The effort by depth, and the recall at k of the users of the other half.

    Raises:
        RunError: the recall is not reached.
    """
    items, kind = len(trial.items_ND), trial.kind
    k = min(settings.k, items)
    depths = [k] + [k * m for m in _DEPTHS if k * m <= items / 20]
    effort_at: dict[int, int] = {}
    for depth in depths:
        report(f"{kind}: choosing the effort for the best {depth:,}")
        aim = settings.min_recall if depth == k else max(settings.min_recall, _DEEP)
        start = max(effort_at.values(), default=1)
        some_SD = chosen_SD if depth == k else chosen_SD[:_DEEP_USERS]
        best = exact_top(some_SD, trial.items_ND, depth)
        effort = trial.least_effort(some_SD, best, depth, start, aim)
        if effort is None:
            break
        effort_at[depth] = effort
    effort_at = effort_at or {k: trial.most}
    report(f"{kind}: measuring the recall")
    best = exact_top(measured_SD, trial.items_ND, k)
    while True:
        recall = float(trial.recall(effort_at[k], measured_SD, best, k).mean())
        if recall >= settings.min_recall:
            return {f"{EFFORT[kind]}_{d}": value for d, value in effort_at.items()}, recall
        if effort_at[k] >= trial.most:
            raise _too_low(kind, k, recall, settings, trial.most)
        # The other half of the users needs more.
        effort_at = {d: min(e + e // 4 + 1, trial.most) for d, e in effort_at.items()}


def _too_low(kind: str, k: int, got: float, settings: IndexSettings, most: int) -> RunError:
    return RunError(
        f"the index was not published: its recall@{k} is too low",
        got=f"{got:.4f} with {EFFORT[kind]} {most:,}, the most",
        expected=f"at least {settings.min_recall}",
        todo=f"Use --kind {'ivf or flat' if kind == HNSW else 'flat'}, or a lower --min-recall.",
    )
