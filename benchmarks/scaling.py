"""How wall time and memory grow with the log: builds of 1, 4 and 16 million interactions over one catalogue.

    python benchmarks/scaling.py [--sizes 1000000 4000000 16000000] [--repeats 3]

Prints the marginal microseconds a row between successive sizes, from medians, and memory as a + b x rows.
"""

import argparse
import itertools
import shutil
import statistics
import sys
import tempfile
from pathlib import Path

from measure import machine, run
from pipeline_vs_polars import ROOT, make_shop


def main() -> None:
    """Build every size in turn, several times over, and print how they grow."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--yardstick", type=Path, default=ROOT.parent / "shared" / "yardstick")
    parser.add_argument("--work", type=Path)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000_000, 4_000_000, 16_000_000])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--items", type=int, default=200_000)
    parser.add_argument("--dim", type=int, default=64)
    a = parser.parse_args()
    walls: dict[int, list[float]] = {n: [] for n in a.sizes}
    peaks: dict[int, list[float]] = {n: [] for n in a.sizes}
    with tempfile.TemporaryDirectory() as temporary:
        work = a.work or Path(temporary)
        for _ in range(a.repeats):
            for size in a.sizes:
                done = build(a, work, size)
                walls[size].append(done.wall)
                peaks[size].append(done.peak_mb)
    report(a.sizes, walls, peaks)


def build(a: argparse.Namespace, work: Path, size: int):
    """One build; users grow with the log, as they do."""
    a.users, a.interactions = size // 10, size
    shop = make_shop(a, work)
    spec = work / "scaling.yaml"
    text = (a.yardstick / "shop.yaml").read_text()
    spec.write_text(text.replace("dim: 384, groups: 64", f"dim: {a.dim}, groups: {a.dim}"))
    out = work / "scaling"
    shutil.rmtree(out, ignore_errors=True)
    return run(
        [
            sys.executable,
            "-m",
            "heterrec_pipeline",
            "build",
            "--spec",
            str(spec),
            "--input",
            str(shop),
            "--output",
            str(out),
            "--quiet",
        ]
    )


def report(sizes: list[int], walls: dict[int, list[float]], peaks: dict[int, list[float]]) -> None:
    """Print medians, marginal times and the memory's line."""
    print(machine())
    wall = {n: statistics.median(walls[n]) for n in sizes}
    peak = {n: statistics.median(peaks[n]) for n in sizes}
    for n in sizes:
        print(f"{n:>12,} interactions: {wall[n]:7.1f} s, {peak[n]:7.0f} MB")
    for a, b in itertools.pairwise(sizes):
        seconds = (wall[b] - wall[a]) / (b - a)
        memory = (peak[b] - peak[a]) * 2**20 / (b - a)
        print(f"{a:,} to {b:,}: {seconds * 1e6:.2f} microseconds and {memory:.0f} bytes a row more")


if __name__ == "__main__":
    main()
