"""A made-up shop of any size, the same for the same sizes, written in bounded memory.

    python benchmarks/generated_shop.py OUT --items 2000000 --interactions 100000000 [--users N --dim 64]

The columns are those of the yardstick's shop. However large the shop, the share of the rows that the busiest tenth of its
users or items makes is one and the same, so that builds of different sizes do the same work a row.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

ITEMS_A_FILE = 2**17
ROWS_A_FILE = 2**20
SEED = 1
SPEC = """\
version: 1
name: generated
items:
  source: {{path: "items-*.parquet"}}
  key: item_id
  features:
    - {{name: category, kind: categorical, column: category}}
    - {{name: brand, kind: categorical, column: brand, min_count: 2, oov_buckets: 64}}
    - {{name: price, kind: numeric, column: price, bins: 64}}
    - {{name: text, kind: embedding, column: text_embedding, dim: {dim}, groups: {dim}, quantiles: 2}}
interactions:
  source: {{path: "interactions-*.parquet"}}
  user: user_id
  item: item_id
  timestamp: {{column: timestamp, unit: s}}
sequences: {{min_length: 3, max_length: 256, deduplicate: exact}}
split: {{method: temporal, validation_at: 0.8, test_at: 0.9, targets: all}}
output: {{item_shards: 8, sequence_shards: 8}}
"""


def main() -> None:
    """Write a shop of the sizes asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--items", type=int, default=2_000_000)
    parser.add_argument("--interactions", type=int, default=1_000_000)
    parser.add_argument("--users", type=int, help="a tenth of the interactions by default")
    parser.add_argument("--dim", type=int, default=64)
    a = parser.parse_args()
    write_shop(a.out, a.items, a.interactions, a.users or max(1, a.interactions // 10), a.dim)


def write_shop(out: Path, items: int, interactions: int, users: int, dim: int) -> None:
    """Write spec.yaml, items-*.parquet and interactions-*.parquet."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "spec.yaml").write_text(SPEC.format(dim=dim))
    for k, (start, stop) in enumerate(_pieces(items, ITEMS_A_FILE)):
        table = item_rows(start, stop, dim)
        pq.write_table(table, out / f"items-{k:05d}.parquet", row_group_size=8192)
    for k, (start, stop) in enumerate(_pieces(interactions, ROWS_A_FILE)):
        table = log_rows(k, stop - start, users, items)
        pq.write_table(table, out / f"interactions-{k:05d}.parquet", row_group_size=131_072)


def item_rows(start: int, stop: int, dim: int) -> pa.Table:
    """The items start .. stop - 1."""
    rng = np.random.default_rng([SEED, 0, start])
    count = stop - start
    vectors = rng.standard_normal((count, dim), dtype=np.float32)
    frame = pl.DataFrame({"at": np.arange(start, stop)}).select(
        item_id=_named("B", pl.col("at")),
        category=_named("cat", pl.Series(rng.zipf(1.3, count) % 1200)),
        brand=_named("brand", pl.Series(rng.zipf(1.2, count) % 30_000)),
        price=pl.Series(np.exp(rng.normal(3, 1.2, count)).round(2)),
    )
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), dim)
    return frame.to_arrow().append_column("text_embedding", column)


def log_rows(part: int, count: int, users: int, items: int) -> pa.Table:
    """One file's interactions: a few users and items make many of them, times are in no order."""
    rng = np.random.default_rng([SEED, 1, part])
    frame = pl.DataFrame(
        {
            "user": (users * rng.random(count) ** 2).astype(np.int64),
            "item": (items * rng.random(count) ** 3).astype(np.int64),
            "timestamp": rng.integers(1_600_000_000, 1_700_000_000, count),
        }
    )
    named = frame.select(
        user_id=_named("U", pl.col("user")),
        item_id=_named("B", pl.col("item")),
        timestamp="timestamp",
    )
    return named.to_arrow()


def _named(prefix: str, number: pl.Expr | pl.Series) -> pl.Expr:
    """Texts such as B000000017."""
    numbers = pl.lit(number) if isinstance(number, pl.Series) else number
    return pl.lit(prefix) + numbers.cast(pl.String).str.zfill(9)


def _pieces(total: int, size: int) -> Iterator[tuple[int, int]]:
    for start in range(0, total, size):
        yield start, min(total, start + size)


if __name__ == "__main__":
    main()
