"""The rows of a source: folders, fields, elements of lists, expressions, conditions; Parquet and JSON lines alike."""

import json
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from heterrec_pipeline.checking.sources import find_source
from heterrec_pipeline.reading.batches import ReadBatch
from heterrec_pipeline.reading.erased import NOTHING, ErasedList, Gate, read_live
from heterrec_pipeline.reading.files import Split, split_file
from heterrec_pipeline.reading.read import read_split
from heterrec_pipeline.reading.shaping.nested import ELEMENTS
from heterrec_schemas.errors import HeterrecError
from heterrec_schemas.feature_spec import Source
from heterrec_schemas.rejects import Reason

LINES = pa.list_(pa.struct([("sku", pa.string()), ("price", pa.string())]))
SCHEMA = pa.schema(
    [
        ("user", pa.struct([("id", pa.int64()), ("home", pa.struct([("city", pa.string())]))])),
        ("order", pa.int64()),
        ("items", LINES),
        ("tags", pa.list_(pa.string())),
        ("more", pa.map_(pa.string(), pa.string())),
        ("user.dotted", pa.string()),
    ]
)
ROWS: list[dict[str, Any]] = [
    {
        "user": {"id": 1, "home": {"city": "Rome"}},
        "order": 5,
        "items": [{"sku": "x", "price": "$3"}, {"sku": "y", "price": "N/A"}],
        "tags": ["a", "b"],
        "more": {"k": "v"},
        "user.dotted": "own",
    },
    {"user": None, "order": 6, "items": [], "tags": None, "more": None, "user.dotted": "own"},
    {
        "user": {"id": 3, "home": None},
        "order": 7,
        "items": [{"sku": "z", "price": "$2.5"}, None],
        "tags": [],
        "more": {"q": "w"},
        "user.dotted": "own",
    },
]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("shape")
    for form in ("parquet", "jsonl"):
        folder = base / form / "dt=2026-01-01" / "site=a%2Fb"
        folder.mkdir(parents=True)
        if form == "parquet":
            rows = [r | {"more": list((r["more"] or {}).items()) or None} for r in ROWS]
            table = pa.Table.from_pylist(rows, SCHEMA)
            pq.write_table(table, folder / "a.parquet", row_group_size=2)
        else:
            lines = "".join(json.dumps(row) + "\n" for row in ROWS)
            (folder / "a.jsonl").write_text(lines)
    return base


def read(
    base: Path, form: str, wanted: list[str], gate: Gate = NOTHING, **source: Any
) -> tuple[list[dict[str, Any]], list[ReadBatch]]:
    problems: list[HeterrecError] = []
    described = Source(path=form, **source)
    files, _ = find_source("log", described, str(base), wanted, problems, {})
    assert not problems, problems[0].message
    batches = [b for f in files for s in split_file(f) for b in read_live(s, wanted, gate)]
    return [row for b in batches for row in b.table.to_pylist()], batches


def numbers(batches: list[ReadBatch]) -> list[int]:
    return [int(row) for b in batches for row in b.rows]


both = pytest.mark.parametrize("form", ["parquet", "jsonl"])


@both
def test_fields_folders_and_keys_of_maps_are_columns(base: Path, form: str) -> None:
    names = ["user.id", "user.home.city", "dt", "site", "more.k", "user.dotted", "order"]
    rows, batches = read(base, form, names)
    assert [tuple(row.values()) for row in rows] == [
        (1, "Rome", "2026-01-01", "a/b", "v", "own", 5),
        (None, None, "2026-01-01", "a/b", None, "own", 6),
        (3, None, "2026-01-01", "a/b", None, "own", 7),
    ]
    assert numbers(batches) == [0, 1, 2]


@both
def test_a_list_gives_a_row_for_each_element(base: Path, form: str) -> None:
    rows, batches = read(base, form, ["items.sku", "order", "dt"], unnest="items")
    assert [tuple(row.values()) for row in rows] == [
        ("x", 5, "2026-01-01"),
        ("y", 5, "2026-01-01"),
        ("z", 7, "2026-01-01"),
        (None, 7, "2026-01-01"),
    ]
    assert numbers(batches) == [0, 1, 2 * ELEMENTS, 2 * ELEMENTS + 1]
    rows, _ = read(base, form, ["tags", "user.id"], unnest="tags")
    assert rows == [{"tags": "a", "user.id": 1}, {"tags": "b", "user.id": 1}]


