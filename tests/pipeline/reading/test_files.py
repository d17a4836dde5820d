from pathlib import Path

import pytest

from heterrec_pipeline.reading.files import InputFile, Split, input_files, split_file
from heterrec_schemas.errors import DataError, SpecError
from heterrec_schemas.feature_spec import Source


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in (
        "b.csv",
        "a.csv",
        "c.jsonl.gz",
        "sub/d.csv",
        "sub/deep/e.csv",
        "odd[1].csv",
        "f.txt",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * len(name))
    return tmp_path


def names(folder: Path, path: str | list[str], **more: object) -> list[str]:
    source = Source.model_validate({"path": path, **more})
    return [f.name for f in input_files(source, str(folder), "items")]


def test_files_are_sorted_and_named_below_the_input(folder: Path) -> None:
    assert names(folder, "*.csv") == ["a.csv", "b.csv", "odd[1].csv"]
    assert names(folder, ["b.csv", "?.csv", "a.csv"]) == ["a.csv", "b.csv"], "each once"
    assert names(folder, "**/*.csv") == [
        "a.csv",
        "b.csv",
        "odd[1].csv",
        "sub/d.csv",
        "sub/deep/e.csv",
    ]
    assert names(folder, "odd[1].csv") == ["odd[1].csv"], "a file's own name is no pattern"
    assert names(folder, str(folder / "sub/*.csv")) == ["sub/d.csv"], "absolute ones too"


def test_a_file_knows_its_size_format_and_compression(folder: Path) -> None:
    (packed,) = input_files(Source(path="c.jsonl.gz"), str(folder), "items")
    assert packed.version
    path = str(folder / "c.jsonl.gz")
    assert packed == InputFile(path, "c.jsonl.gz", 10, "jsonl", packed.version)
    assert packed.compression == "gzip"
    (plain,) = input_files(Source(path="f.txt", format="csv"), str(folder), "items")
    assert (plain.format, plain.compression) == ("csv", None)
    assert InputFile("x/Y.CSV.ZST", "", 0, "csv").compression == "zstd"


def test_what_matches_nothing_is_refused_with_what_is_there(folder: Path) -> None:
    with pytest.raises(DataError, match=r"users: no file matches 'u\*\.csv'.*a\.csv, b\.csv, c\."):
        input_files(Source(path="u*.csv"), str(folder), "users")
    with pytest.raises(DataError, match=r"got no folder .*/nowhere"):
        names(folder, "nowhere/a.csv")
    with pytest.raises(DataError, match="no file matches 'sub'"):
        names(folder, "sub")
    with pytest.raises(SpecError, match=r"f\.txt is not clear"):
        names(folder, "f.txt")


def test_a_text_file_is_one_split(folder: Path) -> None:
    (file,) = input_files(Source(path="a.csv"), str(folder), "items")
    assert list(split_file(file)) == [Split(file, None, 0)]
