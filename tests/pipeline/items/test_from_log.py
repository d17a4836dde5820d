from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pieces import (
    bad_text_array,
    categorical,
    job_of,
    numeric,
    sorted_out,
    spec_of,
    table_job,
    written_file,
)

from heterrec_pipeline.items.aggregate import (
    ITEM,
    ORDER,
    TIME,
)
from heterrec_pipeline.items.from_log import (
    aggregate_columns,
    aggregate_items,
    concatenated,
    derived,
    read_items,
    readable_rows,
    reduce_to_buckets,
    to_items,
)
from heterrec_pipeline.keys.read import SEEN
from heterrec_pipeline.reading.files import InputFile, Split
from heterrec_pipeline.reading.read import ROW, located, read_split
from heterrec_pipeline.wiring.reports import REJECTS
from heterrec_schemas.values import Seen


@pytest.mark.parametrize(
    ("parts", "kind", "cells"),
    [
        ([pa.array([1]), pa.array([0.5])], pa.float64(), [1.0, 0.5]),
        ([pa.array([2**53 + 1]), pa.array([0.5])], pa.string(), ["9007199254740993", "0.5"]),
        ([pa.nulls(1), pa.array(["a"])], pa.string(), [None, "a"]),
        ([pa.array([True]), pa.array([1])], pa.string(), ["true", "1"]),
        (
            [pa.array([["a"]]), pa.array([[]], pa.list_(pa.null()))],
            pa.list_(pa.string()),
            [["a"], []],
        ),
        ([pa.array([["a"]]), pa.array(["b"])], pa.binary(), [b'["a"]', b'"b"']),
        ([pa.array([["a"]]), pa.array([[["b"]]])], pa.binary(), [b'["a"]', b'[["b"]]']),
        ([pa.array([[0.5]]), pa.array([b'"x"', None])], pa.binary(), [b"[0.5]", b'"x"', None]),
        ([pa.array([0.5]), pa.array([b'"x"', None])], pa.binary(), [b"0.5", b'"x"', None]),
    ],
)
def test_columns_of_several_types_become_one(
    parts: list[pa.Array], kind: pa.DataType, cells: list[Any]
) -> None:
    whole = concatenated([pa.table({"x": p}) for p in parts])
    assert (whole["x"].type, whole["x"].to_pylist()) == (kind, cells)


# --- out of the log

FEATURES = [categorical().model_dump(), numeric(aggregate="mean").model_dump()]
SPEC = spec_of(
    items={"source": "interactions", "features": FEATURES}, interactions={"order": "place"}
)
LOG = b"""item,time,place,price,kind,user
a,1,2,5,x,u
b,1,,x,,u
,1,1,1,x,u
a,-1,1,1,x,u
a,z,1,1,x,u
a,2,odd,6,y,
b,3,1,7,,u
"""


def log_rows(folder: Path) -> pa.Table:
    table = table_job(*SPEC.items.features)
    split = Split(written_file(folder / "log.csv", LOG))
    (batch,) = read_split(split, aggregate_columns(SPEC, table))
    return pa.Table.from_batches([located(batch, split)])


def test_every_row_with_a_readable_item_and_time_counts(tmp_path: Path) -> None:
    table = table_job(*SPEC.items.features)
    assert aggregate_columns(SPEC, table) == ["item", "time", "place", "kind", "price"]
    rows, seen = readable_rows(SPEC, table, log_rows(tmp_path))
    assert rows.to_pydict() == {
        ROW: [0, 1, 5, 6],
        "kind": ["x", "", "y", ""],
        "price": ["5", "x", "6", "7"],
        ITEM: ["a", "b", "a", "b"],
        TIME: [1, 1, 2, 3],
        ORDER: [2, None, None, 1],
    }
    assert seen == Seen.TEXT
    plain = spec_of(items={"source": "interactions", "features": FEATURES})
    assert readable_rows(plain, table, log_rows(tmp_path))[0][ORDER].null_count == 4


@pytest.mark.parametrize("buckets", [1, 7])
def test_a_log_becomes_splits_of_item_rows(tmp_path: Path, buckets: int) -> None:
    job = job_of(SPEC, tmp_path)
    split = Split(written_file(tmp_path / "log.csv", LOG))
    made, tagged = sorted_out(read_items(job, split))
    pieces = list(reduce_to_buckets(job.items, buckets, [t for t in made for _ in range(2)]))
    assert sorted(tagged[SEEN]) == [("item/kind", Seen.TEXT), ("items", Seen.TEXT)]
    rejects = [r for t in tagged[REJECTS] for r in t.to_pylist()]
    assert [(r["source"], r["row"], r["column"], r["reason"]) for r in rejects] == [
        ("interactions", 1, "price", "not_a_number")
    ]
    found: dict[str, dict[str, Any]] = {}
    for bucket in {b for b, _ in pieces}:
        element = (bucket, {"items": [t for b, t in pieces if b == bucket]})
        ((split,), _) = sorted_out(aggregate_items(job, element))
        assert split.file.bytes == Path(split.file.path).stat().st_size
        for row in pq.read_table(split.file.path).to_pylist():
            found[row.pop(ITEM)] = row
    assert found == {"a": {"kind": "y", "price": 5.5}, "b": {"kind": None, "price": 7.0}}


def test_a_text_that_is_not_utf8_is_rejected_and_missing(tmp_path: Path) -> None:
    columns = {
        "item": bad_text_array(b"a", b"a", b"\xff", b"b"),
        "time": [1, 2, 3, 4],
        "place": bad_text_array(b"1", b"2", b"3", b"\xfe"),
        "kind": bad_text_array(b"x", b"\xe9", b"\xe9", b"y"),
        "price": bad_text_array(b"5", b"6", b"7", b"8"),
    }
    path = tmp_path / "log.parquet"
    pq.write_table(pa.table(columns), path)
    job = job_of(SPEC, tmp_path)
    split = Split(InputFile(str(path), "log.parquet", path.stat().st_size, "parquet"))
    (batch,) = read_split(split, aggregate_columns(SPEC, job.items))
    rows = pa.Table.from_batches([located(batch, split)])
    made = to_items(job, rows)
    assert [(row, column, str(reason), text) for row, column, reason, text in made.bad] == [
        (1, "kind", "not_utf8", "\\xe9")
    ], "the log rejects the rows whose item or order is bad"
    pieces = [t for _, t in reduce_to_buckets(job.items, 1, [made.rows])]
    ((split,), _) = sorted_out(aggregate_items(job, (0, {"items": pieces})))
    assert {r[ITEM]: r["kind"] for r in pq.read_table(split.file.path).to_pylist()} == {
        "a": "x",
        "b": "y",
    }


def test_item_rows_are_read_by_the_features_own_names() -> None:
    table = derived(table_job(categorical("kind", column="Category"), numeric()))
    assert (table.key, [f.column for f in table.features]) == (ITEM, ["kind", "price"])
    assert table.features[0].name == "kind"