@both
def test_expressions_conditions_and_failures(base: Path, form: str) -> None:
    rows, batches = read(
        base,
        form,
        ["price", "items.sku"],
        unnest="items",
        columns={
            "price": "CAST(REPLACE(\"items.price\", '$', '') AS DOUBLE)",
            "items.sku": 'UPPER("items.sku")',
        },
        where="price > 2.6 OR \"user.id\" = 3 AND dt >= '2026'",
    )
    assert rows == [
        {"price": 3.0, "items.sku": "X"},
        {"price": 2.5, "items.sku": "Z"},
        {"price": None, "items.sku": None},
    ]
    bad = [b for batch in batches for b in batch.bad]
    assert [(b.row, b.reason, b.text, b.column) for b in bad] == [
        (1, Reason.EXPRESSION_FAILED, "N/A", "price")
    ]
    assert sum(b.filtered for b in batches) == 0
    _, batches = read(base, form, ["order"], where="\"user.home.city\" = 'Rome'")
    assert sum(b.filtered for b in batches) == 2, "null is not true"
    assert sum(b.read for b in batches) == 3


@both
def test_the_value_of_a_failure_is_not_shown_where_something_is_erased(
    base: Path, form: str
) -> None:
    (base / "gone.csv").write_text("id\n3\n")
    gone = Source(path="gone.csv")
    files, _ = find_source("erase.users", gone, str(base), [], [], {})
    gate = Gate((("user.id", ErasedList("erase.users", "id", files)),))
    _, batches = read(
        base, form, ["n"], gate, unnest="items", columns={"n": 'CAST("items.price" AS DOUBLE)'}
    )
    assert {b.text for batch in batches for b in batch.bad} == {None}
    assert sum(b.erased for b in batches) == 2, "the element without a price, and the failure"


@pytest.mark.parametrize(
    "source",
    [
        {"columns": {"n": 'CAST("order" AS INT)', "price": "CAST(price AS DOUBLE)"}},
        {"where": "CAST(price AS DOUBLE) > 0"},
        {"where": "CAST(price AS DOUBLE) > 0", "columns": {"u": "LOWER(u)"}},
    ],
)
@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_a_failure_of_an_erased_row_counts_as_erased(
    tmp_path: Path, suffix: str, source: dict[str, Any]
) -> None:
    rows = [("A", "1", "N/A"), ("b", "2", "N/A"), ("a", "3", "4.5"), ("b", "4", "5")]
    if suffix == "csv":
        text = "u,order,price\n" + "".join(",".join(row) + "\n" for row in rows)
    else:
        text = "".join(
            json.dumps(dict(zip(("u", "order", "price"), row, strict=True))) + "\n" for row in rows
        )
    (tmp_path / f"log.{suffix}").write_text(text)
    (tmp_path / "gone.csv").write_text("id\na\nA\n")
    files, _ = find_source("erase.users", Source(path="gone.csv"), str(tmp_path), [], [], {})
    gate = Gate((("u", ErasedList("erase.users", "id", files)),))
    found, batches = read(tmp_path, f"log.{suffix}", ["order"], gate, **source)
    assert [row["order"] for row in found] == ["4"]
    assert sum(b.erased for b in batches) == 2
    assert [(b.row, b.text) for batch in batches for b in batch.bad] == [(1, None)]
    assert sum(b.read for b in batches) == 4


@both
def test_what_the_spec_names_and_the_files_lack(base: Path, form: str) -> None:
    def mistakes(**source: Any) -> list[str]:
        problems: list[HeterrecError] = []
        find_source("log", Source(path=form, **source), str(base), [], problems, {})
        return [p.message for p in problems]

    assert "log.source.where: there is no column 'ordr'. Did you mean 'order'?" in mistakes(
        where="ordr = 1"
    )
    quoted = mistakes(where="dt = \"ordr\" AND dt <> 'ordr'")[0]
    assert "Did you mean 'order'? Double quotes are for names; a text has single quotes" in quoted
    assert "Column 'dt' is text: write CAST(dt AS DOUBLE)" in mistakes(where="dt > 5")[0]
    reserved = mistakes(where='"user.dotted" > 5')[0]
    assert 'write CAST("user.dotted" AS DOUBLE)' in reserved
    assert 'columns: {"user.dotted": "CAST(\\"user.dotted\\" AS DOUBLE)"}' in reserved
    assert "is no condition" in mistakes(where='"order" + 1')[0]
    assert "tegs" in mistakes(unnest="tegs")[0]
    assert mistakes(columns={"n": '"order" + 1', "s": "n + 1"})[0].startswith(
        "log.source.columns.s: there is no column 'n'"
    )


