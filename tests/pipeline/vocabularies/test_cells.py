"""Cells that go apart into values and come together as ids are those that are encoded in place."""

from typing import Any

import polars as pl
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st
from pieces import QUICK, categorical, job_of, numeric, sorted_out, spec_of, table_job

from heterrec_pipeline.features import categorical as kind
from heterrec_pipeline.items.place import place_users
from heterrec_pipeline.sizing import Estimate, Sizes
from heterrec_pipeline.vocabularies.cells import (
    CELLS,
    OWNER,
    LargeCells,
    cell_values,
    cells,
    join_ids,
    large_features,
    with_ids,
)
from heterrec_pipeline.vocabularies.lookup import bucket_lookup
from heterrec_pipeline.wiring.reports import COUNTS

WORDS = st.sampled_from(["a", "b", "c", " a ", "strange", "\u00e9", "odd", "", None])
KNOWN = {"a": 7, "b": 4, "c": 5}


def index_of(values: dict[str, int]) -> pa.Table:
    return pa.table({"value": list(values), "id": pa.array(list(values.values()), pa.int64())})


@QUICK
@given(data=st.data())
def test_as_encoded_in_place(data: st.DataObject) -> None:
    several = data.draw(st.booleans())
    most = data.draw(st.none() | st.integers(1, 3)) if several else None
    oov = data.draw(st.integers(0, 3))
    feature = categorical(multivalued=several, oov_buckets=oov, max_values=most)
    cell = st.none() | st.lists(WORDS, max_size=5) if several else WORDS
    column = pa.array(
        data.draw(st.lists(cell, max_size=12)), pa.list_(pa.string()) if several else pa.string()
    )
    owners = pl.Series([100 - k for k in range(len(column))], dtype=pl.Int64)
    values = pl.DataFrame(pl.from_arrow(cell_values(0, kind.parse(feature, column).values, owners)))
    # Each value goes its way, and the pieces come back in any order.
    ids = bucket_lookup([index_of(KNOWN)])
    pieces = [with_ids(feature, p, ids).to_arrow() for p in values.partition_by("value")]
    found = cells(feature, data.draw(st.permutations(pieces)), owners)
    want = kind.encode(feature, kind.parse(feature, column).values, ids.find)
    assert found.tokens.to_pylist() == want.tokens.to_pylist()
    assert found.tokens.type == want.tokens.type
    assert found.oov_rows == want.oov_rows


def test_the_large_features_of_a_table(tmp_path: Any) -> None:
    features = [categorical("brand"), numeric(), categorical("shop"), categorical("colour")]
    sizes = Sizes(limit=5, values={f"item/{n}": Estimate(9, "bound") for n in ("brand", "colour")})
    job = job_of(spec_of(), tmp_path, sizes=sizes)
    table = table_job(*features)
    assert [f.name for f in large_features(job, (table,))] == ["brand", "colour"]
    assert large_features(job, (table_job(*features, side="user"),)) == []
    large = LargeCells(table, ["other", "colour", "brand"])
    assert [f.name for f in large.rest.features] == ["price", "shop"]
    brand = kind.parse(features[0], pa.array(["x", None])).values
    colour = kind.parse(features[3], pa.array([None, None])).values
    rows = pa.record_batch({"key": pa.array(["k", "l"]), "brand": brand, "colour": colour})
    _, tagged = sorted_out(large.tagged(rows, "key"))
    ((name, found),) = tagged[CELLS]
    assert name == "item/brand"
    assert found.to_pylist() == [{OWNER: "k", "feature": 2, "position": 0, "value": "x"}]


def test_a_bucket_is_looked_up_piece_by_piece() -> None:
    feature = categorical("brand", oov_buckets=1)
    pieces = [
        cell_values(0, kind.parse(feature, pa.array(values)).values, pl.Series(["k", "l"]))
        for values in (["a", "strange"], [None, "b"])
    ]
    found = list(
        join_ids(
            [feature], "item", (("item/brand", 3), {"ids": [index_of(KNOWN)], "cells": pieces})
        )
    )
    rows = [[(r[OWNER], r["id"], r["outside"]) for r in t.to_pylist()] for t in found]
    assert rows == [[("k", 7, False), ("l", 2, True)], [("l", 4, False)]]
    (none,) = join_ids([feature], "item", (("item/brand", 0), {"ids": [], "cells": pieces[:1]}))
    assert none["outside"].to_pylist() == [True, True]


def test_users_get_their_tokens_together() -> None:
    age, city, tags = numeric("age"), categorical("city"), categorical("tags", multivalued=True)
    table = table_job(city, age, tags, side="user", name="users")
    tokens = [
        pa.table({"user": ["u", "v"], "user_age": pa.array([2, 3], pa.int32())}),
        pa.table({"user": ["w"], "user_age": pa.array([4], pa.int32())}),
    ]
    rows = [
        ("w", 0, 0, 9, False),
        ("u", 1, 1, 5, False),
        ("u", 1, 0, 6, True),
        ("v", 0, 0, 1, True),
    ]
    schema = {
        OWNER: pl.String,
        "feature": pl.Int16,
        "position": pl.Int32,
        "id": pl.Int32,
        "outside": pl.Boolean,
    }
    long = pl.DataFrame(rows, schema=schema, orient="row").to_arrow()
    pieces = {"tokens": tokens, "cells": [long.slice(0, 2), long.slice(2)]}
    main, tagged = sorted_out(place_users(table, [city, tags], (("users", 0), pieces)))
    whole = pa.concat_tables(main).to_pydict()
    assert whole == {
        "user": ["u", "v", "w"],
        "user_city": [1, 1, 9],
        "user_age": [2, 3, 4],
        "user_tags": [[6, 5], [1], [1]],
    }
    counts: dict[str, int] = {}
    for name, value in tagged[COUNTS]:
        counts[name] = counts.get(name, 0) + value
    assert counts == {
        "user/city.oov": 1,
        "user/city.missing": 2,
        "user/tags.oov": 1,
        "user/tags.missing": 2,
    }
