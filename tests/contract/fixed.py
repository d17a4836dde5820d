"""Fixed data sets that use most of the contract at once."""

import random
from typing import Any

import pyarrow as pa
from strategies import Dataset, Malformed, Table

VECTOR = pa.list_(pa.float32())


def catalogue() -> Dataset:
    """Items with two joined tables, users, every feature kind, duplicates, ties, rejects."""
    rng = random.Random(1)
    names = [f"item {k}" for k in range(150)] + ["caf\u00e9", "cafe\u0301", " item 3 "]
    items: list[Any] = [
        {
            "id": name,
            "brand": rng.choice(["Acme", "acme ", "Zeta", "Unknown", "\u00d6l", "O\u0308l", None]),
            "price": rng.choice(["1.5", "2", " 3e1", "free", "", f"{rng.gauss(20, 9):.2f}"]),
            "paths": rng.choice([None, [], [["a", "b", "c"], ["a", None, "d"]], [["e"], ["a"]]]),
        }
        for name in names
    ]
    items += [dict(rng.choice(items)) for _ in range(10)]
    items += [dict(rng.choice(items), brand="Other") for _ in range(10)]
    items += [Malformed("no json"), Malformed("[1]")]
    vectors = [
        {
            "key": name,
            "vector": rng.choice([None, [1.0], *[[rng.gauss(0, 1) for _ in range(6)]] * 6]),
        }
        for name in names
        if rng.random() < 0.8
    ]
    stock = [{"key": k, "stock": rng.randint(0, 5)} for k in names if rng.random() < 0.9]
    users = [
        {"user": k, "age": rng.choice([None, 20, 30]), "tags": rng.choice(["x|y", "y", ""])}
        for k in range(50)
    ]
    log: list[Any] = [
        {
            "user": rng.choice([*range(60), None]),
            "item": rng.choice([*names, "item 999", "item 998", ""]),
            "time": rng.choice(["soon", *[f"2024-01-{rng.randint(1, 20):02d}"] * 50]),
            "what": rng.choice(["view", "cart ", *["buy"] * 13, "sell"]),
            "order": rng.choice([None, 1, 2, 3]),
        }
        for _ in range(2500)
    ]
    log += [dict(rng.choice(log)) for _ in range(200)]
    log += [Malformed("1,2"), Malformed("1,2,3,4,5,6")]
    text, whole = pa.string(), pa.int64()
    nested = pa.list_(pa.list_(text))
    tables = [
        Table("items", "jsonl", {"id": text, "brand": text, "price": text, "paths": nested}, items),
        Table("vectors", "parquet", {"key": text, "vector": VECTOR}, vectors),
        Table("stock", "csv", {"key": text, "stock": whole}, stock, packed=True),
        Table("users", "parquet", {"user": whole, "age": pa.float64(), "tags": text}, users),
        Table(
            "log",
            "csv",
            {"user": whole, "item": text, "time": text, "what": text, "order": whole},
            log,
            packed=True,
        ),
    ]
    return Dataset(_catalogue_spec(), tables)


PQ = {"quantizer": "pq", "groups": 3, "codes": 5}
TURNED = {"pca": 4, "rotate": True}
RQ = {"quantizer": "rq", "levels": 2, "codes": 4}


