import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pieces import categorical, embedding, job_of, numeric, sorted_out, spec_of

from heterrec_pipeline.features.fitted import Fitted
from heterrec_pipeline.files.parts import TableRef, write_parts
from heterrec_pipeline.files.shards import Written, write_shard
from heterrec_pipeline.sequences.write import (
    ItemTokens,
    finished,
    flattened,
    item_tokens,
    sum_counts,
    write_item_counts,
    write_sequence_shard,
)
from heterrec_pipeline.wiring.reports import COUNTS, FILES
from heterrec_schemas.feature_spec import Temporal
from heterrec_schemas.tables import ITEM_COUNTS_SCHEMA, METADATA_KEY, sequences_schema

KIND = categorical(multivalued=True)
LOOK = embedding(dim=2, groups=2)
TOKENS = pa.table(
    {
        "item_index": [4, 5, 6],
        "price": pa.array([7, 8, 9], pa.int32()),
        "kind": pa.array([[2], [3, 4], [1]], pa.list_(pa.int32())),
        "look": pa.array([[2, 2], [3, 3], [1, 1]], pa.list_(pa.int32(), 2)),
    }
)
USERS = {"age": Fitted(pa.table({"edge": [1.0]}), 1)}
ITEMS = {
    name: Fitted(pa.table({}), size) for name, size in (("price", 1), ("kind", 4), ("look", 0))
}


def spec_with(layout: str) -> Any:
    features = [numeric().model_dump(), KIND.model_dump(), LOOK.model_dump()]
    users = {"source": {"path": "u.csv"}, "key": "user", "features": [numeric("age").model_dump()]}
    return spec_of(
        items={"features": features, "catalogue_vocabulary": {"oov_buckets": 2}},
        interactions={"unknown_items": "oov"},
        users=users,
        output={"layout": layout, "sequence_shards": 2},
    )


def rows_of(users: list[str], items: list[list[int]]) -> pa.Table:
    return pa.table(
        {
            "user_id": users,
            "item_index": pa.array(items, pa.list_(pa.int64())),
            "timestamp_ms": pa.array(
                [[10 * i for i in row] for row in items], pa.list_(pa.int64())
            ),
            "user_age": pa.array([2] * len(users), pa.int32()),
        }
    )


def write_items(root: str) -> list[Written]:
    return [
        write_shard(root, f"items/items-0000{k}-of-00002.parquet", TOKENS.slice(2 * k, 2 - k))
        for k in range(2)
    ]


def missing_last(spec: Any, folder: Path) -> ItemTokens:
    job = job_of(spec, folder)
    return item_tokens(job, reversed(write_items(job.root)))


def test_all_items_tokens_stand_in_order_and_a_missing_row_behind_them(tmp_path: Path) -> None:
    tokens = missing_last(spec_with("flattened"), tmp_path)
    assert tokens.ids.tolist() == [4, 5, 6]
    assert tokens.rows.to_pydict() == {
        "price": [7, 8, 9, 1],
        "kind": [[2], [3, 4], [1], [1]],
        "look": [[2, 2], [3, 3], [1, 1], [1, 1]],
    }


@pytest.mark.parametrize("cut", [False, True])
def test_histories_are_flattened_item_by_item(tmp_path: Path, cut: bool) -> None:
    tokens = missing_last(spec_with("flattened"), tmp_path)
    items = pa.array([[5], [4, 6, 2], [], [3, 5]], pa.list_(pa.int64()))
    wanted = items.slice(1) if cut else items
    for name in ("price", "kind", "look"):
        absent = tokens.rows[name].to_pylist()[-1]
        by_index = dict(zip([4, 5, 6], tokens.rows[name].to_pylist(), strict=False))
        found = flattened(wanted, tokens, name)
        found.validate(full=True)
        assert found.to_pylist() == [
            [by_index.get(i, absent) for i in row] for row in wanted.to_pylist()
        ]


