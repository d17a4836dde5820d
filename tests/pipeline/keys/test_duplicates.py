"""Keys by bucket: the distinct ones are numbered, and the rows to exclude are found."""

import json
import struct
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pieces import (
    QUICK,
    categorical,
    cut,
    embedding,
    job_of,
    numeric,
    sorted_out,
    spec_of,
    table_job,
    written_file,
)

from heterrec_pipeline.files.parts import load
from heterrec_pipeline.fitting.collect import COUNTS as VALUE_COUNTS
from heterrec_pipeline.fitting.collect import CollectValues
from heterrec_pipeline.job import Job
from heterrec_pipeline.keys.duplicates import (
    EXCLUDED,
    REPEATED,
    canonical_text,
    choose_rows,
    find_keys,
    read_repeated,
    row_hash,
    store_excluded,
)
from heterrec_pipeline.keys.read import KEY, read_keys
from heterrec_pipeline.keys.row_filter import kept_rows
from heterrec_pipeline.reading.files import InputFile, Split
from heterrec_pipeline.reading.read import ROW
from heterrec_pipeline.vocabularies.count import FIGURES_TAG
from heterrec_pipeline.vocabularies.layout import Rules
from heterrec_pipeline.vocabularies.lookup import lookups
from heterrec_pipeline.vocabularies.number import IN_MEMORY, lay_out_keys, number_group
from heterrec_pipeline.vocabularies.numbering_graph import key_rules
from heterrec_pipeline.wiring.reports import COUNTS, FILES, REJECTS
from heterrec_schemas.errors import DataError
from heterrec_schemas.hashing import stable_hash
from heterrec_schemas.rejects import Reason
from heterrec_schemas.values import Seen

LINES = ["item,kind", "a,x", "b,y", ",z", "a,x", "c,x", "a,w", "d,y"]


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return job_of(spec_of(output={"item_shards": 2}), tmp_path)


@pytest.fixture
def split(tmp_path: Path) -> Split:
    return Split(written_file(tmp_path / "items.csv", "\n".join(LINES).encode()))


def keys_of(keys: list[str]) -> pa.Table:
    numbers = pa.array(range(len(keys)), pa.int64())
    columns = [pa.array(keys, pa.string()), pa.array([5] * len(keys), pa.int64()), numbers]
    return pa.table(columns, names=["key", "split", "row"])


# --- numbering


def numbered(job: Job, rules: Rules, parts: list[pa.Table], seen: dict[str, int]) -> Any:
    """The index of the keys in one bucket, their shard files, and the numbers of the rows of repeated keys."""
    element = (("items", 0), {"keys-0": parts})
    buckets, tagged = sorted_out(find_keys(job, (table_job(),), rules, element, seen))
    every = {"items": rules}
    layouts = dict(lay_out_keys(rules, (0, tagged[FIGURES_TAG]), []))
    group = (("items", 0), [None, *(ref for _, ref in buckets)])
    _, outputs = sorted_out(number_group(job, every, group, layouts, seen))
    repeated = [r for _, t in tagged.get(REPEATED, []) for r in t["row"].to_pylist()]
    return lookups(outputs[IN_MEMORY])["items"], outputs[FILES], repeated


@pytest.fixture(scope="module")
def numbering(tmp_path_factory: pytest.TempPathFactory) -> Job:
    return job_of(spec_of(), tmp_path_factory.mktemp("numbering"))


