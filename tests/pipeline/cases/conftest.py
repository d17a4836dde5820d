"""Two shops of many kinds of files, each built once: one of text files, one of Parquet files."""

import gzip
import sys
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
import zstandard

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from case_shop import IDS, START, Case, csv, jsonl, parquet  # noqa: E402

from heterrec_schemas import Generation  # noqa: E402

LOG_HEADER = ("user_id", "item_id", "ts", "pos")


def log_csv(user: str, *, pos: str = "{}", end: str = "\n") -> str:
    """Six interactions of a user, at one time, in descending order of the items."""
    rows = [(user, item, START, pos.format(5 - k)) for k, item in enumerate(IDS)]
    return csv(rows, LOG_HEADER, end=end)


@pytest.fixture
def case(tmp_path: Path) -> Case:
    """A plain shop, to replace files and lines of the spec."""
    return Case(tmp_path)


@pytest.fixture(scope="session")
def text_shop(tmp_path_factory: pytest.TempPathFactory) -> Generation:
    """A generation of CSV files and JSON lines, plain and packed, in folders with odd names."""
    case = Case(tmp_path_factory.mktemp("a b*c? [v1]"))
    case.log["source"]["path"] = "log/**"
    case.log["order"] = "pos"
    case.spec["limits"] = {"max_reject_ratio": 0.7}
    category = {"kind": "categorical"}
    number = {"kind": "numeric", "bins": 3}
    brands = ["[bold red]x[/]", "caf\u00e9 \U0001f600", *["plain"] * 4]
    rows = [{"item_id": i, "brand": b} for i, b in zip(IDS, brands, strict=True)]
    case.put("items.jsonl", jsonl(rows))

    filler = "".join(f"unsold{k},plain\r\n" for k in range(3000))
    breaks = "key,breaks\r\n" + filler + "".join(f'{i},"A\r\nB"\r\n' for i in IDS)
    case.join("breaks.csv.gz", gzip.compress(breaks.encode()), "key", breaks=category)
    prices = [-1, -1.0, "-1.00", 10, 20, 30]
    case.join(
        "prices.csv",
        csv(zip(IDS, prices, strict=True), ("key", "price")),
        "key",
        price=number | {"missing_values": [-1]},
    )
    titles = ['7" tablet', '"Weird Al" Yankovic', '"7"" tablet"', '"acme ""x"""', "acme", "acme"]
    case.join(
        "titles.csv", csv(zip(IDS, titles, strict=True), ("key", "title")), "key", title=category
    )
    odd = ["a\0b", "a\x1fb", "a\u2028b", "a\u200bb", "cafe\u0301", "\U0001f469\u200d\U0001f680"]
    flags = [True, True, False, False, None, 0]
    mixed = [12.99, "from 14.99", None, "None", "\u2014", 3]
    keys = [k if n % 2 else str(k) for n, k in enumerate(IDS)]
    columns = zip(keys, odd, flags, mixed, strict=True)
    lines = [{"key": k, "odd": o, "flag": f, "mixed": m} for k, o, f, m in columns]
    case.join(
        "odd.jsonl",
        '{"key": -2, "odd": "\\ud83d"}\n' + jsonl(lines),
        "key",
        odd=category,
        flag=number,
        mixed=number,
    )

    case.put("log/plain.csv", log_csv("plain"))
    case.put("log/floats.csv", log_csv("floats", pos="{}.0"))
    case.put("log/cr.csv", log_csv("cr", end="\r"))
    case.put("log/nul.csv", log_csv("n\0l"))
    case.put("log/odd_users.csv", log_csv("[/u1]") + log_csv("-3").partition("\n")[2])
    case.put("log/twice.csv", log_csv("first") + log_csv("second"))
    case.put("log/LOG.CSV.GZ", gzip.compress(log_csv("upper").encode()))
    for name, pack, pad in (
        ("gzip", gzip.compress, b""),
        ("zeros", gzip.compress, bytes(512)),
        ("frames", zstandard.compress, b""),
        ("skippable", zstandard.compress, b"\x50\x2a\x4d\x18\x04\0\0\0skip"),
    ):
        text = log_csv(name).encode()
        packed = pack(text[:50]) + (pad if name == "skippable" else b"") + pack(text[50:]) + pad
        case.put(f"log/{name}.csv.{'zst' if pack is zstandard.compress else 'gz'}", packed)
    case.put("log/._plain.csv", b"\0\5\x16\7")
    case.put("log/__MACOSX/._plain.csv", b"\0\5\x16\7")
    case.put("log/.ipynb_checkpoints/plain-checkpoint.csv", log_csv("checkpoint"))
    return case.build(case.folder / "out [x]*")


