"""Vocabularies and quantile bins of an item table, against tensorflow-transform, side by side.

    python benchmarks/pipeline_vs_tft.py --tft-python TFT_ENV/bin/python [--items 200000 1000000] [--repeats 3]

tensorflow-transform lives in an environment of its own (tft_items.py). It counts and applies two vocabularies and one set of
bins. The same steps of the pipeline (catalogue_items.py) run on the same engine; beside them it checks the rows and hashes
what it writes. **Steps** are the seconds inside the process, from drawing the graph to its end, without the numbering of the
items, which tensorflow-transform does not do and which is printed by itself. The whole build, which also reads a small log
and publishes, is timed as a process, as tensorflow-transform's is, imports included.
"""

import argparse
import shutil
import statistics
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from generated_shop import write_shop
from measure import Run, machine, run

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Round:
    """One round: the pipeline's steps, its whole build, and tensorflow-transform."""

    steps: Run
    build: Run
    tft: Run


def main() -> None:
    """Run all of them in turn and print the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tft-python", required=True)
    parser.add_argument("--items", type=int, nargs="+", default=[200_000, 1_000_000])
    parser.add_argument("--repeats", type=int, default=3)
    a = parser.parse_args()
    print(f"three features; {machine()}")
    for items in a.items:
        with tempfile.TemporaryDirectory() as temporary:
            work = Path(temporary)
            shop = made_shop(work, items)
            rounds = [one_round(a.tft_python, work, shop) for _ in range(a.repeats)]
        report(items, rounds)


def made_shop(work: Path, items: int) -> Path:
    """Items of three features, and a small log."""
    shop = work / "shop"
    write_shop(shop, items, interactions=10_000, users=1000, dim=8)
    spec = shop / "spec.yaml"
    lines = spec.read_text().splitlines(keepends=True)
    spec.write_text("".join(line for line in lines if "kind: embedding" not in line))
    return shop


def one_round(tft_python: str, work: Path, shop: Path) -> Round:
    """Each once."""
    folders = [work / name for name in ("steps", "build", "tft")]
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
    steps, built, theirs = map(str, folders)
    spec = str(shop / "spec.yaml")
    pipeline = [sys.executable, "-m", "heterrec_pipeline", "build", "--quiet"]
    return Round(
        tft=run([tft_python, str(HERE / "tft_items.py"), str(shop), theirs]),
        steps=run([sys.executable, str(HERE / "catalogue_items.py"), spec, str(shop), steps]),
        build=run([*pipeline, "--spec", spec, "--input", str(shop), "--output", built]),
    )


def inside(done: Run) -> tuple[list[float], list[float]]:
    """Seconds of wall and CPU time that the steps took, and the numbering of items, by the process's last line."""
    wall, cpu, *numbering = map(float, done.output.strip().splitlines()[-1].split())
    numbering = numbering or [0.0, 0.0]
    return [wall - numbering[0], cpu - numbering[1]], numbering


def report(items: int, rounds: list[Round]) -> None:
    """Print medians, and the ratios round by round."""
    print(f"{items:,} items")
    for name, runs in (
        ("tensorflow-transform", [r.tft for r in rounds]),
        ("catalogue alone", [r.steps for r in rounds]),
        ("whole build", [r.build for r in rounds]),
    ):
        wall, cpu, peak = (
            statistics.median(getattr(r, n) for r in runs) for n in ("wall", "cpu", "peak_mb")
        )
        print(f"{name:>22}: {wall:6.1f} s wall, {cpu:6.1f} s CPU, {peak:6.0f} MB")
    theirs, ours = ([inside(getattr(r, n)) for r in rounds] for n in ("tft", "steps"))
    for k, clock in enumerate(("wall", "CPU")):
        print(
            f"steps, {clock}: {statistics.median(t[k] for t, _ in theirs):.2f} s and "
            f"{statistics.median(o[k] for o, _ in ours):.2f} s; times as fast, round by round: "
            f"{[round(t[k] / o[k], 1) for (t, _), (o, _) in zip(theirs, ours, strict=True)]}; "
            f"numbering the items: {statistics.median(n[k] for _, n in ours):.2f} s"
        )
    whole = [round(r.tft.wall / r.build.wall, 1) for r in rounds]
    print(f"times as fast as a whole build, round by round: {whole}")


if __name__ == "__main__":
    main()
