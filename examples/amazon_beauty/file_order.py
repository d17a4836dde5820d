"""Writes the log of Amazon Beauty with times that keep the order of the file within a day.

    python examples/amazon_beauty/file_order.py DATA OUT

All times of a day are equal, and the file has the items of a user's day in ascending order. Programs with a stable sort by
time keep that order; the last item of a user, the target of leave one out, is then the one with the largest id of its day. A
build orders equal times by a hash instead. OUT has the files of DATA and the changed log.
"""

import gzip
import shutil
import sys
from pathlib import Path

import polars as pl


def main() -> None:
    """Add the rank within the user's day, in seconds, to each time."""
    data, out = map(Path, sys.argv[1:])
    out.mkdir(parents=True, exist_ok=True)
    for name in ("items.jsonl.gz", "title_embeddings.parquet"):
        shutil.copyfile(data / name, out / name)
    log = pl.read_csv(data / "interactions.csv.gz")
    rank = pl.int_range(pl.len()).over("user_id", "timestamp")
    with gzip.open(out / "interactions.csv.gz", "wb") as file:
        log.with_columns(pl.col("timestamp") + rank).write_csv(file)


if __name__ == "__main__":
    main()
