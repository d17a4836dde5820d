"""A build with one process and with worker processes: wall and CPU time, memory, the same bytes, and the serial share.

    python benchmarks/worker_processes.py [--items 200000 --interactions 16000000 --dim 64] [--workers 1 2] [--repeats 5]

The numbers of workers alternate. For each number above 1, a trace (`build --profile`) gives the serial share: the time in
which fewer than all workers are inside a step. With S seconds of it and P core-seconds of the rest, N cores take S + P/N.
The shop comes from generated_shop.py.
"""

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path

from generated_shop import write_shop
from measure import Run, machine, run

PREDICTED = (4, 16)
"""Numbers of cores to predict the wall time for."""


def main() -> None:
    """Build with every number of workers in turn, several times over, and print medians."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--items", type=int, default=200_000)
    parser.add_argument("--interactions", type=int, default=16_000_000)
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--repeats", type=int, default=5)
    a = parser.parse_args()
    print(f"{a.items:,} items x {a.dim} floats, {a.interactions:,} rows; {machine()}", flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        shop = work / "shop"
        write_shop(shop, a.items, a.interactions, max(1, a.interactions // 10), a.dim)
        runs: dict[int, list[Run]] = {workers: [] for workers in a.workers}
        contents = set()
        for repeat in range(a.repeats):
            for workers in a.workers:
                done, content = build(shop, work / f"{workers}-{repeat}", workers)
                runs[workers].append(done)
                contents.add(content)
        print("the same bytes" if len(contents) == 1 else "THE BYTES DIFFER")
        report(runs)
        for workers in (w for w in a.workers if w > 1):
            predict(serial_share(shop, work, workers), workers)


def build(shop: Path, out: Path, workers: int, *more: str) -> tuple[Run, str]:
    """One build; its figures and the hash of its contents."""
    command = [sys.executable, "-m", "heterrec_pipeline", "build", "--quiet", *more]
    files = ["--spec", str(shop / "spec.yaml"), "--input", str(shop), "--output", str(out)]
    done = run([*command, *files, "--workers", str(workers)])
    (manifest,) = out.glob("generations/*/manifest.json")
    return done, json.loads(manifest.read_text())["content_sha256"]


def report(runs: dict[int, list[Run]]) -> None:
    """Print medians, and the speed-up over the first number of workers."""
    first = statistics.median(r.wall for r in next(iter(runs.values())))
    for workers, done in runs.items():
        wall, cpu, peak = (
            statistics.median(getattr(r, name) for r in done) for name in ("wall", "cpu", "peak_mb")
        )
        walls = " ".join(f"{r.wall:.1f}" for r in done)
        print(
            f"{workers} workers: {wall:.1f} s wall ({walls}), {cpu:.1f} s CPU, {peak:,.0f} MB in all processes, "
            f"{first / wall:.2f} x the first"
        )


def serial_share(shop: Path, work: Path, workers: int) -> tuple[float, float]:
    """Seconds in which fewer than all workers are inside a step, and core-seconds of the rest, from a traced build."""
    trace = work / "trace.json"
    done, _ = build(shop, work / f"traced-{workers}", workers, "--profile", str(trace))
    lanes: dict[tuple[int, int], list[tuple[float, float]]] = {}
    for event in json.loads(trace.read_text())["traceEvents"]:
        if event.get("cat") == "step":
            span = (event["ts"], event["ts"] + event["dur"])
            lanes.setdefault((event["pid"], event["tid"]), []).append(span)
    changes = [change for spans in lanes.values() for change in edges(spans)]
    together = last = 0.0
    busy = 0
    for at, step in sorted(changes):
        if busy >= workers:
            together += at - last
        busy, last = busy + step, at
    together /= 1e6
    return done.wall - together, together * workers


def edges(spans: list[tuple[float, float]]) -> list[tuple[float, int]]:
    """Begin (+1) and end (-1) of each stretch of time that the nested spans of one thread cover."""
    found: list[tuple[float, int]] = []
    end = -1.0
    for start, stop in sorted(spans):
        if start > end:
            found += [(end, -1)] if end >= 0 else []
            found.append((start, 1))
        end = max(end, stop)
    return [*found, (end, -1)]


def predict(share: tuple[float, float], workers: int) -> None:
    """Print the serial share and what more cores would take by it."""
    serial, parallel = share
    guesses = ", ".join(f"{n} cores {serial + parallel / n:.1f} s" for n in PREDICTED)
    print(
        f"with {workers} workers {serial:.1f} s serial, {parallel:.1f} core-seconds parallel; by that, {guesses}"
    )


if __name__ == "__main__":
    main()
