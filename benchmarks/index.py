"""Recall, time per search in one thread, build time and memory of the kinds of index, as the catalogue grows.

    python benchmarks/index.py [--items 100000 300000 1000000] [--kinds flat ivf hnsw] [-k 100]

Vectors are those of `made_vectors.py`. Each index is built in a process of its own with as many threads as cores (hnsw
with one), and searched in another one with one thread, one user at a time.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

from made_vectors import made_vectors, vector_bundle
from measure import run

USERS = 2_000

BUILD = """
import sys, time
from heterrec_model.retrieval.build_index import build_index
start = time.perf_counter()
info = build_index(sys.argv[1], sys.argv[2], int(sys.argv[3]), min_recall=float(sys.argv[4]))
print(info.model_copy(update={"versions": {}}).model_dump_json())
"""
SEARCH = """
import json, sys, time
import numpy as np
from heterrec_model.bundle.reader import open_bundle
from heterrec_model.retrieval.exact import exact_top
from heterrec_model.retrieval.search import Searcher
from heterrec_model.retrieval.vector_index import open_index
bundle = open_bundle(sys.argv[1], verify="sizes")
users, k = np.asarray(bundle.sample_user_vectors_SD)[1::2], int(sys.argv[2])
searcher = Searcher(bundle.item_vectors_ND, open_index(bundle))
best = exact_top(users, bundle.item_vectors_ND, k).position_BK
seconds, right = [], []
for user, expected in zip(users, best):
    start = time.perf_counter()
    found = searcher.top(user[None], k)
    seconds.append(time.perf_counter() - start)
    right.append(np.isin(expected, found.position_BK[0]).mean())
p50, p99 = 1e3 * np.percentile(seconds[10:], [50, 99])
print(json.dumps({"recall": float(np.mean(right)), "p50": p50, "p99": p99}))
"""


def main() -> None:
    """Print one line per size and kind."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, nargs="+", default=[100_000, 300_000, 1_000_000])
    parser.add_argument("--kinds", nargs="+", default=["flat", "ivf", "hnsw"])
    parser.add_argument("-k", type=int, default=100)
    parser.add_argument("--min-recall", type=float, default=0.99)
    arguments = parser.parse_args()
    print(f"{platform.machine()}, {os.cpu_count()} cores, {USERS // 2:,} users, D 64")
    print("items      kind  recall   p50 ms  p99 ms  build s  build MB  file MB  settings")
    for items in arguments.items:
        with tempfile.TemporaryDirectory() as folder:
            bundle = vector_bundle(Path(folder) / "bundle", made_vectors(items, USERS))
            for kind in arguments.kinds:
                measure(bundle, items, kind, arguments.k, arguments.min_recall)


def measure(bundle: Path, items: int, kind: str, k: int, min_recall: float) -> None:
    """Build and search one index."""
    words = map(str, (bundle, kind, k, min_recall))
    try:
        built = run([sys.executable, "-c", BUILD, *words])
    except RuntimeError as error:
        print(f"{items:<9,}  {kind:4}  {str(error).strip().splitlines()[-1]}", flush=True)
        return
    info = json.loads(built.output.strip().splitlines()[-1])
    one = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    words = [sys.executable, "-c", SEARCH, str(bundle), str(k)]
    output = subprocess.run(words, env=one, check=True, capture_output=True, text=True).stdout
    found = json.loads(output)
    settings = ", ".join(f"{name} {value:,}" for name, value in info["settings"].items())
    print(
        f"{items:<9,}  {kind:4}  {found['recall']:.4f}  {found['p50']:6.2f}  {found['p99']:6.2f}  {built.wall:7.1f}  "
        f"{built.private_mb:8,.0f}  {info['bytes'] / 1e6:7,.0f}  {settings}",
        flush=True,
    )


if __name__ == "__main__":
    main()
