import json
import struct
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pieces import QUICK, categorical, cut, embedding, numeric, sorted_out, table_job, written_file

from heterrec_pipeline.keys.duplicates import canonical_text, row_hash
from heterrec_pipeline.keys.one_table import (
    LOSERS,
    REPEATED,
    KeyRules,
    choose_rows,
    losers_in,
    number_key_table,
    number_keys,
    read_repeated,
)
from heterrec_pipeline.keys.read import SEEN, key_text, read_key_splits
from heterrec_pipeline.reading.files import InputFile, Split
from heterrec_pipeline.wiring.reports import COUNTS, REJECTS
from heterrec_pipeline.wiring.step import EMPTY
from heterrec_schemas.errors import DataError, SchemaMismatchError
from heterrec_schemas.hashing import stable_hash
from heterrec_schemas.values import Seen

KEYS = pa.schema([("key", pa.string())])


def keys_of(keys: list[str]) -> pa.Table:
    return pa.table([pa.array(keys, pa.string())], schema=KEYS)


# --- numbering


@QUICK
@given(
    st.lists(st.sampled_from(["a", "é", "b", "10", "9", "z\U0001f600", "\uffff"]), max_size=12)
    | st.lists(st.integers(-12, 12).map(str), max_size=12),
    st.integers(0, 3),
    st.none() | st.integers(1, 3),
    st.lists(st.integers(0, 12), max_size=3),
    st.booleans(),
)
def test_keys_are_numbered_by_shard_and_value(
    keys: list[str], oov: int, shards: int | None, points: list[int], whole: bool
) -> None:
    integral = whole and all(k.lstrip("-").isdigit() for k in keys)
    parts = [p.append_column("more", pa.nulls(len(p))) for p in cut(keys_of(keys), points)]
    index, repeated = number_keys(parts, integral, KeyRules(oov, shards))

    def place(key: str) -> tuple[int, Any]:
        value = int(key) if integral else key.encode()
        return stable_hash(key) % (shards or 1), value

    ordered = sorted(set(keys), key=place)
    assert index["key"].to_pylist() == ordered
    assert index["id"].to_pylist() == list(range(2 + oov, 2 + oov + len(ordered)))
    assert index["shard"].to_pylist() == [place(k)[0] for k in ordered]
    assert sorted(repeated["key"].to_pylist()) == sorted(k for k in set(keys) if keys.count(k) > 1)


def test_keys_without_rules_are_listed_without_ids() -> None:
    index, repeated = number_keys([keys_of(["b", "a", "b"])], False, None)
    assert sorted(index["key"].to_pylist()) == ["a", "b"]
    assert set(index["id"].to_pylist()) == {0}
    assert index.schema.names == ["key", "id", "shard"]
    assert repeated["key"].to_pylist() == ["b"]


def test_no_tables_are_no_keys() -> None:
    index, repeated = number_keys([], True, KeyRules(0, None))
    assert (len(index), len(repeated)) == (0, 0)


def test_the_kinds_of_all_batches_decide_the_order() -> None:
    tables = [EMPTY, keys_of(["10", "9"])]
    for seen, ordered in ((Seen.WHOLE, ["9", "10"]), (Seen.WHOLE | Seen.TEXT, ["10", "9"])):
        rules, kinds = KeyRules(0, None), {"items": int(seen)}
        main, tagged = sorted_out(number_key_table(table_job(), rules, (0, tables), kinds))
        assert main[0]["key"].to_pylist() == ordered
        assert tagged[COUNTS] == [("items.keys", 2)]
        assert len(tagged[REPEATED][0]) == 0


def test_a_table_without_keys_is_refused_but_a_joined_one_is_not() -> None:
    joined = table_job(name="items.joins[0]", joined=True)
    main, _ = sorted_out(number_key_table(joined, None, (0, [EMPTY]), {}))
    assert len(main[0]) == 0
    file = InputFile("/in/a.csv", "a.csv", 1, "csv")
    with pytest.raises(DataError) as error:
        list(number_key_table(table_job(files=(file,)), KeyRules(0, None), (0, [EMPTY]), {}))
    message = "items: the table holds no row with a key: got no usable row in a.csv"
    assert message in error.value.message


