"""The rows of a shard."""

import random

import pyarrow as pa

from heterrec_pipeline.embed.shard_rows import sort_rows


def test_sorted_rows_do_not_depend_on_the_order_of_tables() -> None:
    rows = [(f"t{k % 7}" * (k % 3 + 1), str(k % 20), "f", k) for k in range(60)]
    seen = []
    for seed in range(5):
        random.Random(seed).shuffle(rows)
        names = ["content", "key", "file", "row"]
        tables = [
            pa.table([pa.array(c) for c in zip(*part, strict=True)], names)
            for part in (rows[:13], rows[13:40], rows[40:])
        ]
        found = sort_rows(tables, integral=True)
        seen.append((found.rows.rows(), found.contents, found.index.tolist()))
    assert all(s == seen[0] for s in seen)
    assert [len(c) for c in seen[0][1]] == sorted(len(c) for c in seen[0][1])