def test_a_corrupt_file_of_a_pruned_partition_does_no_harm(base: Path, tmp_path: Path) -> None:
    for day in ("2026-01-01", "2026-01-02", "__HIVE_DEFAULT_PARTITION__"):
        (tmp_path / f"log/dt={day}").mkdir(parents=True)
        (tmp_path / f"log/dt={day}/a.csv").write_text(f"u,v\n1,{len(day)}\n")
    (tmp_path / "log/dt=2026-01-01/b.parquet").write_bytes(b"no Parquet")
    rows, _ = read(tmp_path, "log", ["dt", "v"], where="dt > '2026-01-01' AND v > '0'")
    assert rows == [{"dt": "2026-01-02", "v": "10"}]
    problems: list[HeterrecError] = []
    find_source("log", Source(path="log", where="dt > '2027'"), str(tmp_path), [], problems, {})
    assert "no file is left of 4" in problems[0].message


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_a_folder_decides_for_files_and_rows_alike(tmp_path: Path, suffix: str) -> None:
    for day in ("1", "2"):
        path = tmp_path / f"log/dt={day}/a.{suffix}"
        path.parent.mkdir(parents=True)
        if suffix == "parquet":
            pq.write_table(pa.table({"dt": [3, 2], "v": ["x", "y"]}), path)
        elif suffix == "csv":
            path.write_text("dt,v\n3,x\n2,y\n")
        else:
            path.write_text('{"dt": 3, "v": "x"}\n{"dt": 2, "v": "y"}\n')
    expected = [{"dt": "2", "v": "x"}, {"dt": "2", "v": "y"}]
    assert read(tmp_path, "log", ["dt", "v"], where="dt = '2'")[0] == expected
    assert read(tmp_path, "log", ["dt", "v"], where="dt = '2' OR v IS NULL")[0] == expected


def test_the_type_of_a_json_cell_is_its_own(tmp_path: Path) -> None:
    lines: list[Any] = [1, 2.5, None, "x", True, 2**70, [1, 2.5, "a"]]
    expressions = {
        "half": "n / 2",
        "text": "n || '!'",
        "cast": "CAST(n AS VARCHAR)",
        "or": "COALESCE(n, 1)",
        "first": "ARRAY_GET(n, 1)",
    }
    found: dict[str, list[Any]] = {}
    for name, text in expressions.items():
        log = tmp_path / name
        log.mkdir()
        for k, line in enumerate(lines):
            (log / f"{k}.jsonl").write_text(json.dumps({"n": line}) + "\n")
        _, batches = read(tmp_path, name, ["m"], columns={"m": text})
        found[name] = [
            b.table.to_pylist()[0]["m"] if len(b.rows) else b.bad[0].text for b in batches
        ]
    assert found == {
        "half": [0.5, 1.25, None, "x", 0.5, 2.0**69, "['1', '2.5', 'a']"],
        "text": ["1!", "2.5!", None, "x!", "true!", f"{2**70}!", "['1', '2.5', 'a']"],
        "cast": ["1", "2.5", None, "x", "true", str(2**70), "['1', '2.5', 'a']"],
        "or": [1, 2.5, 1, "x", True, 2**70, "['1', '2.5', 'a']"],
        "first": ["1", "2.5", None, "x", "true", str(2**70), "1"],
    }


