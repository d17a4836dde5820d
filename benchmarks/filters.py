"""Recall, full answers and time of filtered searches by an index.

    python benchmarks/filters.py [--items N] [--kind ivf]

Masks: `random`; `cluster`, whole clusters, as a category is; `near` and `far`, the clusters that the first of a group of
users likes best and least. Times are of one user per search, in one thread.
"""

import argparse
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import platform
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from made_vectors import MadeVectors, made_vectors, vector_bundle

from heterrec_model.bundle.reader import open_bundle
from heterrec_model.retrieval.build_index import build_index
from heterrec_model.retrieval.exact import NONE, Ints, exact_top
from heterrec_model.retrieval.search import Searcher
from heterrec_model.retrieval.vector_index import open_index

SHARES = (0.001, 0.01, 0.05, 0.1, 0.2, 0.5, 0.9, 1.0)
GROUPS, USERS = 4, 12


def masks(vectors: MadeVectors, share: float, user: int, seed: int) -> Iterator[tuple[str, Ints]]:
    """Names and positions of allowed items."""
    random = np.random.default_rng(seed)
    items = len(vectors.items_ND)
    yield "random", np.flatnonzero(random.random(items) < share)
    clusters = int(vectors.cluster_N.max()) + 1
    sizes = np.bincount(vectors.cluster_N, minlength=clusters)
    sums = np.zeros((clusters, vectors.items_ND.shape[1]), np.float32)
    np.add.at(sums, vectors.cluster_N, vectors.items_ND)
    liking = sums @ vectors.users_SD[user] / np.maximum(sizes, 1)
    for name, order in (
        ("cluster", random.permutation(clusters)),
        ("near", np.argsort(-liking)),
        ("far", np.argsort(liking)),
    ):
        enough = np.searchsorted(np.cumsum(sizes[order]), share * items) + 1
        yield name, np.flatnonzero(np.isin(vectors.cluster_N, order[:enough]))


def main() -> None:
    """Print one line per share, mask and number of hidden items."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--kind", default="ivf")
    parser.add_argument("-k", type=int, default=100)
    arguments = parser.parse_args()
    vectors = made_vectors(arguments.items, 2_000)
    with tempfile.TemporaryDirectory() as folder:
        bundle = open_bundle(vector_bundle(Path(folder) / "bundle", vectors))
        info = build_index(bundle.folder, arguments.kind)
        print(
            f"{platform.processor() or platform.machine()}; {info.kind} {info.settings}, recall {info.recall:.4f}"
        )
        run(Searcher(vectors.items_ND, open_index(bundle)), vectors, arguments.k)


def run(searcher: Searcher, vectors: MadeVectors, k: int) -> None:
    """Measure all masks."""
    searcher.top(vectors.users_SD[:1], k, allowed=np.arange(len(vectors.items_ND) // 2))
    print("share  mask     hidden  recall@k  lowest  short  p50 ms  p99 ms")
    for share in SHARES:
        found: dict[tuple[str, int], list[tuple[float, int, float]]] = {}
        for group in range(GROUPS):
            first = group * USERS
            users_BD = vectors.users_SD[first : first + USERS]
            for name, allowed in masks(vectors, share, first, group):
                for seen in (0, 1000):
                    best = exact_top(users_BD, vectors.items_ND, k + seen, allowed=allowed)
                    # The best items are the hidden ones: the hardest case.
                    hidden = [row[:seen][row[:seen] != NONE] for row in best.position_BK]
                    for row in range(USERS):
                        start = time.perf_counter()
                        own = searcher.top(
                            users_BD[row : row + 1], k, allowed=allowed, hidden=[hidden[row]]
                        )
                        seconds = time.perf_counter() - start
                        expected = best.position_BK[row, seen:]
                        expected = expected[expected != NONE]
                        got = own.position_BK[0][own.position_BK[0] != NONE]
                        right = np.isin(expected, got).mean() if len(expected) else 1.0
                        short = int(len(got) < min(k, max(len(allowed) - len(hidden[row]), 0)))
                        found.setdefault((name, seen), []).append((right, short, seconds))
        for (name, seen), rows in found.items():
            recall, short, seconds = (np.asarray(column) for column in zip(*rows, strict=True))
            print(
                f"{share:<6} {name:8} {seen:6}  {recall.mean():8.4f}  {recall.min():6.2f}  {short.sum():5}"
                f"  {1e3 * np.median(seconds):6.2f}  {1e3 * np.percentile(seconds, 99):6.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
