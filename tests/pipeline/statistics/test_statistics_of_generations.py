"""`statistics.json` of user features and of refreshes with retired items, against counts by hand."""

from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from corner_shop import START, Shop, heterrec

from heterrec_pipeline.statistics.bins import first_of_bin
from heterrec_schemas import open_generation
from heterrec_schemas.generation import Generation

USERS = {
    # user: age, plan, tags; the log has u0 to u9, and x2 once, too little for training
    "u0": (20, "Gold", ["a"]),
    "u1": (29, "Gold", ["a", "b"]),
    "u2": (30, "Gold", []),
    "u3": (40, "Silver", ["b", "a", "c"]),
    "u4": (50, "Silver", None),
    "u5": (60, "Bronze", ["c"]),
    "u6": (None, None, ["a"]),
    "u7": (25, "Bronze", ["rare"]),
    "u8": (31, "Zinc", ["rare", "a"]),
    "x1": (99, "Gold", ["b"]),
    "x2": (99, "Gold", ["b", "rare"]),
}
GONE = ["i03", "i07", "i11"]


def features_of(generation: Generation) -> dict[str, dict[str, Any]]:
    return {f"{f['side']}/{f['name']}": f for f in generation.statistics()["features"]}


def values_of(generation: Generation, stem: str) -> dict[int, Any]:
    return {row["id"]: row["value"] for row in generation.vocabulary(stem).to_pylist()}


def refreshed(shop: Shop) -> Generation:
    shop.write_spec()
    done = heterrec("refresh", *shop.arguments(), "--base", shop.output)
    assert done.code == 0, done.err
    return open_generation(shop.output)


# --- user features -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def of_users(built_shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> Generation:
    shop = built_shop.copy(tmp_path_factory.mktemp("users") / "shop")
    ages, plans, tags = zip(*USERS.values(), strict=True)
    tastes = [[k % 3, -(k % 5)] if k != 4 else None for k in range(len(USERS))]
    columns = {"user_id": list(USERS), "age": ages, "plan": plans, "tags": tags, "taste": tastes}
    types = {"tags": pa.list_(pa.string()), "taste": pa.list_(pa.float32())}
    arrays = {name: pa.array(column, types.get(name)) for name, column in columns.items()}
    pq.write_table(pa.table(arrays), shop.input / "users.parquet")
    shop.spec["users"] = {
        "source": {"path": "users.parquet"},
        "key": "user_id",
        "features": [
            {"name": "age", "kind": "numeric", "column": "age", "boundaries": [30, 50]},
            {
                **{"name": "plan", "kind": "categorical", "column": "plan"},
                **{"min_count": 2, "oov_buckets": 1},
            },
            {"name": "tags", "kind": "categorical", "column": "tags", "multivalued": True},
            {
                **{"name": "taste", "kind": "embedding", "column": "taste"},
                **{"dim": 2, "groups": 2, "quantiles": 2},
            },
        ],
    }
    shop.add("log.csv", [["x2", "i00", str(START), "view", "900"]])
    done = shop.build()
    assert done.code == 0, done.err
    return open_generation(shop.output)


def test_values_of_users_are_those_with_a_history(of_users: Generation) -> None:
    found = features_of(of_users)
    assert found["user/age"]["tokens"] == [3, 3, 3]
    plan, plans = found["user/plan"], values_of(of_users, "user_plan")
    assert [(plans[i], count) for i, count in plan["top"]] == [
        *(("Gold", 4), ("Bronze", 2), ("Silver", 2)),
    ]
    assert (plan["ids"], plan["tokens"]) == (3, 9), "Zinc is a value, but has no id"
    tags, names = found["user/tags"], values_of(of_users, "user_tags")
    assert [(names[i], count) for i, count in tags["top"]] == [
        *(("a", 5), ("b", 3), ("rare", 3), ("c", 2)),
    ], "of equally frequent ones the smaller id first: more rows of users have it"
    assert (tags["ids"], tags["tokens"]) == (4, 13)


