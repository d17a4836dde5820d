"""Expressions over files of different types: each file's own types, and the results unified like columns of files."""

import json
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heterrec_pipeline.checking import expressions, file_schemas, schemas
from heterrec_pipeline.checking.columns import check_files_agree
from heterrec_pipeline.checking.schemas import TableSchema, together
from heterrec_pipeline.checking.sources import find_source
from heterrec_pipeline.reading.files import InputFile, split_file
from heterrec_pipeline.reading.read import read_split
from heterrec_schemas.errors import HeterrecError, SchemaMismatchError
from heterrec_schemas.feature_spec import Source
from heterrec_schemas.value_columns import column_text
from heterrec_schemas.values import is_binary, is_list, value_text


def found(
    base: Path, path: str = "log", **source: Any
) -> tuple[tuple[InputFile, ...], TableSchema, list[str]]:
    """The files of a source, their columns, and the errors if the derived columns are used."""
    problems: list[HeterrecError] = []
    described = Source(path=path, **source)
    files, schema = find_source("log", described, str(base), [], problems, {})
    used = list(described.columns)
    check_files_agree(used, schema, problems)
    return together(files, schema, [], used), schema, [p.message for p in problems]


def texts(base: Path, columns: dict[str, str], path: str = "log", **source: Any) -> dict[str, Any]:
    """For each file, the texts of the derived columns, row by row; and of the rejects."""
    files, _, problems = found(base, path, columns=columns, **source)
    assert problems == []
    rows: dict[str, Any] = {}
    for file in files:
        for split in split_file(file):
            for batch in read_split(split, list(columns)):
                made = [column_text(batch.table[c], c)[0].to_list() for c in columns]
                rows.setdefault(file.name, []).extend(zip(*made, strict=True))
                rows[file.name] += [(b.column, b.text) for b in batch.bad]
    return rows


def parquet(base: Path, name: str, **columns: Any) -> None:
    (base / "log").mkdir(exist_ok=True)
    pq.write_table(pa.table(columns), base / "log" / name)


def jsonl(base: Path, name: str, *rows: Any) -> None:
    (base / "log").mkdir(exist_ok=True)
    (base / "log" / name).write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_an_expression_sees_the_types_of_its_own_file(tmp_path: Path) -> None:
    columns = {
        "id": "CAST(n AS VARCHAR)",
        "or": "CAST(COALESCE(m, -1) AS VARCHAR)",
        "up": "UPPER(t)",
    }
    parquet(tmp_path, "a.parquet", n=[18, 2**60 + 1], m=[1, None], t=["x", None])
    before = texts(tmp_path, columns)
    assert before == {
        "log/a.parquet": [("18", "1", "X"), (str(2**60 + 1), "-1", None)],
    }
    parquet(tmp_path, "b.parquet", n=[18.0, 2.5], t=pa.array(["y", "y"]).dictionary_encode())
    parquet(tmp_path, "c.parquet", n=["18", "x"], m=[0.5, None])
    jsonl(tmp_path, "d.jsonl", {"n": 18, "t": "z"}, {"n": 18.0, "m": "x"}, {"n": "18"}, {"n": None})
    after = texts(tmp_path, columns)
    assert after == before | {
        "log/b.parquet": [("18.0", "-1", "Y"), ("2.5", "-1", "Y")],
        "log/c.parquet": [("18", "0.5", None), ("x", "-1.0", None)],
        "log/d.jsonl": [
            *(("18", "-1", "Z"), ("18.0", "x", None), ("18", "-1", None), (None, "-1", None)),
        ],
    }