def test_a_json_cell_of_a_type_that_an_expression_does_not_take_is_rejected(tmp_path: Path) -> None:
    cells = [1, 2.5, 3.0, " ", "x", {"k": 1}, 2**200, None]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"n": cell}) + "\n" for cell in cells))
    rows, (batch,) = read(tmp_path, "a.jsonl", ["m"], columns={"m": "n + 1"})
    assert [row["m"] for row in rows] == [2, 3.5, 4, None, None]
    assert [(b.row, b.reason, b.text, b.column) for b in batch.bad] == [
        (4, Reason.EXPRESSION_FAILED, "x", "m"),
        (5, Reason.EXPRESSION_FAILED, '{"k": 1}', "n"),
        (6, Reason.EXPRESSION_FAILED, str(2**200), "n"),
    ]


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
def test_a_file_without_rows(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("n\n" if name == "a.csv" else "\n")
    (tmp_path / "b.csv").write_text("n\n1\n")
    columns = {"m": "CAST(n AS INT) + 1", "c": "'x'"}
    rows, _ = read(tmp_path, "*", ["m", "c", "n"], columns=columns, where="m > 0 OR c = 'y'")
    assert rows == [{"m": 2, "c": "x", "n": "1"}]


def test_short_rows_and_bad_text_stay_rejects(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("u,v,w\n1,2,3\n1\n1,9\n4,5,6,7\n5,,6\n")
    source = Source(path="a.csv", where="CAST(v AS INT) < 5")
    (file,), _ = find_source("log", source, str(tmp_path), [], [], {})
    (batch,) = read_split(Split(file), ["u", "w"])
    assert batch.table.to_pylist() == [{"u": "1", "w": "3"}]
    assert sorted((b.row, b.reason) for b in batch.bad) == [
        (1, Reason.MALFORMED_ROW),
        (3, Reason.MALFORMED_ROW),
    ]
    assert (batch.filtered, batch.read) == (2, 5)
    spoiled = pa.array([b"ok", b"\xff", b"no"]).view(pa.string())
    pq.write_table(pa.table({"t": spoiled, "n": [1, 2, 3]}), tmp_path / "b.parquet")
    source = Source(path="b.parquet", where="t <> 'no'")
    (file,), _ = find_source("log", source, str(tmp_path), [], [], {})
    (batch,) = read_split(Split(file), ["n"])
    assert batch.table.to_pylist() == [{"n": 1}]
    assert [(b.row, b.reason, b.column) for b in batch.bad] == [(1, Reason.NOT_UTF8, "t")]
    assert batch.filtered == 1


def test_a_member_of_what_is_no_object_is_missing(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"u": {"id": 1}}\n{"u": "x"}\n{"u": {}}\n{}\n')
    (file,), _ = find_source("log", Source(path="a.jsonl"), str(tmp_path), [], [], {})
    (batch,) = read_split(Split(file), ["u.id"])
    assert [row["u.id"] for row in batch.table.to_pylist()] == [1, None, None, None]
    (file,), _ = find_source("log", Source(path="a.jsonl", unnest="u"), str(tmp_path), [], [], {})
    (batch,) = read_split(Split(file), ["u"])
    assert [(b.row // ELEMENTS, b.reason, b.text, b.column) for b in batch.bad] == [
        (0, Reason.WRONG_TYPE, '{"id": 1}', "u"),
        (1, Reason.WRONG_TYPE, '"x"', "u"),
        (2, Reason.WRONG_TYPE, "{}", "u"),
    ]


def test_every_reading_of_a_row_finds_its_failures(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("u,v\n1,2\n2,x\n")
    source = Source(path="a.csv", columns={"n": "CAST(v AS INT)"})
    (file,), _ = find_source("log", source, str(tmp_path), [], [], {})
    for columns in (["u"], ["n"], ["v", "n"], []):
        (batch,) = read_split(Split(file), columns)
        assert batch.rows.tolist() == [0], columns
        assert [b.row for b in batch.bad] == [1]


def test_a_suggestion_quotes_words_of_sql(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("user\n1\n")
    problems: list[HeterrecError] = []
    find_source("log", Source(path="a.csv", where='"user" > 5'), str(tmp_path), [], problems, {})
    (problem,) = problems
    (line,) = re.findall(r"derive it: (columns: .*)\.$", problem.message, re.MULTILINE)
    assert 'write CAST("user" AS DOUBLE) in its place' in problem.message
    problems.clear()
    source = Source(path="a.csv", where='"user" > 5', **yaml.safe_load(line))
    find_source("log", source, str(tmp_path), [], problems, {})
    assert not problems