def test_shares_of_user_features_are_of_the_rows_of_users(of_users: Generation) -> None:
    found = features_of(of_users)
    rows = len(USERS)
    missing = {name: f["missing_share"] for name, f in found.items() if name.startswith("user/")}
    assert missing == {
        "user/age": round(1 / rows, 6),
        "user/plan": round(1 / rows, 6),
        "user/tags": round(2 / rows, 6),  # none, and an empty list
        "user/taste": round(1 / rows, 6),
    }
    assert found["user/plan"]["oov_share"] == round(1 / rows, 6)
    assert of_users.statistics()["users"] == 11


def test_codes_of_users_are_those_with_a_history(of_users: Generation) -> None:
    taste = features_of(of_users)["user/taste"]
    latest = of_users.sequences("latest")
    rows = [tuple(row) for row in latest["user_taste"].to_pylist() if row[0] != 1]
    assert len(rows) == 9, "neither u4, whose vector is missing, nor u9, who has no row"
    assert taste["rows"] == {"distinct": len(set(rows)), "exact": True}
    assert taste["codes"] == 2
    for z, (used, entropy) in enumerate(zip(taste["used"], taste["entropy_bits"], strict=True)):
        shares = np.array(list(Counter(row[z] for row in rows).values())) / len(rows)
        assert used == len(shares)
        assert entropy == pytest.approx(-(shares * np.log2(shares)).sum(), abs=1e-3)
    assert taste["fit"]["vectors"] == 10, "x1, who has no history, is fitted as well"


# --- retired items -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def chain(built_shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> list[Generation]:
    """A build, a refresh without three of its items and with a new one, a refresh in which one is back."""
    shop = built_shop.copy(tmp_path_factory.mktemp("retired") / "shop")
    first = open_generation(shop.output)
    head, *rows = shop.rows("items.csv")
    shop.put("items.csv", [head, *(r for r in rows if r[0] not in GONE), ["i90", "Fig", ""]])
    shop.add("log.csv", [["u1", "i90", str(START + 10**6), "view", "900"]])
    second = refreshed(shop)
    shop.add("items.csv", [[GONE[1], "Lime", "1"]])
    return [first, second, refreshed(shop)]


def test_features_are_those_of_present_items(chain: list[Generation]) -> None:
    first, second, third = (features_of(generation) for generation in chain)
    # i00 to i19 are Kiwi, Lime, Plum in turn: i03 is Kiwi, i07 Lime, i11 Plum.
    brands = [
        {values_of(generation, "brand")[i]: n for i, n in features["item/brand"]["top"]}
        for generation, features in zip(chain, (first, second, third), strict=True)
    ]
    assert brands == [
        {"Kiwi": 7, "Lime": 7, "Plum": 6},
        {"Kiwi": 6, "Lime": 6, "Plum": 5, "Fig": 1},
        {"Kiwi": 6, "Lime": 7, "Plum": 5, "Fig": 1},
    ]
    assert [f["item/brand"]["tokens"] for f in (first, second, third)] == [20, 18, 19]
    assert [sum(f["item/price"]["tokens"]) for f in (first, second, third)] == [20, 17, 18]
    assert second["item/price"]["missing_share"] == round(1 / 18, 6), "i90"
    for generation, features in zip(chain, (first, second, third), strict=True):
        looks = [tuple(row) for row in generation.items()["look"].to_pylist() if row[0] != 1]
        assert features["item/look"]["rows"] == {"distinct": len(set(looks)), "exact": True}
        assert features["item/look"]["fit"]["vectors"] == 20, "frozen, as the first build fitted it"
    assert [generation.statistics()["items"] for generation in chain] == [20, 18, 19]


def test_interactions_with_retired_items_count(chain: list[Generation]) -> None:
    for generation in chain[1:]:
        statistics = generation.statistics()
        assert statistics["interactions"] == 201
        assert sum(count for _, count in statistics["days"]) == 201
        assert sum(count for _, count in statistics["history_lengths"]) == 10
        counts = generation.item_counts()
        assert set(GONE) <= {
            values_of(generation, "item")[i] for i in counts["item_index"].to_pylist()
        }
        binned = Counter(first_of_bin(counts["train_count"].to_numpy()).tolist())
        assert dict(map(tuple, statistics["train_counts"])) == binned