def _catalogue_spec() -> dict[str, Any]:
    brand = {"name": "brand", "kind": "categorical", "column": "brand", "min_count": 20}
    paths = {"name": "paths", "kind": "categorical", "column": "paths", "multivalued": True}
    vector = {"name": "vector", "kind": "embedding", "column": "vector"}
    price = {"name": "price", "kind": "numeric", "column": "price", "bins": 8}
    return {
        "version": 1,
        "name": "catalogue",
        "items": {
            "source": {"path": "items-*"},
            "key": "id",
            "joins": [
                {"source": {"path": "vectors-*"}, "key": "key"},
                {"source": {"path": "stock-*"}, "key": "key"},
            ],
            "features": [
                brand | {"missing_values": ["Unknown"], "oov_buckets": 4, "shards": 2},
                vector | {"dim": 6, "groups": 2, "quantiles": 3, "fit_sample": 40},
                vector | {"name": "parts", "dim": 6, "fit_sample": 40, **PQ},
                vector | {"name": "rests", "dim": 6, **RQ},
                vector
                | {"name": "turned", "dim": 6, "reduce": TURNED, "groups": 2, "quantiles": 3},
                price | {"fit_sample": 50},
                paths | {"nested": "prefixes", "max_values": 4},
                {"name": "stock", "kind": "numeric", "column": "stock", "boundaries": [1, 3]},
            ],
            "catalogue_vocabulary": {"oov_buckets": 3, "shards": 4},
        },
        "interactions": {
            "source": {"path": "log-*"},
            "user": "user",
            "item": "item",
            "timestamp": {"column": "time", "unit": "iso"},
            "behaviour": {"column": "what", "values": ["view", "cart", "buy"]},
            "order": "order",
            "unknown_items": "oov",
        },
        "users": {
            "source": {"path": "users-*"},
            "key": "user",
            "features": [
                {"name": "age", "kind": "categorical", "column": "age"},
                {"name": "tags", "kind": "categorical", "column": "tags", "multivalued": True}
                | {"separator": "|"},
            ],
        },
        "sequences": {"max_length": 9, "min_length": 2, "train_windows": "all"},
        "split": {"method": "temporal", "validation_at": 0.6, "test_at": 0.8, "targets": "all"},
        "output": {"item_shards": 3, "sequence_shards": 4, "layout": "flattened"},
        "limits": {"max_reject_ratio": 1.0},
    }


def denormalised() -> Dataset:
    """Items out of a log in JSON lines, with ties of time that `order` breaks."""
    rng = random.Random(2)
    log: list[Any] = [
        {
            "user": f"u{rng.randint(0, 40)}",
            "item": rng.choice([1, 2, 3, *range(10, 90), None]),
            "time": rng.choice(["later", *[1_700_000_000 + rng.randint(0, 300)] * 9]),
            "order": rng.choice([None, rng.randint(0, 9)]),
            "brand": rng.choice(["a", "b", None, " c"]),
            "price": rng.choice([None, rng.randint(1, 9), round(rng.random(), 3)]),
            "cost": rng.choice([None, round(rng.random() * 1e6, 3), 1e-9]),
        }
        for _ in range(1500)
    ]
    types = dict.fromkeys(["user", "item", "time", "order", "brand", "price", "cost"], pa.null())
    spec = {
        "version": 1,
        "name": "denormalised",
        "items": {
            "source": "interactions",
            "key": "item",
            "features": [
                {"name": "brand", "kind": "categorical", "column": "brand"},
                {"name": "price", "kind": "numeric", "column": "price", "bins": 4}
                | {"aggregate": "median"},
                {"name": "cost", "kind": "numeric", "column": "cost", "bins": 4}
                | {"aggregate": "mean"},
            ],
        },
        "interactions": {
            "source": {"path": "log-*"},
            "user": "user",
            "item": "item",
            "timestamp": {"column": "time", "unit": "s"},
            "order": "order",
        },
        "sequences": {"max_length": 20, "deduplicate": "consecutive"},
        "split": {"method": "leave_one_out"},
        "output": {"item_shards": 2, "sequence_shards": 3},
        "limits": {"max_reject_ratio": 1.0},
    }
    return Dataset(spec, [Table("log", "jsonl", types, log, sparse=True)])


def erased() -> Dataset:
    """`catalogue` with lists of everything that can be erased, in every format, missing keys and dropped rows."""
    text = pa.string()
    lists: dict[str, tuple[str, pa.DataType, list[Any]]] = {
        "users": ("parquet", pa.float64(), [3.0, 7.0, None, 7.0, 999.0]),
        "items": ("jsonl", text, ["item 3", "cafe\u0301 ", None, "item 999", "never listed"]),
        "brand": ("csv", text, ["O\u0308l", "Acme ", ""]),
        "paths": ("csv", text, ["d", "a > b"]),
        "user_tags": ("jsonl", text, ["x"]),
    }
    found = catalogue()
    spec = found.spec | {"erase": {"values": {}}}
    tables = list(found.tables)
    for name, (format, kind, gone) in lists.items():
        rows = [{"gone": value, "since": "2024"} for value in gone]
        tables.append(Table(f"gone-{name}", format, {"gone": kind, "since": text}, rows))
        place = spec["erase"] if name in ("users", "items") else spec["erase"]["values"]
        place[name] = {"source": {"path": f"gone-{name}-*"}, "key": "gone"}
    for table, owner in ((tables[0], spec["items"]), (tables[4], spec["interactions"])):
        table.empty = True
        owner["source"]["empty_files"] = "skip"
    spec["interactions"] |= {"missing_user": "drop", "unlisted_behaviours": "drop"}
    spec["interactions"]["missing_values"] = ["item 998", "item 6", 5, "7.0"]
    spec["items"]["missing_values"] = ["item 4"]
    for join in spec["items"]["joins"]:
        join["missing_values"] = ["item 8", "item 9"]
    spec["users"]["missing_values"] = [8]
    spec["limits"] = {"max_reject_ratio": {"default": 1.0, "missing_key": 1.0}}
    return Dataset(spec, tables)