@QUICK
@given(
    st.lists(
        st.sampled_from(["a", "é", "b", "10", "9", "z\U0001f600", "\uffff"]),
        min_size=1,
        max_size=12,
    )
    | st.lists(st.integers(-12, 12).map(str), min_size=1, max_size=12),
    st.integers(0, 3),
    st.none() | st.integers(1, 3),
    st.lists(st.integers(0, 12), max_size=3),
    st.booleans(),
)
def test_keys_are_numbered_by_shard_and_value(
    numbering: Job,
    keys: list[str],
    oov: int,
    shards: int | None,
    points: list[int],
    whole: bool,
) -> None:
    integral = whole and all(k.lstrip("-").isdigit() for k in keys)
    rules = Rules("items", table_job(), None, 1, oov, shards)
    seen = {"items": int(Seen.WHOLE if integral else Seen.TEXT)}
    index, files, repeated = numbered(numbering, rules, cut(keys_of(keys), points), seen)

    def place(key: str) -> tuple[int, Any]:
        value = int(key) if integral else key.encode()
        return stable_hash(key) % (shards or 1), value

    ordered = sorted(set(keys), key=place)
    want = list(range(2 + oov, 2 + oov + len(ordered)))
    assert index.find(pl.Series(ordered)).to_list() == want
    tables = [pq.read_table(f.temporary) for f in files]
    assert [v for t in tables for v in t["value"].to_pylist()] == [
        int(k) if integral else k for k in ordered
    ]
    assert [len(t) for t in tables] == [
        sum(place(k)[0] == shard for k in ordered) for shard in range(shards or 1)
    ]
    assert sorted(repeated) == [k for k, key in enumerate(keys) if keys.count(key) > 1]


def test_the_kinds_of_all_batches_decide_the_order(job: Job) -> None:
    rules = key_rules(job, job.items)
    for seen, ordered in ((Seen.WHOLE, ["9", "10"]), (Seen.WHOLE | Seen.TEXT, ["10", "9"])):
        element = (("items", 0), {"keys-0": [keys_of(["10"]), keys_of(["9"])]})
        kinds = {"items": int(seen)}
        main, tagged = sorted_out(find_keys(job, (job.items,), rules, element, kinds))
        ((_, stored),) = main
        assert load(stored)["value"].to_pylist() == ordered
        assert tagged[COUNTS] == [("items.keys", 2)]
        assert REPEATED not in tagged


def test_a_table_without_keys_is_refused_but_a_joined_one_is_not(job: Job) -> None:
    file = InputFile("/in/a.csv", "a.csv", 1, "csv")
    rules = key_rules(job, table_job(files=(file,)))
    examples = ["a.csv row 7: missing_key, None", "a.csv row 3: missing_key, ''"]
    with pytest.raises(DataError) as error:
        list(lay_out_keys(rules, (0, []), examples))
    message = "items: the table holds no row with a key: got no usable row in a.csv"
    assert f"{message} (a.csv row 3: missing_key, '')" in error.value.message
    with pytest.raises(DataError, match=r"no usable row in a\.csv, expected"):
        list(lay_out_keys(rules, (0, []), []))
    joined = table_job(name="items.joins[0]", joined=True)
    element = (("items", 0), {"keys-0": [keys_of(["a"])], "keys-1": []})
    _, tagged = sorted_out(find_keys(job, (table_job(), joined), rules, element, {}))
    assert dict(tagged[COUNTS]) == {"items.keys": 1, "items.joins[0].keys": 0}


# --- rows to exclude


def test_a_bucket_finds_unknown_and_repeated_keys(job: Job, split: Split) -> None:
    items, more = table_job(), table_job(name="items.joins[0]", joined=True)
    joined = pa.table({"key": ["b", "x", "b", "y"], "split": [5, 5, 6, 6], "row": [0, 1, 2, 3]})
    keys = sorted_out(read_keys(items, split))[0]
    element = (("items", 0), {"keys-0": keys, "keys-1": [joined.slice(0, 1), joined.slice(1)]})
    main, tagged = sorted_out(find_keys(job, (items, more), key_rules(job, items), element, {}))
    ((place, stored),) = main
    assert place == ("items", 0)
    assert load(stored)["value"].to_pylist() == ["a", "b", "c", "d"]
    assert dict(tagged[COUNTS]) == {"items.keys": 4, "items.joins[0].keys": 3}
    again = {p: sorted(t["row"].to_pylist()) for p, t in tagged[REPEATED]}
    assert again == {
        ("items", split.number): [0, 3, 5],
        ("items.joins[0]", 5): [0],
        ("items.joins[0]", 6): [2],
    }
    unknown = {p: t["row"].to_pylist() for p, t in tagged[EXCLUDED]}
    assert unknown == {("items.joins[0]", 5): [1], ("items.joins[0]", 6): [3]}
    assert len(tagged[FIGURES_TAG]) == 1


