"""Kinds of Parquet files."""

import pyarrow as pa
import pytest
from case_shop import BRANDS, EVENTS, ITEMS, START, Case, csv, history, parquet, tokens, values

from heterrec_schemas import Generation

ALL = range(6)


def test_integers_in_a_dictionary(parquet_shop: Generation) -> None:
    """Beside an empty part without types, markers and checksums."""
    assert parquet_shop.vocabulary("item")["value"].type == pa.int64()
    assert list(values(parquet_shop, "brand").items()) == [(k, "x" if k < 3 else None) for k in ALL]
    assert parquet_shop.vocabulary("brand")["value"].to_pylist() == ["x"]


@pytest.mark.parametrize("user", range(4))
def test_each_user_has_every_row(parquet_shop: Generation, user: int) -> None:
    """Timestamps in us, ns, INT96 and a zone; users, items, orders and behaviours in DECIMAL(38, 0)."""
    assert history(parquet_shop, user) == [(k, START * 1000) for k in reversed(ALL)]


def test_behaviours_in_decimals(parquet_shop: Generation) -> None:
    assert parquet_shop.sequences("latest")["behaviour"].to_pylist() == [[3, 2] * 3] * 4


@pytest.mark.parametrize(
    ("feature", "found"),
    [
        ("whole", ["1", "2", None, "1", "2", "1"]),
        ("dotted", ["dot"] * 6),
        ("genres", [["a"], ["b", "a"], [None], [None], ["c"], ["a"]]),
        ("tags", [["a"], ["b", "a"], [None], [None], ["c"], ["a"]]),
        ("kind", list("aabbcc")),
        ("colour", ["red", None] * 3),
        ("when", ["2020-01-01T00:00:00Z"] * 6),
        ("on_sale", ["true", "false", None] * 2),
    ],
)
def test_texts(parquet_shop: Generation, feature: str, found: list[object]) -> None:
    """Decimals, names with dots, lists of large strings and of Enum, Categorical, dictionaries, zones, booleans."""
    assert [
        str(v) if isinstance(v, int) else v for v in values(parquet_shop, feature).values()
    ] == found


def test_numbers(parquet_shop: Generation) -> None:
    for feature in ("half", "width", "cost"):
        assert tokens(parquet_shop, feature) == [2, 2, 3, 3, 4, 4], feature
    one, _, zero, _, missing, _ = flags = tokens(parquet_shop, "flag")
    assert flags == [one, one, zero, zero, missing, zero]
    assert missing == 1


def test_vectors(parquet_shop: Generation) -> None:
    """Lists and fixed-size lists of half floats, by Arrow and by Polars, and of bytes, as float32."""
    for feature in ("halves", "fixed", "by_polars", "small"):
        assert tokens(parquet_shop, feature) == tokens(parquet_shop, "single"), feature


def test_missing_vectors(parquet_shop: Generation) -> None:
    for feature in ("sparse", "sparse_halves"):
        missing = [t == [1, 1] for t in tokens(parquet_shop, feature)]
        assert missing == [True, False, False] * 2, feature


def _with_items(case: Case, **columns: pa.Array) -> None:
    table = {"item_id": ITEMS, "brand": BRANDS} | columns
    case.items("items.parquet", parquet(table))


def test_floats_beyond_exact_integers_as_keys(case: Case) -> None:
    keys = pa.array([float(2**60 + 1000 * k) for k in ALL])
    _with_items(case, item_id=keys)
    case.refused("items.parquet", "'item_id'", "too large to be exact")


def test_text_in_latin1(case: Case) -> None:
    _with_items(case, brand=pa.array([b"caf\xe9"] * 3 + [b"ok"] * 3).view(pa.string()))
    case.refused("not_utf8", "items.parquet", "'brand'", "caf\\\\xe9")


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        ([[[1.0, 2.0, 3.0, 4.0]]] * 6, ["list<", "lists of 4 numbers"]),
        ([b"\0" * 16] * 6, ["binary", "lists of 4 numbers"]),
    ],
)
def test_vectors_in_other_forms(case: Case, cells: list[object], words: list[str]) -> None:
    _with_items(case, vec=pa.array(cells))
    look = {"name": "vec", "kind": "embedding", "column": "vec"}
    case.spec["items"]["features"] = [look | {"dim": 4, "groups": 2, "quantiles": 2}]
    case.refused("'vec'", *words)


def test_pandas_suffix_is_answered_by_the_format(case: Case) -> None:
    case.items("items.parquet.gzip", parquet({"item_id": ITEMS, "brand": BRANDS}))
    found = case.validate()
    if found.problems:
        case.refused("items.parquet.gzip", "format: parquet")
        case.spec["items"]["source"]["format"] = "parquet"
    case.fits()


def test_durations_as_times(case: Case) -> None:
    users, items, times = zip(*EVENTS, strict=True)
    log = {"user_id": users, "item_id": items, "ts": pa.array(times, pa.duration("s"))}
    case.events("log.parquet", parquet(log))
    case.refused("'ts'", "duration[s]")


def test_integers_and_texts_in_parts(case: Case) -> None:
    for k, kind in enumerate((pa.int64(), pa.string())):
        users = pa.array(range(20)).cast(kind)
        _, items, times = zip(*EVENTS, strict=True)
        log = {"user_id": users, "item_id": items, "ts": times}
        case.put(f"log/{k}.parquet", parquet(log))
    case.log["source"]["path"] = "log/*.parquet"
    case.refused("'user_id'", "log/0.parquet", "log/1.parquet", "int64", "string")


def test_leading_zeros_lost(case: Case) -> None:
    case.items("items.parquet", parquet({"item_id": [108775015 + k for k in ALL], "brand": BRANDS}))
    rows = [(u, f"0{108775015 + ITEMS.index(i)}", t) for u, i, t in EVENTS]
    case.events("log.csv", csv(rows))
    (warning,) = case.fits()
    assert "'0108775015'" in warning
    assert "'108775015'" in warning
