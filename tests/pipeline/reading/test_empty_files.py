"""Files of no bytes are ignored if their source says so."""

import gzip
from pathlib import Path

import pytest
import zstandard

from heterrec_pipeline.reading.empty_files import filled_files, skipped
from heterrec_pipeline.reading.files import input_files, without_empty
from heterrec_schemas.errors import DataError
from heterrec_schemas.feature_spec import Source

FILES = {
    "a.csv": b"",
    "b.csv.gz": gzip.compress(b""),
    "c.csv.zst": zstandard.compress(b""),
    "d.csv.gz": b"",
    "e.parquet": b"",
    "f.csv": b"header\n",
    "g.csv.gz": b"damaged",
    "h.csv.gz": gzip.compress(b"header\n1\n"),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, data in FILES.items():
        (tmp_path / name).write_bytes(data)
    return tmp_path


def test_empty_files_are_passed_over_and_named(folder: Path) -> None:
    source = Source(path="*", empty_files="skip")
    found = filled_files(source, input_files(source, str(folder), "items"), "items")
    assert [f.name for f in found.files] == ["f.csv", "g.csv.gz", "h.csv.gz"]
    assert skipped({"items": found.empty, "users": ()}) == [
        "items: ignored 5 empty files: a.csv, b.csv.gz, c.csv.zst and 2 more (empty_files: skip)"
    ]


def test_they_stay_unless_they_are_skipped(folder: Path) -> None:
    source = Source(path="*")
    files = input_files(source, str(folder), "items")
    assert filled_files(source, files, "items") == (files, ())


def test_no_other_file_is_an_error(folder: Path) -> None:
    source = Source(path=["a.csv", "b.csv.gz"], empty_files="skip")
    with pytest.raises(DataError) as error:
        filled_files(source, input_files(source, str(folder), "log"), "log")
    assert error.value.message == (
        "log: all files are empty: got 2 empty files: a.csv, b.csv.gz, expected at least one file that is not. Check "
        "source.path in the spec, and whatever writes the files."
    )


def test_skipping_is_suggested_only_where_it_helps(folder: Path) -> None:
    (folder / "blank.csv").write_bytes(b"\n")

    def advice(name: str, **source: str) -> str:
        (file,) = input_files(Source(path=name, **source), str(folder), "log")
        return without_empty(file)

    skip = "set empty_files: skip on its source."
    assert [advice(n) for n in ("a.csv", "b.csv.gz", "e.parquet")] == [skip] * 3
    assert advice("blank.csv") == "exclude it from source.path."
    assert advice("a.csv", empty_files="skip") == "exclude it from source.path."