# --- reading


def test_float_keys_must_be_whole() -> None:
    text, seen = key_text(pa.array([1.0, None, -0.0, 2e3]), "item", "a.parquet")
    assert (text.to_list(), seen) == (["1", None, "0", "2000"], Seen.WHOLE)
    for odd, shown in ((1.5, "1.5"), (1e-7, "1e-07"), (float("inf"), "inf")):
        with pytest.raises(SchemaMismatchError, match=f"a.parquet: key column 'item'.*got {shown}"):
            key_text(pa.array([1.0, odd]), "item", "a.parquet")


def test_rows_without_a_key_are_set_aside(tmp_path: Path) -> None:
    file = written_file(tmp_path / "a.csv", b"name,item\nx,1\ny,  \nz\nw,2,3\nv, 1\n")
    main, tagged = sorted_out(read_key_splits(table_job(), Split(file)))
    assert [k for t in main for k in t["key"].to_pylist()] == ["1", "1"]
    rejects = [r for t in tagged[REJECTS] for r in t.to_pylist()]
    assert sorted((r["row"], r["column"], r["reason"], r["value"]) for r in rejects) == [
        (1, "item", "missing_key", "  "),
        (2, "", "malformed_row", "1 fields, expected 2: z"),
        (3, "", "malformed_row", "3 fields, expected 2: w,2,3"),
    ]
    assert {(r["source"], r["file"]) for r in rejects} == {("items", "a.csv")}
    assert dict(tagged[COUNTS]) == {"items.rows": 5, "items.unusable": 3}
    assert tagged[SEEN] == [("items", Seen.TEXT)]
    _, silent = sorted_out(read_key_splits(table_job(), Split(file), from_log=True))
    assert SEEN not in silent


# --- rows of one key


def hash_of(*texts: str) -> int:
    return stable_hash("k", *texts)


def float_hex(*numbers: float) -> str:
    return struct.pack(f"<{len(numbers)}f", *numbers).hex()


@pytest.mark.parametrize(
    ("feature", "cell", "text"),
    [
        (numeric(), None, ""),
        (numeric(), float("nan"), ""),
        (numeric(), "  ", ""),
        (numeric(), 3.0, "3"),
        (numeric(), " 3 ", "3"),
        (numeric(), -0.0, "0"),
        (numeric(), Decimal("1.10"), "1.1"),
        (categorical(), True, "true"),
        (categorical(), datetime(2024, 1, 1), "2024-01-01T00:00:00Z"),
        (categorical(), ["é", 1, None, [2.0, ""]], '["é","1",null,["2",null]]'),
        (categorical(), b'["\\u00e9", 1]', '["é","1"]'),
        (categorical(), b'"x"', "x"),
        (embedding(), [1, 2.5], float_hex(1, 2.5)),
        (embedding(), b"[1, 2.5]", float_hex(1, 2.5)),
        (embedding(), [-0.0, 1e39], float_hex(0, float("inf"))),
        (embedding(), [None], struct.pack("<f", float("nan")).hex()),
        (embedding(), [10**400], float_hex(float("inf"))),
        (embedding(), [], ""),
        (embedding(), b'[1, "x"]', '["1","x"]'),
    ],
)
def test_the_text_that_tells_rows_apart(feature: Any, cell: object, text: str) -> None:
    assert canonical_text(feature, cell) == text
    assert row_hash("k", [(categorical(), "a"), (feature, cell)]) == hash_of("a", text)


def repeated_rows(path: Path, table: Any, keys: list[str]) -> list[dict[str, Any]]:
    split = Split(InputFile(str(path), path.name, 1, path.suffix[1:]))  # type: ignore[arg-type]
    main, _ = sorted_out(read_repeated(table, split, keys_of(keys)))
    return [row for t in main for row in t.to_pylist()]


