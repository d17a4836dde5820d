"""A shop whose Parquet files contain text that is not UTF-8, from the files to the generation."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
from corner_shop import Shop
from pieces import bad_text_array

from heterrec_pipeline.planning.plan import PlanConfig, plan
from heterrec_schemas import open_generation
from heterrec_schemas.feature_spec import parse_spec
from heterrec_schemas.rejects import Reason

BAD = b"caf\xe9"
SHOWN = "caf\\xe9"


def _as_parquet(shop: Shop, table: str, **bad: int) -> None:
    """Rewrite a CSV table of the shop as Parquet, with a bad text in one row of some columns."""
    names, *rows = shop.rows({"items": "items.csv", "users": "users.csv"}.get(table, "log.csv"))
    columns = {
        name: bad_text_array(
            *(BAD if bad.get(name) == k else row[at].encode() for k, row in enumerate(rows))
        )
        for at, name in enumerate(names)
    }
    columns["unused"] = bad_text_array(*[BAD] * len(rows))
    if table == "items":
        lists = pa.ListArray.from_arrays(range(len(rows) + 1), columns["brand"])
        columns["tags"] = lists.take(pa.array([4, *range(1, 4), 0, *range(5, len(rows))]))
    pq.write_table(pa.table(columns), shop.input / f"{table}.parquet")
    shop.spec[table]["source"]["path"] = f"{table}.parquet"


def test_each_bad_text_is_rejected_where_it_stands(shop: Shop) -> None:
    _as_parquet(shop, "items", item_id=2, brand=4, price=5)
    _as_parquet(shop, "users", user_id=3, age=5)
    _as_parquet(shop, "interactions", user_id=0, item_id=30, time=60, event=90, event_id=120)
    ids, vectors = shop.vectors()
    keys = bad_text_array(*(BAD if k == 7 else key.encode() for k, key in enumerate(ids)))
    pq.write_table(pa.table({"item_id": keys, "vector": vectors}), shop.input / "vectors.parquet")
    tags = {"name": "tags", "kind": "categorical", "column": "tags", "multivalued": True}
    shop.spec["items"]["features"].append(tags)
    shop.spec["limits"]["max_reject_ratio"] = 0.3
    done = shop.build()
    assert done.code == 0, done.err
    generation = open_generation(shop.output, verify="hashes")
    rejects = pq.read_table(generation.locate("rejects/rejects-00000-of-00001.parquet"))
    rows = [(r["source"], r["row"], r["column"], r["value"]) for r in rejects.to_pylist()]
    assert set(rejects["reason"].to_pylist()) == {"not_utf8"}
    assert sorted(rows) == sorted(
        [
            ("items", 2, "item_id", SHOWN),
            ("items", 4, "brand", SHOWN),
            ("items", 5, "price", SHOWN),
            ("items", 0, "tags", f'["{json.dumps(SHOWN)[1:-1]}"]'),
            ("items.joins[0]", 7, "item_id", SHOWN),
            ("users", 3, "user_id", SHOWN),
            ("users", 5, "age", SHOWN),
            ("interactions", 0, "user_id", SHOWN),
            ("interactions", 30, "item_id", SHOWN),
            ("interactions", 60, "time", SHOWN),
            ("interactions", 90, "event", SHOWN),
            ("interactions", 120, "event_id", SHOWN),
        ]
    )
    assert generation.manifest.counts.items.rejected == 1
    assert generation.manifest.counts.interactions.rejected == 5
    items = {r["item_id"]: r for r in generation.items().to_pylist()}
    assert items["i04"]["brand"] == items["i05"]["price"] == 1
    assert items["i00"]["tags"] == [1]
    assert items["i07"]["look"] == [1, 1]
    checked = shop.validate("--json")
    assert checked.code == 0, checked.err
    tables = {t["table"]: t["reasons"] for t in json.loads(checked.out)["tables"]}
    assert tables["items"] == {"not_utf8": 4}
    assert tables["users"] == {"not_utf8": 2}
    assert tables["items.joins[0]"] == {"not_utf8": 1}
    assert tables["interactions"] == {"not_utf8": 5}
    text = shop.spec_path.read_text(encoding="utf-8")
    planned = plan(PlanConfig(parse_spec(text), text, str(shop.input), sample_rows=20)).figures
    assert not planned.read.whole
    assert planned.rejects == {Reason.NOT_UTF8: 12}
    assert planned.items["rejected"].value == 1
