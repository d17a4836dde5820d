"""A denormalised log compared with the same shop with an item table: wall and CPU time, the same bytes.

    python benchmarks/denormalised_log.py [--rows 500000 1000000 2000000 --items 150000 --dim 32] [--repeats 3]

Both shops contain the same items and interactions. In the first one, the items are a table; in the other, each row of the log
repeats the columns of its item. The two builds alternate and must publish the same content.
"""

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from generated_shop import item_rows, log_rows
from measure import Run, machine, run

ROWS_PER_FILE = 2**19
TAGS = 500
SHOPS = ("table", "log")


def main() -> None:
    """Build both shops of each size in turn, and print medians and ratios."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, nargs="+", default=[500_000, 1_000_000, 2_000_000])
    parser.add_argument("--items", type=int, default=150_000)
    parser.add_argument("--dim", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--work", type=Path, help="folder for the shops, which are kept there")
    a = parser.parse_args()
    print(f"{a.items:,} items x {a.dim} floats; {machine()}", flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        for rows in a.rows:
            shop = (a.work or Path(temporary)) / f"{rows}-{a.items}-{a.dim}"
            if not shop.exists():
                write_shops(shop, rows, a.items, a.dim)
            compare(shop, Path(temporary) / f"out-{rows}", rows, a.repeats)


def compare(shop: Path, out: Path, rows: int, repeats: int) -> None:
    """Alternate the builds of both shops; print medians of each, and the ratio."""
    runs: dict[str, list[Run]] = {kind: [] for kind in SHOPS}
    contents = set()
    for repeat in range(repeats):
        for kind in SHOPS:
            done, content = build(shop, kind, out / f"{kind}-{repeat}")
            runs[kind].append(done)
            contents.add(content)
    assert len(contents) == 1, "both shops must give the same bytes"
    wall, cpu, peak = (
        {k: statistics.median(getattr(r, name) for r in done) for k, done in runs.items()}
        for name in ("wall", "cpu", "peak_mb")
    )
    print(
        f"{rows:>10,} rows: item table {wall['table']:.1f} s, {cpu['table']:.1f} s CPU, {peak['table']:,.0f} MB; "
        f"denormalised {wall['log']:.1f} s, {cpu['log']:.1f} s CPU, {peak['log']:,.0f} MB; "
        f"ratio {wall['log'] / wall['table']:.2f} wall, {cpu['log'] / cpu['table']:.2f} CPU",
        flush=True,
    )


def build(shop: Path, kind: str, out: Path) -> tuple[Run, str]:
    """One build in one process; its figures and the hash of its content."""
    command = [sys.executable, "-m", "heterrec_pipeline", "build", "--quiet", "--workers=1"]
    where = ["--spec", str(shop / f"{kind}.yaml"), "--input", str(shop / kind)]
    done = run([*command, *where, "--output", str(out)])
    (manifest,) = out.glob("generations/*/manifest.json")
    return done, json.loads(manifest.read_text())["content_sha256"]


def write_shops(shop: Path, rows: int, items: int, dim: int) -> None:
    """Write both shops: folders `table` and `log`, each with its spec beside it."""
    for kind in SHOPS:
        (shop / kind).mkdir(parents=True)
        (shop / f"{kind}.yaml").write_text(yaml.safe_dump(spec(kind, dim), sort_keys=False))
    table = _with_lists(item_rows(0, items, dim))
    found = set[int]()
    for part, start in enumerate(range(0, rows, ROWS_PER_FILE)):
        log = log_rows(part, min(ROWS_PER_FILE, rows - start), max(1, rows // 10), items)
        at = pl.Series(log["item_id"]).str.slice(1).cast(pl.Int64).to_numpy()
        found.update(np.unique(at).tolist())
        wide = table.take(pa.array(at))
        for name in ("user_id", "timestamp"):
            wide = wide.append_column(name, log[name])
        for kind, written in (("table", log), ("log", wide)):
            path = shop / kind / f"interactions-{part:03d}.parquet"
            pq.write_table(written, path, row_group_size=2**17)
    # An item without interactions is unknown to a denormalised log.
    listed = table.take(pa.array(sorted(found)))
    pq.write_table(listed, shop / "table" / "items.parquet", row_group_size=8192)


def _with_lists(items: pa.Table) -> pa.Table:
    """Add a list of tags, and make prices multiples of 1/4, whose means are exact."""
    rng = np.random.default_rng(2)
    lengths = rng.integers(0, 5, len(items))
    ends = np.append(0, np.cumsum(lengths)).astype(np.int32)
    words = pa.array([f"tag {k}" for k in range(TAGS)]).take(
        pa.array(rng.integers(0, TAGS, ends[-1]))
    )
    tags = pa.ListArray.from_arrays(pa.array(ends), words)
    price = pa.array(np.round(items["price"].to_numpy() * 4) / 4)
    at = items.column_names.index("price")
    return items.set_column(at, "price", price).append_column("tags", tags)


def spec(kind: str, dim: int) -> dict[str, object]:
    """The spec of one shop."""
    source = {"path": "items.parquet"} if kind == "table" else "interactions"
    averaged = [
        {"name": f"price_{how}", "kind": "numeric", "column": "price", "bins": 64}
        | ({"aggregate": how} if kind == "log" else {})
        for how in ("mean", "median")
    ]
    features = [
        {"name": "category", "kind": "categorical", "column": "category"},
        {
            "name": "brand",
            "kind": "categorical",
            "column": "brand",
            "min_count": 2,
            "oov_buckets": 64,
        },
        {"name": "tags", "kind": "categorical", "column": "tags", "multivalued": True},
        {"name": "price", "kind": "numeric", "column": "price", "bins": 64},
        *averaged,
        {
            "name": "text",
            "kind": "embedding",
            "column": "text_embedding",
            "dim": dim,
            "groups": dim,
            "quantiles": 2,
        },
    ]
    return {
        "version": 1,
        "name": "denormalised",
        "items": {"source": source, "key": "item_id", "features": features},
        "interactions": {
            "source": {"path": "interactions-*.parquet"},
            "user": "user_id",
            "item": "item_id",
            "timestamp": {"column": "timestamp", "unit": "s"},
        },
        "sequences": {"min_length": 3, "max_length": 256},
        "split": {"method": "temporal", "validation_at": 0.8, "test_at": 0.9, "targets": "all"},
        "output": {"item_shards": 8, "sequence_shards": 8},
    }


if __name__ == "__main__":
    main()