@pytest.mark.parametrize("layout", ["referenced", "flattened"])
@pytest.mark.parametrize("integral", [False, True])
def test_a_shard_is_its_parts_in_order(tmp_path: Path, layout: str, integral: bool) -> None:
    spec = spec_with(layout)
    job = job_of(spec, tmp_path)
    files = write_items(job.root) if layout == "flattened" else []
    parts: list[TableRef | None] = [None]
    for order, names, lists in ((2, ["3"], [[2, 4]]), (0, ["10", "2"], [[4], [5, 6]]), (1, [], [])):
        path = write_parts(job.parts, "train", [rows_of(names, lists)])
        parts.append(TableRef(order, "train", path, 0))
    seen = {"interactions.user": 1 if integral else 4}
    _, tagged = sorted_out(
        write_sequence_shard(job, (("train", 1), parts), seen, USERS, ITEMS, files)
    )
    (file,) = tagged[FILES]
    assert (file.path, file.rows) == ("sequences/train-00001-of-00002.parquet", 3)
    assert tagged[COUNTS] == [("sequences.train", 3)]
    table = pq.read_table(file.temporary)
    users: list[Any] = ["10", "2", "3"]
    assert table["user_id"].to_pylist() == ([int(u) for u in users] if integral else users)
    assert table["item_index"].to_pylist() == [[4], [5, 6], [2, 4]]
    assert table["user_age"].to_pylist() == [2, 2, 2]
    assert table.schema.remove_metadata().equals(
        sequences_schema(spec, "train", integral=integral).remove_metadata()
    )
    about = json.loads(table.schema.metadata[METADATA_KEY])
    sides = [(f["side"], f["name"]) for f in about["features"]]
    items = [("item", n) for n in ITEMS] if layout == "flattened" else []
    assert (about["split"], sides) == ("train", [*items, ("user", "age")])
    if layout == "flattened":
        assert table["item_price"].to_pylist() == [[7], [8, 9], [1, 7]]
        assert table["item_kind"].to_pylist() == [[[2]], [[3, 4], [1]], [[1], [2]]]
        assert table["item_look"].to_pylist() == [[[2, 2]], [[3, 3], [1, 1]], [[1, 1], [2, 2]]]


def test_a_shard_without_parts_is_written_too(tmp_path: Path) -> None:
    job = job_of(spec_with("referenced"), tmp_path)
    _, tagged = sorted_out(write_sequence_shard(job, (("test", 0), [None]), {}, USERS, {}, []))
    table = pq.read_table(tagged[FILES][0].temporary)
    assert (len(table), "target_item_index" in table.column_names) == (0, True)
    assert tagged[COUNTS] == [("sequences.test", 0)]


def test_a_feature_of_users_is_no_feature_of_items() -> None:
    schema = sequences_schema(spec_with("referenced"), "train", integral=False)
    table = finished(rows_of(["u"], [[4]]), schema, None)
    assert table.schema.equals(schema, check_metadata=True)


def test_the_train_counts_of_all_buckets_are_added_up(tmp_path: Path) -> None:
    job = job_of(spec_of(), tmp_path)
    low, high = (
        [pa.table({"item_index": i, "train_count": n}) for i, n in pieces]
        for pieces in ([([4, 7], [2, 1]), ([5, 7], [1, 10])], [([2**20, 2**20 + 2], [3, 4])])
    )
    spilled = TableRef(0, "item_counts", write_parts(job.parts, "item_counts", [low[1]]), 0)
    groups = ((1, high), (0, [low[0], spilled]))
    found = [sorted_out(sum_counts(job, (k, {"item_counts": t}))) for k, t in groups]
    parts = [p for main, _ in found for p in main]
    binned = [pair for _, tagged in found for pair in tagged[COUNTS]]
    assert sorted(binned) == [(f"train_counts.{n}", 1) for n in (1, 10, 2, 3, 4)]
    assert [k for k, _ in parts] == [0, 0]
    every = {4: 2, 5: 1, 7: 11, 2**20: 3, 2**20 + 2: 4}
    assert {p.table for _, p in parts} == {"item_counts"}
    for references, want in (([p for _, p in parts], every), ([], {})):
        _, tagged = sorted_out(write_item_counts(job, (0, [None, *references])))
        (file,) = tagged[FILES]
        assert file.path == "item_counts/item_counts-00000-of-00001.parquet"
        table = pq.read_table(file.temporary)
        assert list(zip(*table.to_pydict().values(), strict=True)) == sorted(want.items())
        assert table.schema.remove_metadata().equals(ITEM_COUNTS_SCHEMA)


def test_a_temporal_split_has_the_first_time_of_every_item(tmp_path: Path) -> None:
    """Also of items without training interactions, which the counts leave out."""
    split = Temporal(method="temporal", validation_at=0.5, test_at=0.8)
    job = job_of(spec_of().model_copy(update={"split": split}), tmp_path)
    names = ("item_index", "train_count", "first_ms")
    pieces = [
        pa.table(dict(zip(names, columns, strict=True)))
        for columns in (([4, 7], [2, 0], [50, 9]), ([5, 7], [0, 0], [0, 8]), ([4], [1], [49]))
    ]
    main, _ = sorted_out(sum_counts(job, (0, {"item_counts": pieces})))
    parts = [p for _, p in main]
    want = {
        "item_counts/item_counts": [(4, 3)],
        "item_times/first_interaction": [(4, 49), (5, 0), (7, 8)],
    }
    for references, wanted in ((parts, want), ([], {name: [] for name in want})):
        _, tagged = sorted_out(write_item_counts(job, (0, [None, *references])))
        found = {
            file.path.removesuffix("-00000-of-00001.parquet"): list(
                zip(*pq.read_table(file.temporary).to_pydict().values(), strict=True)
            )
            for file in tagged[FILES]
        }
        assert found == wanted
