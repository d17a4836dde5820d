"""The whole build against the contract written by hand in Polars for one machine, side by side in one run.

    python benchmarks/pipeline_vs_polars.py [--repeats 3] [--items 200000 --users 400000 --interactions 4000000 --dim 384]

The yardstick (make_shop.py, polars_build.py, shop.yaml) is looked for in --yardstick, by default ../shared/yardstick.
Both sides start cold as processes, in turn; medians are printed, and the ratio of each pair.
"""

import argparse
import json
import shutil
import statistics
import sys
import tempfile
from pathlib import Path

from measure import Run, machine, run

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    """Make the work, run both in turn, print the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--yardstick", type=Path, default=ROOT.parent / "shared" / "yardstick")
    parser.add_argument("--work", type=Path, help="folder for the data; a temporary one by default")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--items", type=int, default=200_000)
    parser.add_argument("--users", type=int, default=400_000)
    parser.add_argument("--interactions", type=int, default=4_000_000)
    parser.add_argument("--dim", type=int, default=384)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("beam", nargs="*", help="Beam's flags, behind --")
    a = parser.parse_args()
    if not (a.yardstick / "polars_build.py").is_file():
        sys.exit(f"there is no yardstick in {a.yardstick}; name its folder with --yardstick")
    with tempfile.TemporaryDirectory() as temporary:
        work = a.work or Path(temporary)
        shop = make_shop(a, work)
        pairs = [compare(a, shop, work) for _ in range(a.repeats)]
    report(a, pairs)


def make_shop(a: argparse.Namespace, work: Path) -> Path:
    """The synthetic shop in Parquet files, made once a size."""
    shop = work / f"shop-{a.items}-{a.users}-{a.interactions}-{a.dim}"
    if not shop.is_dir():
        sizes = [str(n) for n in (a.items, a.users, a.interactions, a.dim)]
        run([sys.executable, str(a.yardstick / "make_shop.py"), str(shop), *sizes])
    return shop


def compare(a: argparse.Namespace, shop: Path, work: Path) -> tuple[Run, Run]:
    """One run of each: (pipeline, yardstick)."""
    spec = str(a.yardstick / "shop.yaml")
    ours, theirs = work / "pipeline", work / "polars"
    for folder in (ours, theirs):
        shutil.rmtree(folder, ignore_errors=True)
    common = ["--spec", spec, "--input", str(shop), "--output"]
    beam = ["--", *a.beam] if a.beam else []
    yardstick = run([sys.executable, str(a.yardstick / "polars_build.py"), *common, str(theirs)])
    pipeline = [sys.executable, "-m", "heterrec_pipeline", "build", *common, str(ours), "--quiet"]
    return run([*pipeline, *beam]), yardstick


def report(a: argparse.Namespace, pairs: list[tuple[Run, Run]]) -> None:
    """Print medians and ratios."""
    names = ("wall", "cpu", "peak_mb")
    medians = [
        {n: statistics.median(getattr(pair[side], n) for pair in pairs) for n in names}
        for side in (0, 1)
    ]
    ratios = {
        n: [round(getattr(ours, n) / getattr(theirs, n), 3) for ours, theirs in pairs]
        for n in names
    }
    body = {
        "machine": machine(),
        "items": a.items,
        "interactions": a.interactions,
        "dim": a.dim,
        "pipeline": medians[0],
        "polars": medians[1],
        "ratios": ratios,
    }
    if a.json:
        print(json.dumps(body))
        return
    print(f"{a.items:,} items x {a.dim} floats, {a.interactions:,} interactions; {body['machine']}")
    print(f"{'':>10} {'wall s':>8} {'CPU s':>8} {'peak MB':>8}")
    for name, m in zip(("pipeline", "polars"), medians, strict=True):
        print(f"{name:>10} {m['wall']:8.1f} {m['cpu']:8.1f} {m['peak_mb']:8.0f}")
    for name in names:
        print(
            f"ratio of {name}, pair by pair: {ratios[name]} (median {statistics.median(ratios[name])})"
        )


if __name__ == "__main__":
    main()
