import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pieces import categorical, embedding, job_of, numeric, sorted_out, spec_of, table_job

from heterrec_pipeline.features.embedding import quantizer_table
from heterrec_pipeline.features.fitted import Fitted
from heterrec_pipeline.files.parts import TableRef, write_parts
from heterrec_pipeline.files.shards import Written
from heterrec_pipeline.items.cuts import ItemCuts
from heterrec_pipeline.items.write import assemble_items, write_item_shard
from heterrec_pipeline.job import Job
from heterrec_pipeline.wiring.reports import COUNTS, FILES
from heterrec_schemas.tables import BOUNDARIES_SCHEMA, METADATA_KEY, items_schema

KIND = categorical(multivalued=True, oov_buckets=1)
LOOK = embedding(dim=2, groups=2)
MAIN = table_job(KIND)
JOINED = table_job(numeric(), LOOK, name="items.joins[0]", joined=True)
SPEC = spec_of(
    items={
        "features": [KIND.model_dump(), numeric().model_dump(), LOOK.model_dump()],
        "catalogue_vocabulary": {"oov_buckets": 2},
    },
    output={"item_shards": 2},
)
LOOK_TABLE = quantizer_table(pa.array([0.5, 1.5]).to_numpy().astype("float32").reshape(1, 2))
FITTED = {
    "kind": Fitted(None, 5),
    "price": Fitted(pa.table([pa.array([2.0, 5.0])], schema=BOUNDARIES_SCHEMA), 2),
    "look": Fitted(LOOK_TABLE, 2),
}


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return job_of(SPEC, tmp_path, items=MAIN, joins=(JOINED,))


def main_part(job: Job, rows: list[tuple[int, str, list[int]]]) -> TableRef:
    columns = [
        pa.array([r[0] for r in rows]),
        pa.array([r[1] for r in rows]),
        pa.array([r[2] for r in rows], pa.list_(pa.int32())),
    ]
    table = pa.table(columns, names=["item_index", "item_id", "kind"])
    return TableRef(0, "items", write_parts(job.parts, "items", [table]), 0)


def joined_part(job: Job, rows: list[tuple[int, int, list[int]]]) -> TableRef:
    columns = [
        pa.array([r[0] for r in rows]),
        pa.array([r[1] for r in rows], pa.int32()),
        pa.array([r[2] for r in rows], pa.list_(pa.int32(), 2)),
    ]
    table = pa.table(columns, names=["item_index", "price", "look"])
    return TableRef(0, "items.joins[0]", write_parts(job.parts, "joins", [table]), 0)


def test_joined_rows_stand_beside_their_items_and_absent_ones_are_missing(job: Job) -> None:
    parts = [
        joined_part(job, [(7, 3, [4, 5])]),
        main_part(job, [(7, "70", [3, 4]), (4, "40", [1])]),
        main_part(job, [(6, "60", [4]), (5, "50", [2])]),
        joined_part(job, [(4, 2, [2, 3])]),
    ]
    for integral in (False, True):
        schema = items_schema(SPEC, integral=integral)
        table = assemble_items(job, parts, np.arange(4, 8), schema, {})
        assert table.schema.equals(schema, check_metadata=True)
        ids: list[Any] = ["40", "50", "60", "70"]
        assert table.to_pydict() == {
            "item_index": [4, 5, 6, 7],
            "item_id": [int(i) for i in ids] if integral else ids,
            "kind": [[1], [2], [4], [3, 4]],
            "price": [2, 1, 1, 3],
            "look": [[2, 3], [1, 1], [1, 1], [4, 5]],
        }


def test_without_any_row_of_a_joined_table_all_are_missing(job: Job) -> None:
    schema = items_schema(SPEC, integral=False)
    table = assemble_items(
        job, [main_part(job, [(5, "b", [3]), (4, "a", [1])])], np.arange(4, 6), schema, {}
    )
    assert table.drop_columns(["item_index"]).to_pydict() == {
        "item_id": ["a", "b"],
        "kind": [[1], [3]],
        "price": [1, 1],
        "look": [[1, 1], [1, 1]],
    }


@pytest.mark.parametrize("integral", [False, True])
def test_a_shard_without_items_has_its_columns(job: Job, integral: bool) -> None:
    schema = items_schema(SPEC, integral=integral)
    table = assemble_items(job, [], np.arange(0), schema, {})
    assert (len(table), table.schema) == (0, schema)


def test_the_tokens_of_what_is_missing() -> None:
    features = categorical(), KIND, numeric(), LOOK
    found = [pa.array([f.missing_tokens], f.token_type).to_pylist() for f in features]
    assert found == [[1], [[1]], [1], [[1, 1]]]


def test_what_a_feature_became() -> None:
    kind = KIND.entry("item", FITTED["kind"].size, missing=3, oov=2)
    assert (kind.vocabulary_size, kind.multivalued, kind.missing, kind.oov) == (5, True, 3, 2)
    empty = categorical(oov_buckets=7).entry("user", 0)
    assert (empty.vocabulary_size, empty.side) == (9, "user")
    price = numeric().entry("item", FITTED["price"].size)
    assert (price.vocabulary_size, price.bins, price.boundary_version) == (5, 3, 1)
    look = LOOK.entry("item", FITTED["look"].size)
    assert (look.vocabulary_size, look.groups, look.quantiles, look.bins) == (4, 2, 2, None)


def read(root: str, file: Written) -> pa.Table:
    assert file.bytes == Path(file.temporary).stat().st_size
    return pq.read_table(file.temporary)


def about(table: pa.Table) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(table.schema.metadata[METADATA_KEY])
    return found


def test_a_shard_counts_its_missing_and_explains_itself(job: Job) -> None:
    rows = {0: [(4, "a", [1])], 1: [(5, "b", [3]), (6, "c", [4])]}
    table = table_job(KIND, numeric(), LOOK)
    for shard, mine in rows.items():
        element = (shard, [None, main_part(job, mine)])  # type: ignore[arg-type]
        main, tagged = sorted_out(
            write_item_shard(job, element, ItemCuts((4, 5, 7)), FITTED, {"items": 4})
        )
        assert main == tagged[FILES]
        assert main[0].path == f"items/items-0000{shard}-of-00002.parquet"
        counts = dict(tagged[COUNTS])
        assert counts == {
            "item/kind.missing": 1 - shard,
            "item/price.missing": len(mine),
            "item/look.missing": len(mine),
        }
        table = read(job.root, main[0])
        assert table["item_id"].to_pylist() == [r[1] for r in mine]
        described = {f["name"]: f for f in about(table)["features"]}
        assert described["kind"]["vocabulary_size"] == 5
