"""How memory grows with distinct values: each worker holds them all, or they go by bucket.

    python benchmarks/large_vocabulary.py [--sizes 1000000 4000000 16000000]

A catalogue of as many items as a size says, each with a brand that no other item has, and a log over it. It is built
twice: with a `limits.broadcast_values` that lets every worker hold keys and brands, and with 0. Prints seconds and the
peak memory of the one worker, with and without the pages of mapped files. Both generations must hold the same bytes.
"""

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from measure import Run, machine, run

CHUNK = 1_000_000
WAYS = {"held": 10**9, "by bucket": 0}


def main() -> None:
    """Build every size both ways."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000_000, 4_000_000, 16_000_000])
    parser.add_argument("--interactions", type=int, default=1_000_000)
    parser.add_argument("--ways", nargs="+", choices=[*WAYS], default=[*WAYS])
    parser.add_argument("--work", type=Path)
    a = parser.parse_args()
    print(machine(), flush=True)
    with tempfile.TemporaryDirectory(dir=a.work) as temporary:
        work = Path(temporary)
        for size in a.sizes:
            write_shop(work / "input", size, a.interactions)
            contents = set()
            for way in a.ways:
                done, content = build(work, way)
                contents.add(content)
                print(
                    f"{size:>12,} items and brands, {way:<9}: {done.wall:6.0f} s, {done.cpu:6.0f} s of CPU, "
                    f"{done.peak_mb:6.0f} MB, {done.private_mb:6.0f} MB of its own",
                    flush=True,
                )
            assert len(contents) == 1, "both ways must give the same bytes"


def write_shop(folder: Path, items: int, interactions: int) -> None:
    """Items in an order that is not that of their keys, and a log."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for k, first in enumerate(range(0, items, CHUNK)):
        at = np.arange(first, min(items, first + CHUNK), dtype=np.uint64)
        numbers = at * np.uint64(2_654_435_761) % np.uint64(2**32)  # odd: one to one below 2^32
        keys = pl.select(pl.format("item-{}", pl.Series(numbers))).to_series()
        brands = pl.select(pl.format("brand {}", pl.Series(numbers[::-1]))).to_series()
        table = pa.table({"item": keys.to_arrow(), "brand": brands.to_arrow()})
        pq.write_table(table, folder / f"items-{k:04d}.parquet", row_group_size=2**17)
    rng = np.random.default_rng(0)
    at = rng.integers(0, items, interactions).astype(np.uint64)
    numbers = at * np.uint64(2_654_435_761) % np.uint64(2**32)
    log = pl.DataFrame(
        {
            "user": rng.integers(0, interactions // 10, interactions),
            "item": pl.select(pl.format("item-{}", pl.Series(numbers))).to_series(),
            "time": rng.integers(1_600_000_000, 1_700_000_000, interactions),
        }
    )
    log.write_parquet(folder / "log.parquet", row_group_size=2**17)


def build(work: Path, way: str) -> tuple[Run, str]:
    """One build, and the hash of what it wrote."""
    spec = {
        "version": 1,
        "name": "large",
        "items": {
            "source": {"path": "items-*.parquet"},
            "key": "item",
            "features": [{"name": "brand", "kind": "categorical", "column": "brand"}],
        },
        "interactions": {
            "source": {"path": "log.parquet"},
            "user": "user",
            "item": "item",
            "timestamp": {"column": "time", "unit": "s"},
        },
        "sequences": {"max_length": 50},
        "split": {"method": "leave_one_out"},
        "output": {"item_shards": 16, "sequence_shards": 2},
        "limits": {"broadcast_values": WAYS[way]},
    }
    (work / "spec.yaml").write_text(yaml.safe_dump(spec))
    output = work / "output"
    shutil.rmtree(output, ignore_errors=True)
    where = {"--spec": work / "spec.yaml", "--input": work / "input", "--output": output}
    options = [str(x) for pair in where.items() for x in pair]
    command = [sys.executable, "-m", "heterrec_pipeline", "build", "--quiet", "--workers=1"]
    done = run([*command, *options])
    (manifest,) = output.glob("generations/*/manifest.json")
    return done, json.loads(manifest.read_text())["content_sha256"]


if __name__ == "__main__":
    main()
