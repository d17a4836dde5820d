"""The bulk job on a large bundle: time of encoding, exact and by index, and kills.

    python benchmarks/bulk.py BUNDLE [--workers 2] [-k 200] [--kills 20]

BUNDLE is one of `large_bundle.py`; its index is built first if it has none. With `--kills`, the job by index is killed that
often at random moments, on a part of the users, and its bytes are compared with those of an undisturbed job.
"""

import argparse
import hashlib
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measure import run

from heterrec_model.bundle.reader import open_bundle
from heterrec_model.recommending.bundle_recommender import BundleRecommender, encoded
from heterrec_model.retrieval.build_index import build_index
from heterrec_model.retrieval.vector_index import open_index


def command(bundle: Path, output: Path, *options: object) -> list[str]:
    """The command line of a job."""
    words = ["recommend", "--bundle", bundle, "--output", output, "--quiet", *options]
    return [sys.executable, "-m", "heterrec_model", *map(str, words)]


def main() -> None:
    """Print one line per measurement."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("-k", type=int, default=200)
    parser.add_argument("--kills", type=int, default=0)
    arguments = parser.parse_args()
    bundle = open_bundle(arguments.bundle)
    index = open_index(bundle)
    info = build_index(bundle.folder) if index is None else index.info
    print(f"{bundle.info.users:,} users x {bundle.info.items:,} items, D {bundle.info.width}")
    print(f"index {info.kind} {info.settings}, recall@{info.k} {info.recall:.4f}", flush=True)
    with tempfile.TemporaryDirectory(dir=arguments.bundle.parent) as folder:
        if arguments.kills:
            kills(arguments.bundle, Path(folder), arguments.kills, arguments.workers)
            return
        encoding(arguments.bundle)
        for how in ("index", "exact"):
            options = [
                "--users",
                "all",
                "--search",
                how,
                "-k",
                arguments.k,
                "--workers",
                arguments.workers,
            ]
            done = run(command(arguments.bundle, Path(folder) / how, *options))
            print(
                f"{how}, k {arguments.k}, {arguments.workers} workers: {done.wall:.1f} s, CPU {done.cpu:.1f} s, "
                f"private memory {done.private_mb:,.0f} MB",
                flush=True,
            )
            shutil.rmtree(Path(folder) / how)


def encoding(folder: Path) -> None:
    """Time of encoding a part of the users in one thread."""
    recommender = BundleRecommender.open(folder, verify="sizes")
    assert recommender.histories is not None
    rows = [encoded(row) for row in recommender.histories.rows(0, 4_096)]
    recommender.encode(rows[:64])
    start = time.perf_counter()
    for first in range(0, len(rows), 512):
        recommender.encode(rows[first : first + 512])
    seconds = time.perf_counter() - start
    print(f"encoding, 1 thread: {1000 * seconds / len(rows):.3f} ms per user", flush=True)


def kills(bundle: Path, folder: Path, count: int, workers: int) -> None:
    """Kill a job at random moments, and compare."""
    users = folder / "users.txt"
    opened = BundleRecommender.open(bundle, verify="sizes")
    assert opened.histories is not None
    users.write_text("\n".join(map(str, opened.histories.user_ids(0, 20_000))) + "\n")
    options = ["--users", users, "--shards", 200, "--workers", workers]
    start = time.monotonic()
    subprocess.run(command(bundle, folder / "whole", *options), check=True)
    seconds = time.monotonic() - start
    moments = random.Random(0)
    killed = 0
    while killed < count:
        process = subprocess.Popen(command(bundle, folder / "killed", *options))
        try:
            # Some seconds pass before the first shard; 20 kills are to hit all stages of the job.
            process.wait(moments.uniform(0.05, 0.25) * seconds + 2)
            break
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            killed += 1
            done = len(list((folder / "killed").glob("recommendations-*")))
            print(f"kill {killed}: {done} of 200 shards", flush=True)
    subprocess.run(command(bundle, folder / "killed", *options), check=True)
    equal = contents(folder / "killed") == contents(folder / "whole")
    print(f"{killed} kills; bytes equal to those of an undisturbed job: {equal}")
    if not equal:
        sys.exit(1)


def contents(folder: Path) -> dict[str, str]:
    """The SHA-256 of all files but locks."""
    files = (p for p in folder.rglob("*") if p.is_file() and not p.name.startswith("_lock"))
    found = {}
    for file in files:
        found[file.relative_to(folder).as_posix()] = hashlib.sha256(file.read_bytes()).hexdigest()
    return found


if __name__ == "__main__":
    main()