def imported() -> Dataset:
    """`erased` with the vocabularies of other systems, of which some values are erased, absent, or new to them."""
    found, text = erased(), pa.string()
    files: dict[str, tuple[str, list[Any]]] = {
        "brand": ("txt", ["never sold", "Zeta ", "\u00d6l", "acme", "Never"]),
        "paths": ("txt", ["e", "a > b", "z", "a > b > c"]),
        "age": ("parquet", [30, 99, 20]),
        "tags": ("parquet", [None, "z", "x", "y"]),
    }
    sides = [found.spec["items"]["features"], found.spec["users"]["features"]]
    features = {f["name"]: f for side in sides for f in side}
    for name, (format, values) in files.items():
        kind = pa.int64() if name == "age" else text
        rows = [{"value": value} for value in values]
        table = Table(f"known-{name}", format, {"value": kind}, rows, ordered=True)
        found.tables.append(table)
        how = "tensorflow_transform" if format == "txt" else "nvtabular"
        features[name]["vocabulary"] = {"path": f"{table.name}.{format}", "format": how}
    features["paths"]["max_size"] = 6
    return Dataset(found.spec, found.tables)


def erased_from_the_log() -> Dataset:
    """`denormalised` with erased users, items and values, missing keys, dropped rows and ids of events."""
    found, text, rng = denormalised(), pa.string(), random.Random(3)
    log = found.tables[0]
    log.columns["event"] = pa.null()
    for row in log.rows:
        row["event"] = rng.choice([None, rng.randint(0, 100), f" {rng.randint(0, 100)}"])
    tables, spec = list(found.tables), found.spec | {"erase": {"values": {}}}
    spec["interactions"] |= {"event_id": "event", "missing_values": ["u4", "u5", "10.0", "99"]}
    spec["interactions"]["missing_user"] = "drop"
    for name, gone in (("users", ["u3", "u20"]), ("items", ["2", "55"]), ("brand", ["c"])):
        rows = [{"gone": value} for value in gone]
        tables.append(Table(f"gone-{name}", "csv", {"gone": text}, rows, packed=True))
        place = spec["erase"]["values"] if name == "brand" else spec["erase"]
        place[name] = {"source": {"path": f"gone-{name}-*"}, "key": "gone"}
    return Dataset(spec, tables)


def empty_splits() -> Dataset:
    """Three items and two users, so that most shards are empty."""
    items = [{"id": k, "colour": "red"} for k in (7, 8, 9)]
    log = [{"user": u, "item": 7, "time": t} for u in ("ann", "bob") for t in (0, 1)]
    whole, text = pa.int64(), pa.string()
    spec = {
        "version": 1,
        "name": "empty-splits",
        "items": {
            "source": {"path": "items-*"},
            "key": "id",
            "features": [{"name": "colour", "kind": "categorical", "column": "colour"}],
        },
        "interactions": {
            "source": {"path": "log-*"},
            "user": "user",
            "item": "item",
            "timestamp": {"column": "time", "unit": "day"},
        },
        "sequences": {"max_length": 5},
        "split": {"method": "leave_one_out"},
        "output": {"item_shards": 5, "sequence_shards": 6},
    }
    tables = [
        Table("items", "csv", {"id": whole, "colour": text}, items),
        Table("log", "parquet", {"user": text, "item": whole, "time": whole}, log),
    ]
    return Dataset(spec, tables)
