"""A refresh compared with a build of the same input: CPU, wall time and memory, and what unchanged files save.

    python benchmarks/refresh.py                                       # 200,000 items, 4 million rows, nothing is new
    python benchmarks/refresh.py --items 2000000 --item-files 40 --row-files 100 --new 1

A made-up shop is built; then `--new` files of items and of the log are added to its input. That input is built anew,
refreshed, refreshed from the first refresh's own state (nothing is new then), and refreshed with every file parsed again, in
turn. All refreshes of one parent must have the same content.
"""

import argparse
import json
import shutil
import statistics
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
from generated_shop import SPEC, item_rows, log_rows
from measure import Run, machine, run

CATALOGUE = ("List the items", "Catalogue")
"""The stages whose busy seconds are compared as well."""
WAYS = ("build", "refresh", "refresh again", "refresh, all parsed")


def main() -> None:
    """Write the shop, build it, extend it, compare."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--items", type=int, default=200_000)
    parser.add_argument("--item-files", type=int, default=8)
    parser.add_argument("--rows", type=int, default=4_000_000)
    parser.add_argument("--row-files", type=int, default=8)
    parser.add_argument("--dim", type=int, default=384)
    parser.add_argument(
        "--new", type=int, default=0, help="number of new files of items and of the log"
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--work", type=Path, help="folder for the shop and its generations")
    a = parser.parse_args()
    print(
        f"{a.items:,} items x {a.dim} floats in {a.item_files} files, {a.rows:,} rows in {a.row_files} files, "
        f"{a.new} new files of each; {a.workers} worker(s); {machine()}",
        flush=True,
    )
    with tempfile.TemporaryDirectory(dir=a.work) as temporary:
        folder = Path(temporary)
        shop = folder / "shop"
        shop.mkdir()
        (folder / "spec.yaml").write_text(spec(a.dim))
        write_files(shop, a, 0, a.item_files, a.row_files)
        parent, _, _ = call(folder, a.workers, "build", "--output", folder / "base")
        print(f"first build: {parent.cpu:.1f} s CPU, {parent.wall:.1f} s", flush=True)
        write_files(shop, a, 1, a.new, a.new)
        compare(folder, a.workers, a.repeats)


def spec(dim: int) -> str:
    """The spec of the shop, with groups of six dimensions as in the yardstick's."""
    return SPEC.format(dim=dim).replace(f"groups: {dim}", f"groups: {max(1, dim // 6)}")


def write_files(
    shop: Path, a: argparse.Namespace, later: int, item_files: int, row_files: int
) -> None:
    """Write files of items and of the log; `later` ones follow those of the base."""
    items, rows = a.items // a.item_files, a.rows // a.row_files
    for k in range(item_files):
        start = later * a.items + k * items
        path = shop / f"items-{later}-{k:05d}.parquet"
        pq.write_table(item_rows(start, start + items, a.dim), path, row_group_size=8192)
    for k in range(row_files):
        table = log_rows(later * a.row_files + k, rows, a.rows // 10, a.items)
        pq.write_table(table, shop / f"interactions-{later}-{k:05d}.parquet")


def call(
    folder: Path, workers: int, command: str, *options: object
) -> tuple[Run, dict[str, float], Path]:
    """Run a command of the pipeline on the shop: its cost, busy seconds by stage, and the generation."""
    done = run(
        [
            *(sys.executable, "-m", "heterrec_pipeline", command),
            *("--spec", str(folder / "spec.yaml"), "--input", str(folder / "shop")),
            *("--workers", str(workers), "--log-json", *map(str, options)),
        ]
    )
    events = [json.loads(line) for line in done.output.splitlines() if line.startswith("{")]
    busy = {e["stage"]: e["busy_seconds"] for e in events if e["event"] == "stage"}
    (path,) = [e["path"] for e in events if e["event"] == "published"]
    return done, busy, Path(path)


def calls(folder: Path, workers: int) -> Iterator[tuple[str, Run, dict[str, float], str]]:
    """Each way once; what it wrote is deleted."""
    base = folder / "base"
    more = ("--base", base, "--no-publish")
    yield "build", *content(*call(folder, workers, "build", "--output", folder / "new"))
    shutil.rmtree(folder / "new")
    done, busy, path = call(folder, workers, "refresh", *more)
    again = call(folder, workers, "refresh", "--base", path, "--no-publish")
    yield "refresh", *content(done, busy, path)
    yield "refresh again", *content(*again)
    plain = call(folder, workers, "refresh", *more, "--no-reuse")
    yield "refresh, all parsed", *content(*plain)
    for generation in (path, again[2], plain[2]):
        shutil.rmtree(generation)


def content(done: Run, busy: dict[str, float], path: Path) -> tuple[Run, dict[str, float], str]:
    """The same with the hash of the generation's content."""
    return done, busy, json.loads((path / "manifest.json").read_text())["content_sha256"]


def compare(folder: Path, workers: int, repeats: int) -> None:
    """Repeat all ways in turn; print medians, and their ratios to a build."""
    runs: dict[str, list[Run]] = defaultdict(list)
    stages: dict[str, list[float]] = defaultdict(list)
    hashes: dict[str, set[str]] = defaultdict(set)
    for _ in range(repeats):
        for way, done, busy, digest in calls(folder, workers):
            runs[way].append(done)
            stages[way].append(sum(busy.get(stage, 0) for stage in CATALOGUE))
            hashes[way].add(digest)
    refreshes = set().union(*(hashes[way] for way in WAYS[1:]))
    assert len(refreshes) == 1, "all refreshes must have the same content"
    whole = statistics.median(r.cpu for r in runs["build"])
    items = statistics.median(stages["build"])
    print("| | CPU s | of a build | catalogue, busy s | of a build | wall s | peak MB |")
    print("|---|---|---|---|---|---|---|")
    for way in WAYS:
        cpu, wall, peak = (
            statistics.median(getattr(r, name) for r in runs[way])
            for name in ("cpu", "wall", "peak_mb")
        )
        busy = statistics.median(stages[way])
        print(
            f"| {way} | {cpu:.1f} | {cpu / whole:.2f} | {busy:.1f} | {busy / items:.2f} | {wall:.1f} | {peak:,.0f} |"
        )


if __name__ == "__main__":
    main()
