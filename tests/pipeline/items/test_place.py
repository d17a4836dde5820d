from pathlib import Path

import pyarrow as pa
from pieces import categorical, job_of, spec_of, table_job

from heterrec_pipeline.files.parts import load
from heterrec_pipeline.items.cuts import ItemCuts
from heterrec_pipeline.items.place import place_cells, place_items
from heterrec_pipeline.vocabularies.cells import OWNER

CUTS = ItemCuts((2, 3, 5))


def test_items_are_placed_by_their_ids(tmp_path: Path) -> None:
    job = job_of(spec_of(output={"item_shards": 2}), tmp_path)
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
    placed = place_items(job, tables, ["brand", "shop"], (("items", 0), pieces), CUTS)
    found = {(s, p.table): load(p).to_pydict() for s, p in placed}
    first, second = found[0, "items"], found[1, "items"]
    assert first == {"item_index": [2], "item_id": ["b"], "kind": [2]}
    assert second == {"item_index": [3, 4], "item_id": ["c", "a"], "kind": [3, 1]}
    assert found[0, "item/brand"]["id"] == [7]
    assert found[1, "item/brand"]["item_index"] == [4]
    assert found[1, "item/shop"]["item_index"] == [3]
    # Where cells know their item's index, they go straight to its shard.
    indexed = cells.filter(pa.array([False, True, True])).set_column(0, OWNER, pa.array([4, 2]))
    straight = place_cells(job, ["brand", "shop"], indexed, CUTS)
    shards = {(s, p.table): load(p)["id"].to_pylist() for s, p in straight}
    assert shards == {(0, "item/brand"): [7], (1, "item/brand"): [8]}
    assert list(place_cells(job, ["brand"], indexed.slice(0, 0), CUTS)) == []
