"""Lists of what is erased, and the batches that rows leave."""

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pieces import bad_text_array, written_file

from heterrec_pipeline.reading.erased import ErasedList, Gate, Met, erased, live, read_live
from heterrec_pipeline.reading.files import InputFile, Split
from heterrec_pipeline.reading.read import read_split
from heterrec_schemas.errors import DataError


def parquet_file(path: Path, column: pa.Array) -> InputFile:
    pq.write_table(pa.table({"key": column}), path)
    return InputFile(str(path), path.name, path.stat().st_size, "parquet")


def listed(*files: InputFile) -> ErasedList:
    return ErasedList("erase.users", "key", files)


def texts(*files: InputFile) -> list[str]:
    return sorted(erased(listed(*files)).texts)


def test_a_list_has_cleaned_texts_of_every_format(tmp_path: Path) -> None:
    csv = written_file(tmp_path / "a.csv", "key,why\n b ,x\ncafe\u0301,\n\n,z\n".encode())
    packed = written_file(tmp_path / "b.csv.gz", gzip.compress(b"key\n7\n7\n"))
    lines = [{"key": 8}, {"key": None}, {}, {"key": 9.0}, {"key": "b"}]
    text = "".join(f"{json.dumps(line)}\n" for line in lines)
    jsonl = written_file(tmp_path / "c.jsonl", text.encode())
    floats = parquet_file(tmp_path / "d.parquet", pa.array([1.0, None, 2.5]))
    assert texts(csv) == ["b", "caf\u00e9"]
    assert texts(csv, packed, jsonl, floats) == ["1", "2.5", "7", "8", "9", "b", "caf\u00e9"]
    assert texts(written_file(tmp_path / "e.csv", b"key\n")) == []
    assert texts(written_file(tmp_path / "f.jsonl", b"")) == []
    assert texts(parquet_file(tmp_path / "g.parquet", pa.array([], pa.int64()))) == []


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("too_many.csv", b"key,why\nsecret,a\nsecret,a,b\n"),
        ("too_few.csv", b"key,why\nsecret,a\nsecret\n"),
        ("no_json.jsonl", b'{"key": "secret"}\n{"key": "secret\n'),
        ("no_object.jsonl", b'{"key": "secret"}\n"secret"\n'),
    ],
)
def test_a_row_that_cannot_be_read_stops_the_build(
    tmp_path: Path, name: str, content: bytes
) -> None:
    with pytest.raises(DataError) as error:
        erased(listed(written_file(tmp_path / name, content)))
    assert f"1 bad row in {name}, the first is row 1: malformed_row" in error.value.message
    assert "secret" not in error.value.message
    assert error.value.exit_code == 2


def test_a_text_that_is_not_utf8_stops_the_build(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the first is row 1: not_utf8"):
        erased(listed(parquet_file(tmp_path / "a.parquet", bad_text_array(b"a", b"secret\xff"))))
    with pytest.raises(DataError, match="UTF-8"):
        erased(listed(written_file(tmp_path / "b.csv", b"key\nsecret\xff\n")))


LOG = b"user,item,time\na,1,5\n b ,1,6\nb,2\na,3,7,8\n,1,9\na,2,3\n"


def rows_of(split: Split, gate: Gate, *columns: str) -> list[Any]:
    return sorted(
        (row, *cells.values())
        for batch in read_live(split, columns, gate)
        for row, cells in zip(batch.rows.tolist(), batch.table.to_pylist(), strict=True)
    )


def test_rows_with_a_listed_key_are_gone(tmp_path: Path) -> None:
    split = Split(written_file(tmp_path / "log.csv", LOG))
    users = listed(written_file(tmp_path / "users.csv", b"key\nb\nz\n"))
    items = listed(written_file(tmp_path / "items.csv", b"key\n2\n"))
    gate = Gate((("user", users), ("item", items)))
    assert rows_of(split, Gate(), "time") == [(0, "5"), (1, "6"), (2, None), (4, "9"), (5, "3")]
    assert rows_of(split, gate, "time") == [(0, "5"), (4, "9")]
    (batch,) = read_live(split, ["user", "time"], gate)
    assert batch.table.schema.names == ["user", "time"]
    assert batch.erased == 3
    met: Met = {}
    assert len(list(read_live(split, ["time"], gate, met))) == 1
    assert met == {"erase.users": {"b", "2"}}  # both lists have one name here
    assert batch.short == []  # row 2 is erased, and nothing else
    assert [(b.row, b.text) for b in batch.bad] == [(3, None)]  # its user is not known
    assert sum(b.erased for b in read_live(split, ["user"], Gate())) == 0


def test_no_reject_repeats_what_may_be_erased(tmp_path: Path) -> None:
    path = tmp_path / "items.parquet"
    bad = bad_text_array(b"x\xff", b"y", b"z\xff")
    pq.write_table(pa.table({"key": ["1", "2", "3"], "brand": bad, "kind": bad}), path)
    split = Split(InputFile(str(path), path.name, path.stat().st_size, "parquet"))
    keys = listed(written_file(tmp_path / "gone.csv", b"key\n3\n"))
    (batch,) = read_split(split, ["key", "brand", "kind"])
    assert batch.bad_text["brand"] == {0: "x\\xff", 2: "z\\xff"}
    left = live(batch, Gate((("key", keys),), ("brand",)))
    assert left.bad_text == {"brand": {0: None}, "kind": {0: "x\\xff"}}
    assert left.rows.tolist() == [0, 1]
