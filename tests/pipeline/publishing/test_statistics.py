import json
from pathlib import Path

import pyarrow as pa

from heterrec_pipeline.files.shards import write_shard
from heterrec_pipeline.publishing.statistics import arrow_schemas, statistics
from heterrec_schemas.manifest import FeatureEntry

ENTRY = FeatureEntry(
    name="kind", kind="categorical", side="item", vocabulary_size=5, missing=1, oov=2
)
USER = FeatureEntry(name="age", kind="numeric", side="user", vocabulary_size=4, missing=3, oov=0)


def test_shares_are_of_the_features_own_side() -> None:
    counts = {"items.keys": 3, "users.keys": 4, "interactions.kept": 10, "sequences.latest": 4}
    body = json.loads(statistics(counts, [ENTRY, USER], {}))
    assert (body["items"], body["users"], body["interactions_per_user"]) == (3, 4, 2.5)
    assert body["sequences"] == {"train": 0, "validation": 0, "test": 0, "latest": 4}
    shares = [(f["missing_share"], f["oov_share"]) for f in body["features"]]
    assert shares == [(0.333333, 0.666667), (0.75, 0.0)]


def test_nothing_has_no_shares() -> None:
    body = json.loads(statistics({"items.keys": 0}, [ENTRY, USER], {}))
    assert body["interactions_per_user"] == 0.0
    assert {f["missing_share"] for f in body["features"]} == {0.0}


def test_each_kind_of_table_has_a_schema_also_under_its_final_name(tmp_path: Path) -> None:
    root = str(tmp_path)
    table = pa.table({"a": pa.array([[1]], pa.list_(pa.int32()))})
    paths = [
        "items/items-00000-of-00002.parquet",
        "items/items-00001-of-00002.parquet",
        "sequences/test-00000-of-00001.parquet",
        "sequences/train-00000-of-00001.parquet",
    ]
    files = [write_shard(root, p, table) for p in paths]
    Path(files[0].temporary).rename(tmp_path / files[0].path)
    found = dict(arrow_schemas(root, files))
    assert list(found) == [
        "schema/items.json",
        "schema/sequences-test.json",
        "schema/sequences-train.json",
    ]
    assert json.loads(found["schema/items.json"]) == {
        "fields": [{"name": "a", "type": "list<element: int32>", "nullable": True}]
    }
