"""The trickiest rules of the contract on inputs small enough to work out by hand.

Each test pins the result of the reference; `built` also builds the input and compares every file
with the reference, so that both are checked against numbers made by hand.
"""

import json
import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml
from building import build_dataset, build_folder
from compare import differences
from strategies import Dataset, Table, write_input

from heterrec_schemas.errors import HeterrecError
from heterrec_schemas.testing.reference import Reference, reference

TEXT, WHOLE, REAL = pa.string(), pa.int64(), pa.float64()
pytestmark = pytest.mark.slow


def built(dataset: Dataset, folder: Path, **how: Any) -> Reference:
    result = build_dataset(dataset, folder, **how)
    found = reference(yaml.safe_load(dataset.spec_text), folder / "input")
    lines = differences(found, dataset.spec, Path(result.path))
    assert not lines, "\n".join(lines[:20])
    return found


def dataset(
    items: list[dict[str, Any]],
    types: dict[str, pa.DataType],
    features: list[dict[str, Any]],
    log: list[tuple[Any, ...]] | None = None,
    *,
    format: str = "parquet",
    log_format: str = "parquet",
    **overrides: Any,
) -> Dataset:
    """Items with key `id`, and a log of (user, item, second, further columns ...)."""
    names = ["user", "item", "time", *overrides.pop("log_columns", [])]
    rows = [dict(zip(names, row, strict=True)) for row in log or [("u", items[0]["id"], 0)]]
    log_types = {"user": TEXT, "item": types["id"], "time": WHOLE} | {n: TEXT for n in names[3:]}
    log_types |= overrides.pop("log_types", {})
    spec: dict[str, Any] = {
        "version": 1,
        "name": "by-hand",
        "items": {"source": {"path": "items-*"}, "key": "id", "features": features},
        "interactions": {
            "source": {"path": "log-*"},
            "user": "user",
            "item": "item",
            "timestamp": {"column": "time", "unit": "s"},
        },
        "sequences": {"max_length": 10},
        "split": {"method": "leave_one_out"},
        "limits": {"max_reject_ratio": 1.0},
    }
    for key, value in overrides.items():
        spec[key] = spec.get(key, {}) | value
    tables = [Table("items", format, types, items), Table("log", log_format, log_types, rows)]
    return Dataset(spec, tables)


def tokens(found: Reference, name: str) -> dict[Any, Any]:
    return {row["item_id"]: row[name] for row in found.items}


