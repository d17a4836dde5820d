"""Keys by bucket: what a bucket finds, and how it gets back to the rows."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pieces import categorical, job_of, sorted_out, spec_of, table_job, written_file

from heterrec_pipeline.files.parts import load
from heterrec_pipeline.fitting.collect import CollectValues
from heterrec_pipeline.items.place import place_cells, place_items
from heterrec_pipeline.job import Job
from heterrec_pipeline.keys.duplicates import (
    KEPT,
    LEFT_OUT,
    REPEATED_ROWS,
    check_kept,
    choose_in_bucket,
    find_keys_in_bucket,
    read_again,
    store_left_out,
)
from heterrec_pipeline.keys.read import read_key_splits
from heterrec_pipeline.keys.row_filter import KEY, ExcludedRows, kept_rows
from heterrec_pipeline.reading.files import Split
from heterrec_pipeline.reading.read import ROW
from heterrec_pipeline.vocabularies.cells import OWNER
from heterrec_pipeline.vocabularies.number import FIGURES_TAG
from heterrec_pipeline.vocabularies.steps import key_rules
from heterrec_pipeline.wiring.reports import COUNTS, REJECTS
from heterrec_schemas.errors import DataError
from heterrec_schemas.rejects import Reason

LINES = ["item,kind", "a,x", "b,y", ",z", "a,x", "c,x", "a,w", "d,y"]


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return job_of(spec_of(output={"item_shards": 2}), tmp_path)


@pytest.fixture
def split(tmp_path: Path) -> Split:
    return Split(written_file(tmp_path / "items.csv", "\n".join(LINES).encode()))


def places(split: Split, table: Any) -> list[pa.Table]:
    return sorted_out(read_key_splits(table, split, place=True))[0]


def test_keys_know_where_they_stand(split: Split) -> None:
    (found,) = places(split, table_job())
    assert found["key"].to_pylist() == ["a", "b", "a", "c", "a", "d"]
    assert found["row"].to_pylist() == [0, 1, 3, 4, 5, 6]
    assert set(found["split"].to_pylist()) == {split.number}


def test_a_bucket_tells_what_is_wrong(job: Job, split: Split) -> None:
    items, more = table_job(), table_job(name="items.joins[0]", joined=True)
    joined = pa.table({"key": ["b", "x", "b", "y"], "split": [5, 5, 6, 6], "row": [0, 1, 2, 3]})
    pieces = {"keys-0": places(split, items), "keys-1": [joined.slice(0, 1), joined.slice(1)]}
    main, tagged = sorted_out(
        find_keys_in_bucket(job, (items, more), key_rules(job, items), (("items", 0), pieces), {})
    )
    ((place, stored),) = main
    assert place == ("items", 0)
    assert load(stored)["value"].to_pylist() == ["a", "b", "c", "d"]
    assert tagged[KEPT] == [4]
    assert dict(tagged[COUNTS]) == {"items.keys": 4, "items.joins[0].keys": 3}
    again = {p: sorted(t["row"].to_pylist()) for p, t in tagged[REPEATED_ROWS]}
    assert again == {
        ("items", split.number): [0, 3, 5],
        ("items.joins[0]", 5): [0],
        ("items.joins[0]", 6): [2],
    }
    left = {p: t["row"].to_pylist() for p, t in tagged[LEFT_OUT]}
    assert left == {("items.joins[0]", 5): [1], ("items.joins[0]", 6): [3]}
    assert len(tagged[FIGURES_TAG]) == 1


def test_of_repeated_rows_one_stays(job: Job, split: Split) -> None:
    table = table_job(categorical())
    place = ("items", split.number)
    rows = {"rows": [pa.table({"row": [0, 5]}), pa.table({"row": [3]})]}
    found = list(read_again((table,), (place, rows), {place: split}))
    assert [n for n, _ in found] == ["items"]
    assert found[0][1]["row"].to_pylist() == [0, 3, 5]
    pieces = {"rows": [t.slice(k, 1) for _, t in found for k in range(3)]}
    main, tagged = sorted_out(choose_in_bucket((table,), (("items", 0), pieces)))
    counts = dict(tagged[COUNTS])
    assert counts["items.repeated"] + counts["items.duplicate"] == 2
    (rejects,) = tagged[REJECTS]
    assert rejects["reason"].to_pylist() == [Reason.DUPLICATE_ITEM] * counts["items.duplicate"]
    ((where, lost),) = main
    assert where == place
    assert len(lost) == 2


def test_rows_left_out_are_passed_over(job: Job, split: Split) -> None:
    table, place = table_job(categorical()), ("items", split.number)
    pieces = {"rows": [pa.table({"row": [5]}), pa.table({"row": [3, 5]})]}
    left_out = dict(store_left_out(job, (place, pieces)))
    known = ExcludedRows(4, left_out)
    (rows,) = kept_rows(table, split, ["kind"], known)
    assert rows[KEY].to_pylist() == ["a", "b", "c", "d"]
    assert rows[ROW].to_pylist() == [0, 1, 4, 6]
    do = CollectValues(table, ExcludedRows)
    do.start_bundle()
    list(do.process(split, 4, left_out))
    ((name, counts),) = [w.value for w in do.finish_bundle()]
    assert (name, sum(counts["count"].to_pylist())) == ("kind", 4)
    (all_of_them,) = kept_rows(table, split, ["kind"], ExcludedRows(4, {}))
    assert len(all_of_them) == 6


def test_a_side_without_keys_is_refused() -> None:
    assert list(check_kept(table_job(), 3)) == [3]
    with pytest.raises(DataError, match="items: the table holds no row with a key"):
        list(check_kept(table_job(), 0))


def test_items_are_placed_by_their_ids(job: Job) -> None:
    tables = (table_job(categorical()), table_job(name="items.joins[0]", joined=True))
    ids = pa.table({"value": ["a", "b", "c"], "id": [4, 2, 3]})
    cells = pa.table(
        {
            OWNER: ["c", "a", "b"],
            "feature": pa.array([1, 0, 0], pa.int16()),
            "position": pa.array([0, 1, 0], pa.int32()),
            "id": pa.array([9, 8, 7], pa.int32()),
            "outside": [False, True, False],
        }
    )
    pieces = {
        "ids": [ids.slice(0, 2), ids.slice(2)],
        "tokens-0": [pa.table({OWNER: ["a", "b", "c"], "kind": [1, 2, 3]})],
        "tokens-1": [],
        "cells": [cells],
    }
    placed = place_items(job, tables, ["brand", "shop"], (("items", 0), pieces), 3)
    found = {(s, p.table): load(p).to_pydict() for s, p in placed}
    first, second = found[0, "items"], found[1, "items"]
    assert first == {"item_index": [2], "item_id": ["b"], "kind": [2]}
    assert second == {"item_index": [3, 4], "item_id": ["c", "a"], "kind": [3, 1]}
    assert found[0, "item/brand"]["id"] == [7]
    assert found[1, "item/brand"]["item_index"] == [4]
    assert found[1, "item/shop"]["item_index"] == [3]
    # Where cells know their item's index, they go straight to its shard.
    indexed = cells.filter(pa.array([False, True, True])).set_column(0, OWNER, pa.array([4, 2]))
    straight = place_cells(job, ["brand", "shop"], indexed, 3)
    shards = {(s, p.table): load(p)["id"].to_pylist() for s, p in straight}
    assert shards == {(0, "item/brand"): [7], (1, "item/brand"): [8]}
    assert list(place_cells(job, ["brand"], indexed.slice(0, 0), 3)) == []