def _decimals(numbers: Any) -> pa.Array:
    return pa.array([None if n is None else Decimal(n) for n in numbers], pa.decimal128(38, 0))


HALVES = np.array([[k / 8, -k / 4, k % 5, 1] for k in range(6)], np.float16)
SPARSE = [list(map(float, v)) if k % 3 else None for k, v in enumerate(HALVES)]
"""Vectors, of which the first and the fourth are missing."""


@pytest.fixture(scope="session")
def parquet_shop(tmp_path_factory: pytest.TempPathFactory) -> Generation:
    """A generation of Parquet files with the types that databases, Spark, pandas and Polars write."""
    case = Case(tmp_path_factory.mktemp("parquet"))
    category, number = {"kind": "categorical"}, {"kind": "numeric", "bins": 3}
    vector = {"kind": "embedding", "dim": 4, "groups": 2, "quantiles": 2}
    keys = pa.array(range(6)).dictionary_encode()
    brand = pa.DictionaryArray.from_arrays([0, 0, 0, None, None, None], ["x", "unused"])
    case.items(
        "items/part-0.parquet",
        parquet({"item_id": keys, "brand": brand}),
        **category | {"name": "brand", "column": "brand"},
    )
    nothing = {"item_id": pa.nulls(0), "brand": pa.nulls(0)}
    case.put("items/part-1.parquet", parquet(nothing))  # Spark's and pandas' empty part
    for name in ("_SUCCESS", "_metadata", ".part-0.parquet.crc"):
        case.put(f"items/{name}", b"crc")
    case.spec["items"]["source"] = {"path": "items/*", "format": "parquet"}

    latin = pa.array([b"caf\xe9"] * 6).view(pa.string())
    decimals = {
        "id": _decimals(range(6)),
        "whole": _decimals([1, 2, None, 1, 2, 1]),
        "latin": latin,
    }
    case.join("decimals.parquet.gz", parquet(decimals, compression="gzip"), "id", whole=category)
    texts = pa.array(list("012345"))
    genres = [["a"], ["b", "a"], [], None, ["c"], ["a"]]
    views = {
        "id": texts.cast(pa.string_view()),
        "genres": pa.array(genres, pa.large_list(pa.large_string())),
        "width": pa.array(range(6), pa.uint32()),
        "meta.brand": pa.array(["dot"] * 6),
    }
    many = category | {"multivalued": True}
    case.join("views.parquet", parquet(views), "id", genres=many, width=number)
    dotted = category | {"name": "dotted", "column": "meta.brand"}
    case.spec["items"]["features"].append(dotted)
    frame = pl.DataFrame({"id": list("012345"), "kind": list("aabbcc"), "tags": genres})
    frame = frame.with_columns(
        pl.col("id").cast(pl.Categorical),
        pl.col("kind").cast(pl.Categorical),
        pl.col("tags").cast(pl.List(pl.Enum(["c", "b", "a"]))),
    )
    frame.write_parquet(case.input / "polars.parquet")
    polars = (case.input / "polars.parquet").read_bytes()
    case.join("polars.parquet", polars, "id", kind=category, tags=many)

    fixed = pa.FixedSizeListArray.from_arrays
    vectors = {
        "id": pa.array(range(6), pa.int8()),
        "single": pa.array(HALVES.astype(np.float32).tolist(), pa.list_(pa.float32())),
        "halves": pa.array([list(v) for v in HALVES], pa.list_(pa.float16())),
        "fixed": fixed(pa.array(HALVES.ravel()), 4),
        "small": pa.array((HALVES * 8).astype(np.int8).tolist(), pa.list_(pa.int8())),
        "half": pa.array(HALVES[:, 0]),
        "flag": pa.array([True, True, False, False, None, False]),
    }
    as_vectors = dict.fromkeys(("single", "halves", "fixed", "small"), vector)
    case.join("vectors.parquet", parquet(vectors), "id", **as_vectors, half=number, flag=number)
    mask = pa.array([v is None for v in SPARSE])
    sparse = {
        "id": pa.array(range(6), pa.uint64()),
        "sparse": pa.array(SPARSE, pa.list_(pa.float32(), 4)),
        "sparse_halves": fixed(pa.array(HALVES.ravel()), 4, mask=mask),
        "colour": pa.array(["red", None] * 3).dictionary_encode(),
        "cost": pa.array([Decimal(f"{k}.50") for k in range(6)], pa.decimal128(10, 2)),
        "when": pa.array([datetime(2020, 1, 1)] * 6, pa.timestamp("us", "+05:00")),
        "on_sale": pa.array([True, False, None] * 2),
    }
    case.join(
        "sparse.parquet.gzip",
        parquet(sparse),
        "id",
        sparse=vector,
        sparse_halves=vector,
        colour=category,
        cost=number,
        when=category,
        on_sale=category,
    )
    case.spec["items"]["joins"][-1]["source"]["format"] = "parquet"
    frame = pl.DataFrame({"id": range(6), "by_polars": HALVES.tolist()})
    frame = frame.with_columns(pl.col("by_polars").cast(pl.List(pl.Float16)))
    frame.write_parquet(case.input / "halves.parquet")
    polars = (case.input / "halves.parquet").read_bytes()
    case.join("halves.parquet", polars, "id", by_polars=vector)

    moment = datetime.fromtimestamp(START, UTC).replace(tzinfo=None)
    for user, (kind, how) in enumerate(
        [
            (pa.timestamp("us"), {}),
            (pa.timestamp("ns"), {}),
            (pa.timestamp("ns"), {"use_deprecated_int96_timestamps": True}),
            (pa.timestamp("ms", "Etc/GMT-5"), {}),
        ]
    ):
        log = {
            "user_id": _decimals([user] * 6),
            "item_id": _decimals(range(6)),
            "ts": pa.array([moment] * 6, pa.timestamp("s")).cast(kind),
            "pos": _decimals([5, 4, 3, 2, 1, 0]),
            "act": _decimals([1, 2] * 3),
        }
        case.put(f"log/part-{user}.parquet", parquet(log, **how))
    case.log["source"]["path"] = "log/*.parquet"
    case.log["timestamp"] = {"column": "ts"}
    case.log["order"] = "pos"
    case.log["behaviour"] = {"column": "act", "values": [1, 2]}
    return case.build(case.folder / "out")