def rows(found: Reference, split: str) -> dict[Any, tuple[list[int], list[int]]]:
    """User -> seconds of the history, seconds of the targets."""
    return {
        row["user_id"]: (
            [t // 1000 for t in row["timestamp_ms"]],
            [t // 1000 for t in row.get("target_timestamp_ms", [])],
        )
        for shard in found.sequences[split]
        for row in shard
    }


# --- tokens ----------------------------------------------------------------------------------


def test_numeric_edges_and_tokens(tmp_path: Path) -> None:
    """Of 0 10 20 30 40: x[ceil(4 i / 4)] = 10, 20, 30. On an edge means above it."""
    prices = [0.0, 10.0, 20.0, 30.0, 40.0, math.inf, -math.inf, math.nan, None]
    found = built(
        dataset(
            [{"id": k, "price": p} for k, p in enumerate(prices)],
            {"id": WHOLE, "price": REAL},
            [{"name": "price", "kind": "numeric", "column": "price", "bins": 4}],
        ),
        tmp_path,
    )
    assert found.boundaries == {"price": [10.0, 20.0, 30.0]}
    assert list(tokens(found, "price").values()) == [2, 3, 4, 5, 5, 5, 2, 1, 1]


def test_repeated_edges_are_merged_and_minus_zero_is_zero(tmp_path: Path) -> None:
    """Of 0 0 0 5: x[ceil(3 i / 3)] = 0, 0, 5, merged to 0, 5."""
    found = built(
        dataset(
            [{"id": k, "n": n} for k, n in enumerate([0.0, -0.0, 0.0, 5.0])],
            {"id": WHOLE, "n": REAL},
            [{"name": "n", "kind": "numeric", "column": "n", "bins": 4}],
        ),
        tmp_path,
    )
    assert found.boundaries == {"n": [0.0, 5.0]}
    assert math.copysign(1, found.boundaries["n"][0]) == 1
    assert list(tokens(found, "n").values()) == [3, 3, 3, 4]


def test_bad_cells_are_set_aside_and_the_item_stays(tmp_path: Path) -> None:
    cells = ["1", " 2 ", "three", "", "NA", "4,5"]
    found = built(
        dataset(
            [{"id": f"i{k}", "n": n} for k, n in enumerate(cells)],
            {"id": TEXT, "n": TEXT},
            [{"name": "n", "kind": "numeric", "column": "n", "bins": 2, "missing_values": ["NA"]}],
            format="csv",
        ),
        tmp_path,
    )
    assert found.boundaries == {"n": [2.0]}  # x[ceil(1 / 2)] of 1, 2
    assert list(tokens(found, "n").values()) == [2, 3, 1, 1, 1, 1]
    assert found.rejects == {
        ("items", "n", "not_a_number", "three"): 1,
        ("items", "n", "not_a_number", "4,5"): 1,
    }


def test_categories_by_count_then_utf8(tmp_path: Path) -> None:
    """U+FF5E comes before U+1F600 in UTF-8 (not in UTF-16); both spellings of e-acute are one."""
    colours = ["b", "b ", "caf\u00e9", "cafe\u0301", "\U0001f600", "\uff5e", "x", "NA", None]
    found = built(
        dataset(
            [{"id": k, "c": c} for k, c in enumerate(colours)],
            {"id": WHOLE, "c": TEXT},
            [
                {"name": "all", "kind": "categorical", "column": "c", "missing_values": ["NA"]},
                {"name": "top", "kind": "categorical", "column": "c", "missing_values": ["NA"]}
                | {"max_size": 3, "oov_buckets": 4},
                {"name": "min", "kind": "categorical", "column": "c", "missing_values": ["NA"]}
                | {"min_count": 2},
            ],
        ),
        tmp_path,
    )
    assert found.vocabularies["all"] == [
        [(2, "b", 2), (3, "caf\u00e9", 2), (4, "x", 1), (5, "\uff5e", 1), (6, "\U0001f600", 1)]
    ]
    assert list(tokens(found, "all").values()) == [2, 2, 3, 3, 6, 5, 4, 1, 1]
    # Four buckets first, then the values: b, cafe, x. Outside them 2 + hash mod 4.
    top = list(tokens(found, "top").values())
    assert top[:4] + top[6:] == [6, 6, 7, 7, 8, 1, 1]
    assert set(top[4:6]) <= {2, 3, 4, 5}
    assert list(tokens(found, "min").values()) == [2, 2, 3, 3, 1, 1, 1, 1, 1]


def test_out_of_vocabulary_bucket(tmp_path: Path) -> None:
    """XXH3-64 of `zebra` is 9795273900099882599, 3 modulo 4."""
    found = built(
        dataset(
            [{"id": k, "c": c} for k, c in enumerate(["a", "a", "zebra"])],
            {"id": WHOLE, "c": TEXT},
            [{"name": "c", "kind": "categorical", "column": "c", "min_count": 2, "oov_buckets": 4}],
        ),
        tmp_path,
    )
    assert list(tokens(found, "c").values()) == [6, 6, 2 + 3]
    assert found.features["item", "c"].oov == 1


def test_whole_floats_are_integers_and_their_order_is_numeric(tmp_path: Path) -> None:
    found = built(
        dataset(
            [{"id": k, "year": y} for k, y in enumerate([10.0, 9.0, -0.0, None])],
            {"id": REAL, "year": REAL},
            [{"name": "year", "kind": "categorical", "column": "year"}],
        ),
        tmp_path,
    )
    assert found.vocabularies["year"] == [[(2, 0, 1), (3, 9, 1), (4, 10, 1)]]
    assert [row["item_id"] for row in found.items] == [0, 1, 2, 3]


def test_paths(tmp_path: Path) -> None:
    """Missing nodes go first: A > ? > C becomes A > C. Ids in the order of first appearance."""
    cells = [[["A", "?", " C "], ["A", "B"]], [["", "?"], []], [["A"], ["A", "B"]], None]
    kinds = ["leaf", "nodes", "prefixes"]
    feature = {"kind": "categorical", "column": "p", "multivalued": True, "missing_values": ["?"]}
    found = built(
        dataset(
            [{"id": k, "p": p} for k, p in enumerate(cells)],
            {"id": WHOLE, "p": pa.list_(pa.list_(TEXT))},
            [{"name": kind, "nested": kind} | feature for kind in kinds]
            + [{"name": "first", "max_values": 1} | feature],
        ),
        tmp_path,
    )
    words = {name: {i: v for i, v, _ in found.vocabularies[name][0]} | {1: None} for name in kinds}
    said = {k: [[words[k][i] for i in t] for t in tokens(found, k).values()] for k in kinds}
    assert said["leaf"] == [["C", "B"], [None], ["A", "B"], [None]]
    assert said["nodes"] == [["A", "C", "B"], [None], ["A", "B"], [None]]
    assert said["prefixes"] == [["A", "A > C", "A > B"], [None], ["A", "A > B"], [None]]
    assert [len(t) for t in tokens(found, "first").values()] == [1, 1, 1, 1]


def test_separated_values_without_buckets_are_left_out(tmp_path: Path) -> None:
    feature = {"kind": "categorical", "column": "g", "multivalued": True, "separator": "|"}
    found = built(
        dataset(
            [{"id": f"i{k}", "g": g} for k, g in enumerate(["a|b", " b |a|b", "c|", "|", "a|c|d"])],
            {"id": TEXT, "g": TEXT},
            [{"name": "g", "min_count": 2} | feature],
            format="csv",
        ),
        tmp_path,
    )
    # a 3, b 2, c 2, d 1
    assert list(tokens(found, "g").values()) == [[2, 3], [3, 2], [4], [1], [2, 4]]


def test_embedding_tokens(tmp_path: Path) -> None:
    """Two groups of two dimensions, q = 3; edges are x[1], x[2] of three vectors."""
    vectors = [[0.0, 0.0, 1.0, 5.0], [1.0, 2.0, 1.0, 6.0], [2.0, 4.0, 1.0, 7.0], None, []]
    vectors += [[1.0, 2.0, 3.0], [1.0, 2.0, 3.0, math.nan]]
    found = built(
        dataset(
            [{"id": k, "v": v} for k, v in enumerate(vectors)],
            {"id": WHOLE, "v": pa.list_(pa.float32())},
            [{"name": "v", "kind": "embedding", "column": "v", "dim": 4, "groups": 2}
             | {"quantiles": 3}],
        ),
        tmp_path,
    )  # fmt: skip
    edges = [[found.quantizers["v"][d, k] for k in range(2)] for d in range(4)]
    assert edges == [[1.0, 2.0], [2.0, 4.0], [1.0, 1.0], [6.0, 7.0]]
    assert list(tokens(found, "v").values()) == [
        [2, 2 + 2],  # bins 0 0 | 2 0
        [2 + 1 + 3, 2 + 2 + 3],  # bins 1 1 | 2 1
        [2 + 2 + 6, 2 + 2 + 6],  # bins 2 2 | 2 2
        *[[1, 1]] * 4,
    ]
    reasons = {reason: count for (_, _, reason, _), count in found.rejects.items()}
    assert reasons == {"wrong_width": 1, "non_finite": 1}


def test_null_vectors_of_a_fixed_size_column(tmp_path: Path) -> None:
    """Parquet's null lists of a fixed size, which pyarrow 25 cannot read by itself."""
    data = dataset(
        [{"id": 0, "v": [0.0, 1.0]}, {"id": 1, "v": None}, {"id": 2, "v": [1.0, 0.0]}],
        {"id": WHOLE, "v": pa.list_(pa.float32(), 2)},
        [{"name": "v", "kind": "embedding", "column": "v", "dim": 2, "groups": 1, "quantiles": 2}],
    )
    path = Path(build_dataset(data, tmp_path).path) / "items" / "items-00000-of-00001.parquet"
    got = pa.parquet.read_table(path)["v"].to_pylist()
    # The edge of both dimensions is x[ceil(1 / 2)] = 1: bins 0 1 and 1 0.
    assert got == [[2 + 2], [1], [2 + 1]]


# --- keys ------------------------------------------------------------------------------------


def test_equal_rows_count_once_and_the_smallest_hash_is_kept(tmp_path: Path) -> None:
    """hash(7, red, 1) = 9958554708350225687 < hash(7, blue, 1) = 17186547284574010550."""
    items = [
        {"id": 7, "c": "blue", "n": 1.0},
        {"id": 7, "c": "blue ", "n": 1.0},  # equal to the one before: one loser, not two
        {"id": 7, "c": " red", "n": 1.0},
        {"id": 7, "c": "red", "n": 1.0},
        {"id": 8, "c": "red", "n": None},
        {"id": None, "c": "red", "n": 1.0},
    ]
    found = built(
        dataset(
            items,
            {"id": WHOLE, "c": TEXT, "n": REAL},
            [
                {"name": "c", "kind": "categorical", "column": "c"},
                {"name": "n", "kind": "numeric", "column": "n", "bins": 2},
            ],
            [("u", 7, 0)],
        ),
        tmp_path,
    )
    assert found.vocabularies["c"] == [[(2, "red", 2)]]
    assert found.counts["items"] == {
        "read": 4,
        "kept": 2,
        "rejected": 2,
        "repeated": 2,
        "erased": 0,
        "filtered": 0,
        "retired": 0,
    }
    assert found.rejects == {
        ("items", "id", "duplicate_item", "7"): 1,
        ("items", "id", "missing_key", None): 1,
    }


def test_joined_rows(tmp_path: Path) -> None:
    """Keys join by text; rows of items outside the catalogue count only by their keys and contradictions."""
    data = dataset(
        [{"id": 1}, {"id": 2}],
        {"id": WHOLE},
        [
            {"name": "c", "kind": "categorical", "column": "c"},
            {"name": "n", "kind": "numeric", "column": "n", "bins": 2},
        ],
    )
    data.spec["items"]["joins"] = [{"source": {"path": "more-*"}, "key": "key"}]
    more = [("1 ", "x", "1"), ("9", "y", "?"), ("9", "z", "?"), ("9", " z", "?"), ("", "x", "1")]
    more_rows = [{"key": k, "c": c, "n": n} for k, c, n in more]
    data.tables.append(Table("more", "csv", {"key": TEXT, "c": TEXT, "n": TEXT}, more_rows))
    found = built(data, tmp_path)
    assert tokens(found, "c") == {1: 2, 2: 1}
    assert found.vocabularies["c"] == [[(2, "x", 1)]]
    assert found.rejects == {
        ("items.joins[0]", "key", "missing_key", None): 1,
        ("items.joins[0]", "key", "duplicate_row", "9"): 1,
    }


def test_denormalised_items(tmp_path: Path) -> None:
    """Rows of a rejected user or behaviour still describe their item; unreadable times do not."""
    log = [
        # user, item, time, order, brand, price
        ("u", "a", "10", "1", "old", "1"),
        ("u", "a", "20", "1", "z", "2"),
        ("u", "a", "20", "2", "y", "4"),
        ("u", "a", "20", "2", "x", ""),
        ("", "a", "20", "1", "w", "9"),
        ("u", "a", "30", "3", "", ""),
        ("u", "a", "soon", "9", "never", "100"),
        ("u", "b", "soon", "1", "q", "1"),
        ("", "c", "5", "1", "w", "3"),
    ]
    names = ["user", "item", "time", "order", "brand", "price"]
    data = Dataset(
        dataset([{"id": ""}], {"id": TEXT}, []).spec,
        [Table("log", "csv", dict.fromkeys(names, TEXT),
               [dict(zip(names, row, strict=True)) for row in log])],
    )  # fmt: skip
    price = {"kind": "numeric", "column": "price", "boundaries": [1.0, 2.0, 3.0, 4.0, 5.0]}
    data.spec["items"] = {
        "source": "interactions",
        "key": "item",
        "features": [
            {"name": "brand", "kind": "categorical", "column": "brand"},
            {"name": "mean", "aggregate": "mean"} | price,
            {"name": "median", "aggregate": "median"} | price,
            {"name": "latest"} | price,
        ],
    }
    data.spec["interactions"]["order"] = "order"
    found = built(data, tmp_path)
    assert [row["item_id"] for row in found.items] == ["a", "c"]  # b has no readable time
    assert found.vocabularies["brand"] == [[(2, "w", 1), (3, "x", 1)]]
    assert tokens(found, "brand") == {"a": 3, "c": 2}  # latest time 20, largest order 2, smallest
    assert tokens(found, "mean") == {"a": 2 + 4, "c": 2 + 3}  # (1 + 2 + 4 + 9) / 4 = 4.0
    assert tokens(found, "median") == {"a": 2 + 3, "c": 2 + 3}  # (2 + 4) / 2 = 3.0
    assert tokens(found, "latest") == {"a": 2 + 4, "c": 2 + 3}
    assert found.counts["items"] == {
        "read": 2,
        "kept": 2,
        "rejected": 0,
        "repeated": 0,
        "erased": 0,
        "filtered": 0,
        "retired": 0,
    }


# --- interactions ----------------------------------------------------------------------------

THREE = [{"id": k} for k in ("a", "b", "c")]
IDS = {"id": TEXT}


def test_dropped_rows_missing_keys_and_repeated_events(tmp_path: Path) -> None:
    log = [
        ("u", "a", 0, "view", "e1"),
        ("u", "b", 1, "view", " e1 "),  # a later row of the event
        ("u", "a", 2, "view", None),
        ("u", "a", 3, "view", "nan"),  # another event without an id
        ("v", "a", 4, "view", "e1"),  # the event of another user
        ("-1.0", "a", 5, "view", "e2"),
        (None, None, None, None, None),
        ("u", None, None, "search", "e3"),  # no item, but the behaviour decides first
        ("u", "nan", 6, "view", "e4"),
        ("u", "x", 7, "view", "e1"),  # an unknown item is no event
    ]
    own = {"missing_user": "drop", "unlisted_behaviours": "drop", "event_id": "event"}
    own |= {"missing_values": [-1, "nan"]}
    own |= {"behaviour": {"column": "what", "values": ["view"]}}
    for limit, fits in ((0.13, False), (0.15, True)):  # 1 reject, 7 rows that are not filtered
        data = dataset(
            THREE,
            IDS,
            [],
            log,
            log_columns=["what", "event"],
            interactions=own,
            limits={"max_reject_ratio": {"default": 0, "missing_key": limit}},
        )
        if not fits:
            with pytest.raises(HeterrecError, match=r"limits\.max_reject_ratio\.missing_key"):
                build_dataset(data, tmp_path / "refused")
            continue
        found = built(data, tmp_path / "built")
        assert rows(found, "latest") == {"u": ([0, 2, 3], []), "v": ([4], [])}
        assert found.counts["interactions"] == {
            "read": 10,
            "kept": 4,
            "unknown_item": 1,
            "duplicate": 1,
            "short_user": 0,
            "rejected": 1,
            "erased": 0,
            "filtered": 3,
        }


def test_ties_of_time(tmp_path: Path) -> None:
    """By `order`, missing last; then by hash: b 6.86e18, c 1.63e19, a 1.68e19 for (u1, 1000, .)."""
    log = [("u1", "a", 1), ("u1", "b", 1), ("u1", "c", 1)]
    found = built(dataset(THREE, IDS, [], log), tmp_path / "hash")
    [[row]] = found.sequences["latest"]
    assert row["item_index"] == [3, 4, 2]

    ordered = [("u1", "a", 1, ""), ("u1", "b", 1, "10"), ("u1", "c", 1, "9")]
    data = dataset(THREE, IDS, [], ordered, log_columns=["order"], log_format="csv")
    data.spec["interactions"]["order"] = "order"
    found = built(data, tmp_path / "order")
    [[row]] = found.sequences["latest"]
    assert row["item_index"] == [4, 3, 2]


def test_duplicates(tmp_path: Path) -> None:
    """Equal rows but for `order` are duplicates under `exact`; runs besides under `consecutive`."""
    log = [("u", "a", 1, "2"), ("u", "b", 1, "1"), ("u", "a", 1, "0"), ("u", "a", 2, ""),
           ("u", "a", 3, ""), ("u", "b", 4, "")]  # fmt: skip
    expected = {
        "none": ([2, 3, 2, 2, 2, 3], 0),
        "exact": ([2, 3, 2, 2, 3], 1),  # a of order 0, b of order 1; a of order 2 is gone
        "consecutive": ([2, 3, 2, 3], 2),
    }
    for how, (items, duplicates) in expected.items():
        data = dataset(THREE, IDS, [], log, log_columns=["order"], log_format="csv")
        data.spec["interactions"]["order"] = "order"
        data.spec["sequences"]["deduplicate"] = how
        found = built(data, tmp_path / how)
        [[row]] = found.sequences["latest"]
        assert row["item_index"] == items, how
        assert found.counts["interactions"]["duplicate"] == duplicates


def test_leave_one_out_and_windows(tmp_path: Path) -> None:
    """Seven: train 5, windows 34 and 12, a rest of 1 left out. Two: train only. One: latest."""
    log = [("seven", "a", t) for t in range(7)]
    log += [("two", "a", 0), ("two", "b", 1), ("one", "a", 0)]
    found = built(
        dataset(THREE, IDS, [], log, sequences={"max_length": 2, "train_windows": "all"}), tmp_path
    )
    train = [
        (r["user_id"], r["window"], [t // 1000 for t in r["timestamp_ms"]])
        for r in found.sequences["train"][0]
    ]
    assert sorted(train) == [("seven", 0, [3, 4]), ("seven", 1, [1, 2]), ("two", 0, [0, 1])]
    assert rows(found, "validation") == {"seven": ([3, 4], [5])}
    assert rows(found, "test") == {"seven": ([4, 5], [6])}
    assert rows(found, "latest") == {"seven": ([5, 6], []), "two": ([0, 1], []), "one": ([0], [])}
    assert found.item_counts == [(2, 6), (3, 1)]  # before truncation: 5 + 1 of a, 1 of b


def temporal(targets: str, log: list[tuple[Any, ...]], **at: Any) -> Dataset:
    split = {"method": "temporal", "targets": targets} | at
    data = dataset(THREE, IDS, [], log, split=split)
    data.spec["items"]["catalogue_vocabulary"] = {"oov_buckets": 1}
    data.spec["interactions"] |= {
        "unknown_items": "oov",
        "timestamp": {"column": "time", "unit": "day"},
    }
    return data


@pytest.mark.parametrize(
    ("targets", "validation", "test"),
    [
        ("all", ([0, 1, 2], [5]), ([0, 1, 2, 4, 5, 6], [7, 8])),
        ("next", ([0, 1, 2], [5]), ([0, 1, 2, 4, 5, 6], [7])),
        ("last", ([0, 1, 2, 4], [5]), ([0, 1, 2, 4, 5, 6, 7], [8])),
    ],
)
def test_temporal_targets(targets: str, validation: Any, test: Any, tmp_path: Path) -> None:
    """Days 0-2 train, 4-6 validation, 7-8 test; days 4 and 6 have an item outside the catalogue."""
    log = [("u", "?" if t in (4, 6) else "a", t) for t in (0, 1, 2, 4, 5, 6, 7, 8)]
    cuts = {"validation_at": "1970-01-04T00:00:00Z", "test_at": "1970-01-08"}
    found = built(temporal(targets, log, **cuts), tmp_path)
    days = {
        split: [
            ([t // 86_400_000 for t in r["timestamp_ms"]],
             [t // 86_400_000 for t in r["target_timestamp_ms"]])
            for r in found.sequences[split][0]
        ]
        for split in ("validation", "test")
    }  # fmt: skip
    assert days == {"validation": [validation], "test": [test]}
    assert found.cuts == {"validation_at_ms": 3 * 86_400_000, "test_at_ms": 7 * 86_400_000}


def test_a_fraction_cuts_at_midnight_after_enough_days(tmp_path: Path) -> None:
    """Days 0 0 0 5 9: three fifths lie before day 1, four before day 6, all before day 10."""
    log = [("u", i, 0) for i in "abc"] + [("u", "a", 5), ("u", "b", 9)]
    found = built(temporal("all", log, validation_at=0.6, test_at=0.61), tmp_path / "1")
    assert [c // 86_400_000 for c in found.cuts.values()] == [1, 6]
    found = built(temporal("all", log, validation_at=0.8, test_at=1.0), tmp_path / "2")
    assert [c // 86_400_000 for c in found.cuts.values()] == [6, 10]


def test_times_are_exact_and_floored(tmp_path: Path) -> None:
    times = ["0.0019", "7258118399.9999", "7258118400", "-0.001", " 1e3 ", "1.5.5", ""]
    data = dataset(
        THREE, IDS, [], [(f"u{k}", "a", t) for k, t in enumerate(times)], log_format="csv",
        log_types={"time": TEXT},
    )  # fmt: skip
    found = built(data, tmp_path)
    got = {r["user_id"]: r["timestamp_ms"] for r in found.sequences["latest"][0]}
    assert got == {"u0": [1], "u1": [7258118399999], "u4": [1_000_000]}
    assert {(r, v) for (_, _, r, v) in found.rejects} == {
        ("time_out_of_range", "7258118400"),
        ("time_out_of_range", "-0.001"),
        ("time_unreadable", "1.5.5"),
        ("time_unreadable", None),
    }


def test_the_first_reason_of_a_row_counts(tmp_path: Path) -> None:
    log = [
        (None, None, "x", "x", "x"),
        ("u", None, "x", "x", "x"),
        ("u", "?", "x", "x", "x"),
        ("u", "?", "0", "x", "x"),
        ("u", "?", "0", "1", "x"),
        ("u", "?", "0", "1", "buy"),
        ("u", "a", "0", "1", "buy"),
    ]
    data = dataset(THREE, IDS, [], log, log_columns=["order", "what"], log_format="csv",
                   log_types={"time": TEXT})  # fmt: skip
    data.spec["interactions"] |= {
        "order": "order",
        "behaviour": {"column": "what", "values": ["buy"]},
        "unknown_items": "reject",
    }
    found = built(data, tmp_path)
    assert found.rejects == {
        ("interactions", "user", "missing_key", None): 1,
        ("interactions", "item", "missing_key", None): 1,
        ("interactions", "time", "time_unreadable", "x"): 1,
        ("interactions", "order", "order_unreadable", "x"): 1,
        ("interactions", "what", "unknown_behaviour", "x"): 1,
        ("interactions", "item", "unknown_item", "?"): 1,
    }
    assert found.counts["interactions"] | {"kept": 1, "rejected": 6} == found.counts["interactions"]


def test_a_feature_of_users_and_the_flattened_layout(tmp_path: Path) -> None:
    data = dataset(
        [{"id": "a", "c": "x"}, {"id": "b", "c": None}],
        {"id": TEXT, "c": TEXT},
        [{"name": "c", "kind": "categorical", "column": "c"}],
        [("7", "a", 0), ("7", "?", 1), ("7", "b", 2), ("8", "a", 0)],
        output={"layout": "flattened"},
    )
    data.spec["items"]["catalogue_vocabulary"] = {"oov_buckets": 1}
    data.spec["interactions"]["unknown_items"] = "oov"
    data.spec["users"] = {
        "source": {"path": "users-*"},
        "key": "id",
        "features": [{"name": "age", "kind": "categorical", "column": "age"}],
    }
    people = [{"id": 7, "age": 30}, {"id": 9, "age": 40}]
    data.tables.append(Table("users", "jsonl", {"id": WHOLE, "age": WHOLE}, people))
    found = built(data, tmp_path)
    got = {r["user_id"]: r for r in found.sequences["latest"][0]}
    assert got["7"]["item_index"] == [3, 2, 4]
    assert got["7"]["item_c"] == [2, 1, 1]
    assert (got["7"]["user_age"], got["8"]["user_age"]) == (2, 1)
    assert found.vocabularies["user_age"] == [[(2, 30, 1), (3, 40, 1)]]


# --- mixed types in JSON lines, whatever the split into files --------------------------------


@pytest.mark.parametrize("files", [1, 4])
def test_json_types_do_not_depend_on_the_files(files: int, tmp_path: Path) -> None:
    """Whole floats and integers beyond 2**53 together are still whole numbers."""
    values = [2**53 + 1, 1.0, 2, None, 2.0]
    found = built(
        dataset(
            [{"id": k, "n": n} for k, n in enumerate(values)],
            {"id": WHOLE, "n": pa.null()},
            [{"name": "n", "kind": "categorical", "column": "n"}],
            format="jsonl",
        ),
        tmp_path,
        files=files,
        shuffle_seed=0,
    )
    assert found.vocabularies["n"] == [[(2, 2, 2), (3, 1, 1), (4, 2**53 + 1, 1)]]


@pytest.mark.parametrize("files", [1, 12])
def test_json_cells_that_are_no_vectors(files: int, tmp_path: Path) -> None:
    """Rejected, even if a file has nothing else."""
    cells = [[0.0, 1.0], "0.5", 3, "[1.0, 0]"]
    found = built(
        dataset(
            [{"id": k, "v": v} for k, v in enumerate(cells)],
            {"id": WHOLE, "v": pa.null()},
            [
                {"name": "v", "kind": "embedding", "column": "v", "dim": 2, "groups": 1}
                | {"quantiles": 2}
            ],
            format="jsonl",
        ),
        tmp_path,
        files=files,
        shuffle_seed=0,
    )
    assert list(tokens(found, "v").values()) == [[2 + 2], [1], [1], [2 + 1]]
    assert {(r, n) for (_, _, r, _), n in found.rejects.items()} == {("wrong_type", 2)}


# --- what is refused -------------------------------------------------------------------------

COLOUR = {"name": "c", "kind": "categorical", "column": "c"}
REFUSED: dict[str, Any] = {
    "no items": dataset([{"id": None, "c": "x"}], {"id": TEXT, "c": TEXT}, [COLOUR]),
    "an empty column": dataset([{"id": "a", "c": " "}], {"id": TEXT, "c": TEXT}, [COLOUR]),
    "fractions as keys": dataset([{"id": 1.5, "c": "x"}], {"id": REAL, "c": TEXT}, [COLOUR]),
    "an absent column": dataset([{"id": "a"}], {"id": TEXT}, [COLOUR]),
    "lists as categories": dataset(
        [{"id": "a", "c": ["x"]}], {"id": TEXT, "c": pa.list_(TEXT)}, [COLOUR]
    ),
    "too many rejects": dataset(
        THREE, IDS, [], [("u", "a", 0), ("u", None, 0)], limits={"max_reject_ratio": 0.49}
    ),
    "numbers all missing": dataset(
        [{"id": "a", "n": None}],
        {"id": TEXT, "n": REAL},
        [{"name": "n", "kind": "numeric", "column": "n", "boundaries": [1.0]}],
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(HeterrecError) as caught:
        build_dataset(REFUSED[name], tmp_path)
    assert caught.value.exit_code == 2
    assert not (tmp_path / "output" / "latest.json").exists()
    assert not list(tmp_path.glob("output/generations/*/manifest.json"))


def test_rejects_at_the_limit_are_let_through(tmp_path: Path) -> None:
    data = dataset(
        THREE, IDS, [], [("u", "a", 0), ("u", None, 0)], limits={"max_reject_ratio": 0.5}
    )
    assert built(data, tmp_path).counts["interactions"]["rejected"] == 1


def test_a_second_build_stands_beside_the_first(tmp_path: Path) -> None:
    data = dataset(THREE, IDS, [])
    write_input(tmp_path / "input", data)
    first, second = (
        build_folder(data.spec_text, tmp_path / "input", tmp_path / "output") for _ in range(2)
    )
    assert first.path != second.path
    assert first.manifest.content_sha256 == second.manifest.content_sha256
    latest = json.loads((tmp_path / "output" / "latest.json").read_text(encoding="utf-8"))
    assert latest == {"generation": Path(second.path).name}
