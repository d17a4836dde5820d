import json
from datetime import date
from itertools import islice, permutations
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pieces import written_file

from heterrec_pipeline.checking import file_schemas, schemas
from heterrec_pipeline.checking.schemas import TableSchema, combined, schemas_of
from heterrec_pipeline.reading.files import InputFile
from heterrec_schemas.errors import HeterrecError


def of_files(*files: InputFile) -> tuple[TableSchema, list[str]]:
    problems: list[HeterrecError] = []
    return combined(files, schemas_of(files, problems)), [p.message for p in problems]


def parquet(folder: Path, name: str, **columns: pa.Array) -> InputFile:
    pq.write_table(pa.table(columns), folder / name)
    return InputFile(str(folder / name), name, 1, "parquet")


def jsonl(folder: Path, name: str, *rows: object) -> InputFile:
    return written_file(folder / name, "\n".join(map(json.dumps, rows)).encode())


def test_csv_columns_are_text(tmp_path: Path) -> None:
    schema, problems = of_files(written_file(tmp_path / "a.csv", b"a,b\n1,2\n"))
    assert (schema.types, problems) == ({"a": pa.string(), "b": pa.string()}, [])
    assert schema.has("a")
    assert not schema.has("c")


def test_types_of_one_family_go_together(tmp_path: Path) -> None:
    one = parquet(
        tmp_path,
        "1.parquet",
        n=pa.array([1]),
        w=pa.array(["a"]),
        v=pa.array([[1.0]]),
        z=pa.nulls(1),
    )
    two = parquet(
        tmp_path,
        "2.parquet",
        n=pa.array([1.5]),
        w=pa.array(["a"]).dictionary_encode(),
        v=pa.array([[1]], pa.large_list(pa.int8())),
        z=pa.array([True]),
    )
    schema, problems = of_files(one, two)
    assert problems == []
    assert schema.types["z"] == pa.bool_(), "a column of nulls says nothing"
    three = parquet(tmp_path, "3.parquet", n=pa.array(["1"]), w=pa.array(["a"]))
    schema, problems = of_files(one, three)
    assert problems == [], "no error unless the spec uses the column"
    assert {c: error.message for c, error in schema.differing.items()} == {
        "n": "column 'n' has different types: 1.parquet and 3.parquet: got int64 and string, "
        "expected one type in all files of a source. "
        'Write into the source columns: {n: "CAST(n AS VARCHAR)"}, or CAST(... AS DOUBLE) if it holds numbers.'
    }


def test_a_column_that_a_file_lacks_is_named_with_the_file(tmp_path: Path) -> None:
    files = [
        parquet(tmp_path, "1.parquet", a=pa.array([1]), b=pa.array([1])),
        parquet(tmp_path, "2.parquet", a=pa.array([1])),
        parquet(tmp_path, "3.parquet", a=pa.array([1]), c=pa.array(["x"])),
        jsonl(tmp_path, "4.jsonl", {"a": 1, "c": "x"}),
        jsonl(tmp_path, "5.jsonl"),
        parquet(tmp_path, "6.parquet"),
    ]
    schema, problems = of_files(*files)
    assert (set(schema.types), problems) == ({"a", "b", "c"}, [])
    assert [schema.without(c) for c in "abc"] == [None, "2.parquet", "1.parquet"]
    assert schema.types["c"] == pa.string()


def test_a_part_without_rows_has_no_types(tmp_path: Path) -> None:
    """As pandas writes it."""
    empty = parquet(tmp_path, "1.parquet", a=pa.array([], pa.float64()), b=pa.nulls(0))
    whole = parquet(tmp_path, "2.parquet", a=pa.array(["x"]), b=pa.array([1]))
    schema, problems = of_files(empty, whole)
    assert problems == []
    assert (schema.types, schema.differing) == ({"a": pa.string(), "b": pa.int64()}, {})
    assert of_files(empty)[0].types == {"a": pa.float64(), "b": pa.null()}, "if there is no other"