@pytest.fixture(scope="session")
def mended_shop(tmp_path_factory: pytest.TempPathFactory) -> Generation:
    """A generation of files that no build reads as they are, with the lines of the spec that make them fit."""
    case = Case(tmp_path_factory.mktemp("mended"))
    category, number = {"kind": "categorical"}, {"kind": "numeric", "bins": 3}
    keys = [f"{k:04d}" for k in range(6)]

    def join(name: str, data: str | bytes, source: dict[str, Any], **features: Any) -> None:
        case.join(name, data, "id", **features)
        case.spec["items"]["joins"][-1]["source"] |= source

    rows = [(k, "caf\u00e9" if n < 3 else "bar", f"{n},5") for n, k in enumerate(keys)]
    text = csv(rows, ("item_id", "name", "price"), ";")
    case.items("items.csv", text.encode("cp1252"))
    case.spec["items"]["source"] |= {"delimiter": ";", "decimal": ",", "encoding": "cp1252"}
    case.spec["items"]["features"] = [
        category | {"name": "cafe", "column": "name"},
        number | {"name": "price", "column": "price"},
    ]
    text = csv([(k, f"{k} pcs") for k in keys], ("id", "unit"), "\t").encode("utf-16")
    join(
        "unicode.txt",
        text,
        {"format": "csv", "delimiter": "\\t", "encoding": "utf-16"},
        unit=category,
    )
    text = csv([(k, "x") for k in keys[1:]], (keys[0], "x"), "::")
    names = {"format": "csv", "delimiter": "::", "header": False, "names": ["id", "rated"]}
    join("ratings.dat", text, names, rated=category)
    said = ['"say \\"hi\\""', '"a \\"b\\", c"', *"cdef"]
    join(
        "spark.csv",
        csv(zip(keys, said, strict=True), ("id", "said")),
        {"escape": "\\"},
        said=category,
    )
    lists = [
        f'"{v}"' for v in (["Action", "Comedy"], ["Action"], ["Drama"], [], ["Comedy"], ["Action"])
    ]
    genres = "REPLACE(REPLACE(REPLACE(genres, '[', ''), ']', ''), '''', '')"
    many = category | {"multivalued": True, "separator": ","}
    text = csv(zip(keys, lists, strict=True), ("id", "genres"))
    join("lists.csv", text, {"columns": {"genres": genres}}, genres=many)
    cells = zip(
        [f"{k}.0" for k in range(6)],
        ["$1.50", '"$1,299.00"', "$3", "$4", "$5", "$6"],
        ["True", "False"] * 3,
        ["NULL", "\\N", "red", "red", "blue", "nan"],
        strict=True,
    )
    columns = {
        "id": "LPAD(CAST(CAST(id AS DOUBLE) AS BIGINT)::VARCHAR, 4, '0')",
        "cost": "CAST(REPLACE(REPLACE(cost, '$', ''), ',', '') AS DOUBLE)",
        "fresh": "CASE WHEN fresh = 'True' THEN 1 ELSE 0 END",
    }
    text = csv(cells, ("id", "cost", "fresh", "colour"))
    nulls = {"columns": columns, "null_values": ["NULL", "\\N", "nan"]}
    join("cells.csv", text, nulls, cost=number, fresh=number, colour=category)
    uuids = pa.array([k.to_bytes(16, "big") for k in range(6)], pa.uuid())
    meta = pa.array([{"brand": "a" if k < 3 else "b"} for k in range(6)])
    columns = {"id": "RIGHT(CAST(uid AS VARCHAR), 4)"}
    table = parquet({"uid": uuids, "meta": meta})
    join("uuids.parquet", table, {"columns": columns}, field=category | {"column": "meta.brand"})
    table = parquet({"id": pa.array([k.encode() for k in keys]), "kind": pa.array([b"x"] * 6)})
    columns = {"id": "CAST(id AS VARCHAR)", "kind": "CAST(kind AS VARCHAR)"}
    join("bytes.parquet", table, {"columns": columns}, kind=category)
    vectors = HALVES.astype(np.float32).tolist()
    table = {"id": keys, "single": vectors, "text": [str(v) for v in vectors]}
    table |= {f"e{k}": [v[k] for v in vectors] for k in range(4)}
    vector = {"kind": "embedding", "dim": 4, "groups": 2, "quantiles": 2}
    several = vector | {"column": "e{0..3}"}
    join("vectors.parquet", parquet(table), {}, single=vector, text=vector, several=several)

    for day, kind in ((1, pa.int64()), (2, pa.string()), (3, pa.int64())):
        log = {
            "user_id": pa.array(range(10, 16)).cast(kind),
            "item_id": keys,
            "ts": [START + day] * 6,
            "act": pa.array([1.0, 2.0] * 3).cast(pa.string()),
        }
        case.put(f"events/dt=2026-01-0{day}/p.parquet", parquet(log))
    case.put("events/_SUCCESS", "")
    case.log["source"] = {
        "path": "events",
        "format": "parquet",
        "where": "dt >= '{since}'",
        "columns": {"user_id": "CAST(user_id AS VARCHAR)", "act": "REPLACE(act, '.0', '')"},
    }
    case.spec["parameters"] = {"since": "2026-01-02"}
    case.log["behaviour"] = {"column": "act", "values": [1, 2]}
    return case.build(case.folder / "out")
