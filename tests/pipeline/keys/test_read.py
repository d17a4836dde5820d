from pathlib import Path

import pyarrow as pa
import pytest
from pieces import sorted_out, table_job, written_file

from heterrec_pipeline.keys.read import SEEN, UNUSABLE, read_keys
from heterrec_pipeline.reading.files import Split
from heterrec_pipeline.reading.key_text import key_text
from heterrec_pipeline.wiring.reports import COUNTS, REJECTS
from heterrec_schemas.errors import SchemaMismatchError
from heterrec_schemas.values import Seen


def test_float_keys_must_be_whole() -> None:
    text, seen = key_text(pa.array([1.0, None, -0.0, 2e3]), "item", "a.parquet")
    assert (text.to_list(), seen) == (["1", None, "0", "2000"], Seen.WHOLE)
    for odd, shown in ((1.5, "1.5"), (1e-7, "1e-07"), (float("inf"), "inf")):
        with pytest.raises(SchemaMismatchError, match=f"a.parquet: key column 'item'.*got {shown}"):
            key_text(pa.array([1.0, odd]), "item", "a.parquet")


def test_rows_without_a_key_are_set_aside(tmp_path: Path) -> None:
    file = written_file(tmp_path / "a.csv", b"name,item\nx,1\ny,  \nz\nw,2,3\nv, 1\n")
    main, tagged = sorted_out(read_keys(table_job(), Split(file)))
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
    _, silent = sorted_out(read_keys(table_job(), Split(file), from_log=True))
    assert SEEN not in silent


def test_a_batch_without_a_key_gives_an_example_of_its_rows(tmp_path: Path) -> None:
    file = written_file(tmp_path / "a.csv", b"item,name\n ,x\n,y\n")
    main, tagged = sorted_out(read_keys(table_job(), Split(file)))
    assert main == []
    assert tagged[UNUSABLE] == ["a.csv row 0: missing_key, ' '"]


def test_keys_name_their_rows(tmp_path: Path) -> None:
    lines = ["item,kind", "a,x", "b,y", ",z", "a,x", "c,x", "a,w", "d,y"]
    split = Split(written_file(tmp_path / "items.csv", "\n".join(lines).encode()))
    ((found,), _) = sorted_out(read_keys(table_job(), split))
    assert found["key"].to_pylist() == ["a", "b", "a", "c", "a", "d"]
    assert found["row"].to_pylist() == [0, 1, 3, 4, 5, 6]
    assert set(found["split"].to_pylist()) == {split.number}