def test_neither_the_order_of_files_nor_their_number_decides(tmp_path: Path) -> None:
    columns = [
        {"a": pa.array([1], pa.int8()), "b": pa.array(["x"]), "d": pa.array([date(2026, 1, 1)])},
        {"a": pa.array([2.5]), "b": pa.array([1]), "c": pa.array([[1]])},
        {"c": pa.array([[]], pa.list_(pa.null())), "d": pa.array([0], pa.timestamp("ms", "UTC"))},
        {"a": pa.nulls(1), "b": pa.array(["x"]).dictionary_encode(), "c": pa.array([[2.5]])},
    ]
    files = [parquet(tmp_path, f"{k}.parquet", **c) for k, c in enumerate(columns)]
    files += [jsonl(tmp_path, "4.jsonl", {"a": 1, "e": "x"}), jsonl(tmp_path, "5.jsonl", {"e": 2})]
    found = [of_files(*order)[0] for order in islice(permutations(files), 0, None, 41)]
    assert all(s.types == found[0].types for s in found)
    assert found[0].types == {
        "a": pa.float64(),
        "b": pa.string(),
        "c": pa.list_(pa.float64()),
        "d": pa.timestamp("ms", "UTC"),
        "e": pa.string(),
    }
    assert {s.differing["b"].message for s in found} == {found[0].differing["b"].message}
    assert all(set(s.differing) == {"b"} for s in found)


def test_json_lines_have_the_columns_of_any_row(tmp_path: Path) -> None:
    one = jsonl(tmp_path, "1.jsonl", {"a": 1}, {"a": 2.5, "b": None}, [1], {"c": [["x"]]})
    two = jsonl(tmp_path, "2.jsonl", {"b": "x", "d": True})
    schema, problems = of_files(one, two)
    assert problems == []
    assert schema.types == {
        "a": pa.float64(),
        "b": pa.string(),
        "c": pa.list_(pa.list_(pa.string())),
        "d": pa.bool_(),
    }
    assert not schema.has("e")


def test_odd_cells_of_json_lines_are_pointed_at(tmp_path: Path) -> None:
    rows = [{"a": [1.0], "b": 1}, {"a": [2.0], "b": {"x": "é"}}, {"a": "odd", "b": None}]
    schema, _ = of_files(jsonl(tmp_path, "1.jsonl", *rows))
    assert schema.mixed_cells == {"a": '1.jsonl row 2: "odd"', "b": "1.jsonl row 0: 1"}
    assert pa.types.is_struct(schema.types["b"])


def test_the_rest_of_a_long_file_is_searched_for_a_column(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_schemas, "SAMPLE_LINES", 3)
    rows: list[object] = [{"a": k} for k in range(9)]
    file = jsonl(tmp_path, "long.jsonl", *rows, {"late": 1})
    schema, _ = of_files(file)
    assert (list(schema.types), schema.sampled) == (["a"], (file,))
    assert schema.has("late")
    assert not schema.has("absent")
    assert schema.has("spät"), "which may be written with escapes"
    short, _ = of_files(jsonl(tmp_path, "short.jsonl", *rows[:3]))
    assert (short.sampled, short.has("late")) == ((), False)


def test_files_that_cannot_be_read_do_not_hide_the_others(tmp_path: Path) -> None:
    broken = written_file(tmp_path / "0.parquet", b"PAR1 not quite")
    empty = written_file(tmp_path / "1.csv", b"")
    good = written_file(tmp_path / "2.csv", b"a\n1\n")
    schema, problems = of_files(broken, empty, good)
    assert list(schema.types) == ["a"]
    assert len(problems) == 2
    assert "0.parquet cannot be read" in problems[0]
    assert "1.csv is empty" in problems[1]


def test_of_very_many_files_some_are_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schemas, "MAX_FILES", 2)
    files = [written_file(tmp_path / "0.csv", b"a\n"), written_file(tmp_path / "2.csv", b"a,b\n")]
    files.insert(1, InputFile("/absent.csv", "1.csv", 1, "csv"))
    schema, problems = of_files(*files)
    assert (set(schema.types), problems) == ({"a", "b"}, []), "the first and the last file"
    assert not schema.has("late")
    files[1] = written_file(tmp_path / "1.csv", b"a,late\n")
    assert of_files(*files)[0].has("late"), "the others are searched before a column is refused"
    assert of_files() == (TableSchema({}), [])


@pytest.mark.parametrize("cell", ["[" * 990 + "]" * 990, '{"a":' * 990 + "1" + "}" * 990])
def test_a_cell_of_very_many_levels_is_an_error_only_if_it_is_used(
    tmp_path: Path, cell: str
) -> None:
    file = written_file(tmp_path / "a.jsonl", f'{{"a": 1, "odd": {cell}}}\n'.encode())
    schema, problems = of_files(file)
    assert problems == []
    assert schema.types["a"] == pa.int64()
    assert schema.types["odd"] == pa.struct([])
    assert schema.mixed_cells["odd"] == "a.jsonl row 0: a value of too many levels"
