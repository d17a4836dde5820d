from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pieces import (
    categorical,
    embedding,
    excluded_rows,
    job_of,
    numeric,
    sorted_out,
    spec_of,
    stored_ids,
    table_job,
    written_file,
)

from heterrec_pipeline.features.cells import missing_rows
from heterrec_pipeline.features.embedding import quantizer_table
from heterrec_pipeline.features.fitted import Fitted
from heterrec_pipeline.files.parts import load
from heterrec_pipeline.items import place
from heterrec_pipeline.items.cuts import ItemCuts
from heterrec_pipeline.items.encode import encode_items, encode_users
from heterrec_pipeline.reading.files import Split
from heterrec_pipeline.wiring.reports import COUNTS, REJECTS
from heterrec_schemas.tables import BOUNDARIES_SCHEMA

FEATURES = categorical(oov_buckets=1), numeric(), embedding(dim=2, groups=1)
FITTED = {
    "kind": Fitted(None, 5),
    "price": Fitted(pa.table([pa.array([2.0])], schema=BOUNDARIES_SCHEMA), 1),
    "look": Fitted(quantizer_table(np.zeros((1, 2), np.float32)), 2),
}
LINES = b"""
{"item": 5, "kind": "x", "price": 1, "look": [1, -1]}
{"item": 9, "kind": "x"}
{"item": 2, "kind": "z", "price": "?", "look": [1]}
{"item": 4, "kind": null, "price": 2.0}
{"item": 1, "kind": "y", "price": 3, "look": [-1, 1], "user": 1}
"""


KINDS = {"x": 3, "y": 4}


@pytest.mark.parametrize("part_bytes", [1, 2**20])
@pytest.mark.parametrize("joined", [False, True])
def test_items_go_to_their_shards_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part_bytes: int, joined: bool
) -> None:
    monkeypatch.setattr(place, "PART_BYTES", part_bytes)
    spec = spec_of(items={"catalogue_vocabulary": {"oov_buckets": 3}}, output={"item_shards": 3})
    table = table_job(*FEATURES, joined=joined)
    split = Split(written_file(tmp_path / "a.jsonl", LINES))
    ids = {"items": {"1": 5, "2": 6, "4": 7, "5": 8}, "item/kind": KINDS}
    out, stored = excluded_rows(tmp_path, table, split, [1]), stored_ids(tmp_path, ids)
    job = job_of(spec, tmp_path)
    parts, tagged = sorted_out(
        encode_items(job, table, split, ItemCuts((5, 6, 7, 9)), out, FITTED, stored, report=True)
    )
    shards: dict[int, list[dict[str, Any]]] = {}
    for shard, part in parts:
        assert part.table == "items"
        shards.setdefault(shard, []).extend(load(part).to_pylist())
    want = [
        {"item_index": 5, "item_id": "1", "kind": 4, "price": 3, "look": [4]},
        {"item_index": 6, "item_id": "2", "kind": 2, "price": 1, "look": [1]},
        {"item_index": 7, "item_id": "4", "kind": 1, "price": 3, "look": [1]},
        {"item_index": 8, "item_id": "5", "kind": 3, "price": 2, "look": [3]},
    ]
    for row in want if joined else []:
        del row["item_id"]
    assert shards == {0: want[:1], 1: want[1:2], 2: want[2:]}
    rejects = [r for t in tagged[REJECTS] for r in t.to_pylist()]
    assert [(r["row"], r["column"], r["reason"]) for r in rejects] == [
        (2, "price", "not_a_number"),
        (2, "look", "wrong_width"),
    ]
    assert dict(tagged[COUNTS]) == {"item/kind.oov": 1, "item/price.oov": 0, "item/look.oov": 0}


def test_cells_that_were_reported_before_are_not_again(tmp_path: Path) -> None:
    split = Split(written_file(tmp_path / "a.jsonl", LINES))
    job, table = job_of(spec_of(), tmp_path), table_job(*FEATURES)
    stored = stored_ids(tmp_path, {"items": {"2": 2}, "item/kind": KINDS})
    out = excluded_rows(tmp_path, table, split, [0, 1, 3, 4])
    _, tagged = sorted_out(
        encode_items(job, table, split, ItemCuts((2, 3)), out, FITTED, stored, report=False)
    )
    assert dict(tagged[COUNTS])["item/kind.oov"] == 1
    assert REJECTS not in tagged


def test_users_keep_their_keys_and_get_prefixed_columns(tmp_path: Path) -> None:
    table = table_job(*FEATURES, name="users", side="user", key="item")
    split = Split(written_file(tmp_path / "a.jsonl", LINES))
    out = excluded_rows(tmp_path, table, split, [1, 3, 4])
    stored = stored_ids(tmp_path, {"user/kind": KINDS})
    main, tagged = sorted_out(
        encode_users(job_of(spec_of(), tmp_path), table, split, out, FITTED, stored)
    )
    assert [r for t in main for r in t.to_pylist()] == [
        {"user": "5", "user_kind": 3, "user_price": 2, "user_look": [3]},
        {"user": "2", "user_kind": 2, "user_price": 1, "user_look": [1]},
    ]
    counts: dict[str, int] = {}
    for name, value in tagged[COUNTS]:
        counts[name] = counts.get(name, 0) + value
    assert counts == {
        "user/kind.oov": 1,
        "user/kind.missing": 0,
        "user/price.oov": 0,
        "user/price.missing": 1,
        "user/look.oov": 0,
        "user/look.missing": 1,
    }


@pytest.mark.parametrize(
    ("tokens", "count"),
    [
        (pa.array([1, 2, 1], pa.int32()), 2),
        (pa.array([[1], [2, 1], [1]], pa.list_(pa.int32())), 2),
        (pa.array([[1, 1], [2, 1], [1, 1]], pa.list_(pa.int32(), 2)), 2),
        (pa.array([[9, 9], [1, 1], [2, 2], [1, 1]], pa.list_(pa.int32(), 2)).slice(1), 2),
        (pa.array([], pa.list_(pa.int32())), 0),
    ],
)
def test_missing_rows_begin_with_one(tokens: pa.Array, count: int) -> None:
    assert missing_rows(tokens) == count