def test_results_of_different_kinds_are_an_error_that_names_both_files(tmp_path: Path) -> None:
    parquet(tmp_path, "a.parquet", n=[1], d=pa.array([0], pa.date32()))
    parquet(tmp_path, "b.parquet", n=["1"], d=pa.array([0], pa.timestamp("ms")))
    _, schema, problems = found(tmp_path, columns={"m": "n", "d": "d"})
    assert problems == [
        "column 'm' has different types: log/a.parquet and log/b.parquet: got int64 and large_string, expected one type in "
        "all files of a source. Write CAST(... AS VARCHAR) around its expression, or CAST(... AS DOUBLE) if it is a number."
    ]
    assert schema.types["d"] == pa.timestamp("ms")
    made = texts(tmp_path, {"d": "d"})
    assert list(made.values()) == [[("1970-01-01T00:00:00Z",)]] * 2, "dates are midnights"
    (tmp_path / "log/a.parquet").unlink()
    jsonl(tmp_path, "c.jsonl", {"d": None})
    assert list(texts(tmp_path, {"d": "COALESCE(d, DATE '1970-01-01')"}).values()) == list(
        made.values()
    )
    parquet(tmp_path, "a.parquet", n=[1])
    _, _, problems = found(tmp_path, columns={"m": "n + 1"})
    assert "n + 1 over n String in log/b.parquet. Column 'n' is text" in problems[0]
    assert len(problems) == 1


def test_a_file_that_was_not_compared_must_fit_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schemas, "MAX_FILES", 2)
    for k, n in enumerate(([1], [2.5], [3])):
        parquet(tmp_path, f"{k}.parquet", n=n)
    assert list(texts(tmp_path, {"m": "n * 2"}).values()) == [[("2",)], [("5",)], [("6",)]]
    parquet(tmp_path, "1.parquet", n=["x"])
    with pytest.raises(SchemaMismatchError, match=r"log/1\.parquet: m: .*n \* 2 over n String"):
        texts(tmp_path, {"m": "n * 2"})
    with pytest.raises(
        SchemaMismatchError, match=r"'m' has another type in log/1\.parquet.*around"
    ):
        texts(tmp_path, {"m": "n"})
    assert texts(tmp_path, {"m": "CAST(n AS VARCHAR)"})["log/1.parquet"] == [("x",)]
    parquet(tmp_path, "1.parquet", other=[1])
    assert texts(tmp_path, {"m": "n * 2"})["log/1.parquet"] == [(None,)]


CELLS = st.sampled_from([None, 1, 2, 2.5, 3.0, "x", "", "4", True, 2**64, [1], ["a", 1], {"k": 1}])
ROWS = st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=9)
COLUMNS = {
    "sum": "a + 1",
    "text": "CAST(a AS VARCHAR) || COALESCE(b, '-')",
    "half": "ROUND(b / 2)",
}


