"""Bytes of Parquet files out of a sample, beside the files themselves."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from heterrec_pipeline.files.shards import write_shard
from heterrec_pipeline.planning.encoding import parquet_bytes


def rows(count: int, seed: int = 0) -> pa.Table:
    rng = np.random.default_rng(seed)
    return pa.table(
        {
            "id": np.arange(count),
            "brand": pa.array(np.minimum(rng.zipf(1.5, count), 5000).astype(np.int32)),
            "name": [f"item {k}" for k in rng.integers(0, 10**6, count)],
        }
    )


@pytest.mark.parametrize("shards", [1, 3])
def test_a_sample_tells_the_bytes_of_all(tmp_path: Path, shards: int) -> None:
    count = 40_000
    whole = rows(count)
    real = 0
    for k in range(shards):
        part = whole.slice(k * count // shards, count // shards)
        file = write_shard(str(tmp_path), f"x/{k}.parquet", part, row_group=2000, plain=("id",))
        real += file.bytes
    sample = rows(10_000, seed=1)
    told = parquet_bytes(sample, count, shards, row_group=2000, plain=("id",))
    assert told == pytest.approx(real, rel=0.05)


def test_no_rows_take_what_empty_files_take(tmp_path: Path) -> None:
    empty = rows(5).slice(0, 0)
    real = write_shard(str(tmp_path), "x/0.parquet", empty).bytes
    assert parquet_bytes(rows(5), 0, 4) == 4 * real
    assert parquet_bytes(empty, 100, 2) == 2 * real
