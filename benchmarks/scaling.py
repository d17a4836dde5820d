"""How time and memory grow with the log: builds over one catalogue, the log larger each time, its users with it.

    python benchmarks/scaling.py [--sizes 1000000 4000000 16000000] [--items 200000] [--repeats 3]
    python benchmarks/scaling.py --items 2000000 --repeats 1 --sizes 1000000 4000000 16000000 64000000 100000000

Prints the microseconds of a further row between successive sizes, from medians, and memory as a + b x rows, fitted by least
squares. The shops come from generated_shop.py; each is deleted when it has been built, unless --work names a folder for them.
The largest size above takes some 25 GB of disk.
"""

import argparse
import itertools
import shutil
import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np
from generated_shop import write_shop
from measure import Run, machine, run


def main() -> None:
    """Build every size, several times over, and print how they grow."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, help="keep the shops here; else they are temporary")
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000_000, 4_000_000, 16_000_000])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--items", type=int, default=200_000)
    parser.add_argument("--dim", type=int, default=64)
    a = parser.parse_args()
    print(f"{a.items:,} items x {a.dim} floats; {machine()}", flush=True)
    runs = {size: builds(a, size) for size in sorted(a.sizes)}
    report(runs)


def builds(a: argparse.Namespace, size: int) -> list[Run]:
    """The builds of one size."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = a.work or Path(temporary)
        shop = folder / f"shop-{a.items}-{size}-{a.dim}"
        if not shop.is_dir():
            write_shop(shop, a.items, size, max(1, size // 10), a.dim)
        done = [build(shop, Path(temporary) / "out") for _ in range(a.repeats)]
    walls, cpus, peaks = (median(done, n) for n in ("wall", "cpu", "peak_mb"))
    print(
        f"{size:>12,} interactions: {walls:7.1f} s, {cpus:7.1f} s CPU, {peaks:7,.0f} MB", flush=True
    )
    return done


def build(shop: Path, out: Path) -> Run:
    """One build, from nothing."""
    shutil.rmtree(out, ignore_errors=True)
    pipeline = [sys.executable, "-m", "heterrec_pipeline", "build", "--quiet", "--workers=1"]
    files = ["--spec", str(shop / "spec.yaml"), "--input", str(shop), "--output", str(out)]
    return run([*pipeline, *files])


def median(runs: list[Run], name: str) -> float:
    """The median of one figure."""
    return statistics.median(getattr(r, name) for r in runs)


def report(runs: dict[int, list[Run]]) -> None:
    """Print what a further row costs, and the memory's line."""
    sizes = list(runs)
    for small, large in itertools.pairwise(sizes):
        wall, cpu, memory = (
            (median(runs[large], n) - median(runs[small], n)) / (large - small)
            for n in ("wall", "cpu", "peak_mb")
        )
        print(
            f"{small:,} to {large:,}: {wall * 1e6:.2f} microseconds, {cpu * 1e6:.2f} of CPU, "
            f"and {memory * 2**20:.0f} bytes a row more"
        )
    if len(sizes) > 1:
        slope, base = np.polyfit(sizes, [median(runs[n], "peak_mb") for n in sizes], 1)
        print(f"memory: about {base:,.0f} MB + {slope * 2**20:.1f} bytes x rows")


if __name__ == "__main__":
    main()