@settings(max_examples=40, deadline=None)
@given(rows=ROWS, seed=st.integers(0, 999), cut=st.integers(0, 9))
def test_neither_lines_nor_files_decide_what_a_json_row_gives(
    rows: list[tuple[Any, Any]], seed: int, cut: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """With a sample of three lines a file."""
    base = tmp_path_factory.mktemp("rows")
    lines = [{"key": k, "a": a, "b": b} for k, (a, b) in enumerate(rows)]
    every = {"key": "key"} | COLUMNS
    source = Source(path="log", columns=every)

    def read(*files: list[Any]) -> dict[int, Any]:
        for file in base.glob("log/*"):
            file.unlink()
        for k, part in enumerate(files):
            jsonl(base, f"{k}.jsonl", *part)
        made: dict[int, Any] = {}
        listed, _ = find_source("log", source, str(base), [], [], {})
        for k, file in enumerate(listed):
            for batch in (b for split in split_file(file) for b in read_split(split, list(every))):
                shown = [column_shown(batch.table[c], c) for c in every]
                made |= {int(key): row for key, *row in zip(*shown, strict=True)}
                for bad in batch.bad:
                    made[files[k][bad.row]["key"]] = (bad.reason, bad.text, bad.column)
        return made

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(file_schemas, "SAMPLE_LINES", 3)
        whole = read(lines)
        assert whole == {key: row for k in lines for key, row in read([k]).items()}
        shuffled = random.Random(seed).sample(lines, len(lines))
        assert whole == read(shuffled)
        assert whole == read(*(part for part in (shuffled[:cut], shuffled[cut:]) if part))


def column_shown(cells: pa.Array, name: str) -> list[str | None]:
    """Cells as text; lists, and cells among lists, as JSON."""
    if is_binary(cells.type):
        values = [None if c is None else json.loads(c) for c in cells.to_pylist()]
        return [json.dumps(v) if isinstance(v, list) else value_text(v) for v in values]
    if is_list(cells.type):
        return [None if c is None else json.dumps(c) for c in cells.to_pylist()]
    return column_text(cells, name)[0].to_list()


def test_a_mistake_is_what_fits_no_value_of_a_column(tmp_path: Path) -> None:
    jsonl(tmp_path, "a.jsonl", {"n": "x", "o": {"k": 1}}, {"n": None}, {"m": 1})
    _, _, problems = found(tmp_path, columns={"s": "n + 1", "t": "COALESCE(o, 1)"})
    assert [p.split(":")[0] for p in problems] == [
        "log.source.columns.s",
        "log.source.columns.t",
    ]
    assert "Column 'n' is text" in problems[0]
    assert 'got log/a.jsonl row 0: {"k": 1}, expected text,' in problems[1]
    assert problems[1].endswith('Name a field, such as "o.k".')
    jsonl(tmp_path, "b.jsonl", {"n": 5, "o": 7})
    assert found(tmp_path, columns={"s": "n + 1", "t": "COALESCE(o, 1)"})[2] == []
    rows = texts(tmp_path, {"s": "n + 1", "t": "COALESCE(o, 1)"})
    assert rows == {
        "log/a.jsonl": [(None, "1"), (None, "1"), ("o", '{"k": 1}')],
        "log/b.jsonl": [("6", "7")],
    }
    assert "is no condition" in found(tmp_path, where="'constant'")[2][0]
    assert found(tmp_path, where="m + 1")[2][0].startswith("log.source.where is no condition")


def test_a_mistake_says_how_many_rows_it_concerns(tmp_path: Path) -> None:
    jsonl(tmp_path, "a.jsonl", *[{"n": 1}] * 12, {"n": 1, "disc": "N/A"})
    _, _, problems = found(tmp_path, where="disc IS NULL OR disc > 0")
    assert "in all sampled rows with such values, 1 of 13" in problems[0]
    jsonl(tmp_path, "a.jsonl", {"n": 1, "disc": "N/A"})
    assert "sampled rows" not in found(tmp_path, where="disc IS NULL OR disc > 0")[2][0]


def test_blank_texts_are_checked_as_they_are_read(tmp_path: Path) -> None:
    """A column of blank texts alone is one of texts, unless the expression takes none."""
    jsonl(tmp_path, "a.jsonl", {"n": "", "r": ""}, {"n": 5, "r": ""})
    source = {"columns": {"m": "CASE WHEN r = '' THEN 1 ELSE 0 END + COALESCE(n, 0)", "t": "r"}}
    assert texts(tmp_path, source["columns"]) == {"log/a.jsonl": [("1", None), ("6", None)]}
    _, schema, problems = found(tmp_path, **source, where="t > 1")
    assert (problems, schema.types["t"]) == ([], pa.large_string())


def test_very_many_combinations_of_types(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The most frequent ones are checked."""
    monkeypatch.setattr(expressions, "_MAX_COMBINATIONS", 2)
    rows = [{"n": 1}, {"n": 1}, {"n": 1.5}, {"n": 1.5}, {"n": 1.5}, {"n": True}]
    jsonl(tmp_path, "a.jsonl", *rows, {"n": "x", "m": 1})
    assert found(tmp_path, columns={"s": "n + COALESCE(m, 0)"})[2] == []
    assert found(tmp_path, where="UPPER(n) = 'X'")[2][0].startswith("log.source.where: ")
