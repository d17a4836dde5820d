"""Vocabularies and quantile bins of an item table: the whole build against tensorflow-transform, side by side.

    python benchmarks/pipeline_vs_tft.py --tft-python TFT_ENV/bin/python [--items 200000] [--repeats 3]

tensorflow-transform lives in an environment of its own. It counts and applies two vocabularies and one set of bins; the
pipeline does the same, and beside it checks, numbers the catalogue, hashes, publishes, and builds sequences of a small log.
"""

import argparse
import shutil
import statistics
import sys
import tempfile
from pathlib import Path

from measure import machine, run
from pipeline_vs_polars import ROOT, make_shop

HERE = Path(__file__).resolve().parent


def main() -> None:
    """Run both in turn and print the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tft-python", required=True)
    parser.add_argument("--yardstick", type=Path, default=ROOT.parent / "shared" / "yardstick")
    parser.add_argument("--work", type=Path)
    parser.add_argument("--items", type=int, default=200_000)
    parser.add_argument("--repeats", type=int, default=3)
    a = parser.parse_args()
    a.users, a.interactions, a.dim = 1_000, 10_000, 8
    pairs = []
    with tempfile.TemporaryDirectory() as temporary:
        work = a.work or Path(temporary)
        shop = make_shop(a, work)
        spec = work / "tft.yaml"
        lines = (a.yardstick / "shop.yaml").read_text().splitlines()
        spec.write_text("\n".join(line for line in lines if "kind: embedding" not in line))
        for _ in range(a.repeats):
            ours, theirs = work / "pipeline", work / "tft"
            for folder in (ours, theirs):
                shutil.rmtree(folder, ignore_errors=True)
            theirs.mkdir()
            tft = run([a.tft_python, str(HERE / "tft_items.py"), str(shop), str(theirs)])
            build = [sys.executable, "-m", "heterrec_pipeline", "build", "--spec", str(spec)]
            build += ["--input", str(shop), "--output", str(ours), "--quiet"]
            pairs.append((run(build), tft))
    print(f"{a.items:,} items, three features; {machine()}")
    for side, name in enumerate(("pipeline", "tensorflow-transform")):
        wall, cpu, peak = (
            statistics.median(getattr(p[side], n) for p in pairs)
            for n in ("wall", "cpu", "peak_mb")
        )
        print(f"{name:>22}: {wall:6.1f} s wall, {cpu:6.1f} s CPU, {peak:6.0f} MB")
    print("ratio of wall, pair by pair:", [round(p[0].wall / p[1].wall, 3) for p in pairs])
    print("ratio of CPU, pair by pair:", [round(p[0].cpu / p[1].cpu, 3) for p in pairs])


if __name__ == "__main__":
    main()