def test_rows_of_repeated_keys_are_read_again(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"kind,item,price\nx,1,1\ny,2,2\nx, 1,1.0\nz,,\nz,3,3\n")
    rows = repeated_rows(tmp_path / "a.csv", table_job(categorical(), numeric()), ["1", "3"])
    assert rows == [
        {"key": "1", "hash": stable_hash("1", "x", "1"), "file": "a.csv", "row": 0},
        {"key": "1", "hash": stable_hash("1", "x", "1.0"), "file": "a.csv", "row": 2},
        {"key": "3", "hash": stable_hash("3", "z", "3"), "file": "a.csv", "row": 4},
    ]
    assert repeated_rows(tmp_path / "absent.csv", table_job(), []) == [], "nothing is read"


def test_rows_whose_types_python_lacks_can_be_told_apart(tmp_path: Path) -> None:
    table = pa.table(
        {
            "item": pa.array([1, 1]),
            "kind": pa.array([1001, 10**15], pa.timestamp("ns")),
            "price": pa.array([Decimal("1.5"), None]),
        }
    )
    far = pa.array([10**15, 0], pa.timestamp("ms"))
    pq.write_table(table.append_column("far", far), tmp_path / "a.parquet")
    job = table_job(categorical(), numeric(), categorical("far"))
    rows = repeated_rows(tmp_path / "a.parquet", job, ["1"])
    assert [r["hash"] for r in rows] == [
        stable_hash("1", "1970-01-01T00:00:00.000001Z", "1.5", "33658-09-27T01:46:40.000000Z"),
        stable_hash("1", "1970-01-12T13:46:40Z", "", "1970-01-01T00:00:00Z"),
    ]


ROWS = st.lists(
    st.tuples(
        st.sampled_from("ab"), st.integers(0, 3), st.sampled_from(["f", "g"]), st.integers(0, 9)
    ),
    max_size=10,
    unique_by=lambda r: r[2:],
)


@QUICK
@given(ROWS, st.lists(st.integers(0, 10), max_size=3), st.randoms())
def test_of_each_key_the_row_of_the_smallest_hash_is_kept(
    rows: list[tuple[str, int, str, int]], points: list[int], order: Any
) -> None:
    shuffled = order.sample(rows, len(rows))
    table = pa.table(
        [[r[k] for r in shuffled] for k in range(4)],
        schema=pa.schema(
            [
                ("key", pa.string()),
                ("hash", pa.uint64()),
                ("file", pa.string()),
                ("row", pa.int64()),
            ]
        ),
    )
    parts = [EMPTY, *(p for p in cut(table, points) if len(p))]
    main, tagged = sorted_out(choose_rows(table_job(), (0, parts)))
    kept = {min((r for r in rows if r[0] == key), key=lambda r: r[1:]) for key, *_ in rows}
    lost = sorted(r[2:] for r in rows if r not in kept)
    assert [tuple(r.values()) for r in main[0].to_pylist()] == lost
    assert main[0].schema.equals(LOSERS)
    best = {r[0]: r[1] for r in kept}
    # Of equal rows that lost, the first is the duplicate and the others are its copies.
    strange = sorted((r for r in rows if r[1] != best[r[0]]), key=lambda r: r[2:])
    different = list({r[:2]: r for r in reversed(strange)}.values())
    counts = dict(tagged.get(COUNTS, []))
    assert counts.get("items.duplicate", 0) == len(different)
    assert counts.get("items.repeated", 0) == len(lost) - len(different)
    rejects = [r for t in tagged.get(REJECTS, []) for r in t.to_pylist()]
    assert sorted((r["file"], r["row"], r["value"]) for r in rejects) == sorted(
        (r[2], r[3], r[0]) for r in different
    )
    assert {r["reason"] for r in rejects} <= {"duplicate_item"}


def test_losers_are_looked_up_by_file() -> None:
    losers = pa.table([["a", "b", "a"], [1, 2, 3]], schema=LOSERS)
    assert losers_in(losers, "a").to_list() == [1, 3]
    assert losers_in(losers, "c").to_list() == []
    assert losers_in(LOSERS.empty_table(), "a").to_list() == []


def test_a_row_hash_does_not_depend_on_the_shape_of_its_batch() -> None:
    cells = [[1.0, -2.5], [0.0, 3.0]]
    for cell in cells:
        as_json = json.dumps(cell).encode()
        assert row_hash("k", [(embedding(), cell)]) == row_hash("k", [(embedding(), as_json)])