def test_of_repeated_rows_one_stays(job: Job, split: Split) -> None:
    table = table_job(categorical())
    place = ("items", split.number)
    rows = {"rows": [pa.table({"row": [0, 5]}), pa.table({"row": [3]})]}
    found = list(read_repeated((table,), (place, rows), {place: split}))
    assert [n for n, _ in found] == ["items"]
    assert found[0][1]["row"].to_pylist() == [0, 3, 5]
    pieces = {"rows": [t.slice(k, 1) for _, t in found for k in range(3)]}
    main, tagged = sorted_out(choose_rows((table,), (("items", 0), pieces)))
    counts = dict(tagged[COUNTS])
    assert counts["items.repeated"] + counts["items.duplicate"] == 2
    (rejects,) = tagged[REJECTS]
    assert rejects["reason"].to_pylist() == [Reason.DUPLICATE_ITEM] * counts["items.duplicate"]
    ((where, lost),) = main
    assert where == place
    assert len(lost) == 2


def test_excluded_rows_do_not_count(job: Job, split: Split) -> None:
    table, place = table_job(categorical()), ("items", split.number)
    pieces = {"rows": [pa.table({"row": [5]}), pa.table({"row": [3, 5]})]}
    excluded = dict(store_excluded(job, (place, pieces)))
    (rows,) = kept_rows(table, split, ["kind"], excluded)
    assert rows[KEY].to_pylist() == ["a", "b", "c", "d"]
    assert rows[ROW].to_pylist() == [0, 1, 4, 6]
    do = CollectValues(table)
    do.start_bundle()
    list(do.process(split, 4, excluded))
    _, tagged = sorted_out(do.finish_bundle())
    ((name, counts),) = [w.value for w in tagged[VALUE_COUNTS]]
    assert (name, sum(counts["count"].to_pylist())) == ("item/kind", 4)
    (all_of_them,) = kept_rows(table, split, ["kind"], {})
    assert len(all_of_them) == 6


# --- what decides between rows


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


def repeated_rows(path: Path, table: Any, numbers: list[int]) -> list[dict[str, Any]]:
    """What decides between some rows of a file, without the split, which is that of the file."""
    split = Split(InputFile(str(path), path.name, 1, path.suffix[1:]))  # type: ignore[arg-type]
    key = (table.name, split.number)
    element = (key, {"rows": [pa.table({"row": numbers})]})
    made = [row for _, t in read_repeated((table,), element, {key: split}) for row in t.to_pylist()]
    assert {row.pop("split") for row in made} == {split.number}
    return made


def test_rows_of_repeated_keys_are_read_again(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"kind,item,price\nx,1,1\ny,2,2\nx, 1,1.0\nz,,\nz,3,3\n")
    rows = repeated_rows(tmp_path / "a.csv", table_job(categorical(), numeric()), [0, 2, 4])
    assert rows == [
        {"key": "1", "hash": stable_hash("1", "x", "1"), "file": "a.csv", "row": 0},
        {"key": "1", "hash": stable_hash("1", "x", "1.0"), "file": "a.csv", "row": 2},
        {"key": "3", "hash": stable_hash("3", "z", "3"), "file": "a.csv", "row": 4},
    ]


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
    rows = repeated_rows(tmp_path / "a.parquet", job, [0, 1])
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
    splits = pa.array([ord(r[2]) for r in shuffled], pa.int64())
    parts = cut(table.append_column("split", splits), points)
    main, tagged = sorted_out(choose_rows((table_job(),), (("items", 0), {"rows": parts})))
    kept = {min((r for r in rows if r[0] == key), key=lambda r: r[1:]) for key, *_ in rows}
    lost = sorted(r[2:] for r in rows if r not in kept)
    assert {name for (name, _), _ in main} <= {"items"}
    excluded = [(chr(s), r) for (_, s), numbers in main for r in numbers["row"].to_pylist()]
    assert sorted(excluded) == lost
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


def test_a_row_hash_does_not_depend_on_the_shape_of_its_batch() -> None:
    cells = [[1.0, -2.5], [0.0, 3.0]]
    for cell in cells:
        as_json = json.dumps(cell).encode()
        assert row_hash("k", [(embedding(), cell)]) == row_hash("k", [(embedding(), as_json)])
