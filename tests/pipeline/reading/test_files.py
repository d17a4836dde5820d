import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from heterrec_pipeline.reading.files import (
    TAIL_BYTES,
    InputFile,
    Split,
    changed_input,
    input_files,
    physical_files,
    split_file,
    unreadable,
)
from heterrec_schemas.errors import DataError, RunError, SpecError
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


@pytest.mark.parametrize("name", ["raw [v1]", "q*", "a?b", "[!x]", "**"])
def test_the_input_folder_is_never_a_pattern(tmp_path: Path, name: str) -> None:
    for sibling in (name, "raw v", "qq", "a-b", "y"):
        (tmp_path / sibling / "log").mkdir(parents=True)
        for file in ("a.csv", "log/b.csv"):
            (tmp_path / sibling / file).write_text(sibling)
    folder = tmp_path / name
    assert names(folder, ["a.csv", "?.csv", "**/*.csv", "log/*"]) == ["a.csv", "log/b.csv"]
    (found,) = input_files(Source(path="*/b.csv"), f"{folder}/", "items")
    assert Path(found.path).read_text() == name


def test_a_name_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"a\xff.csv")).write_bytes(b"x")
    with pytest.raises(
        DataError,
        match=r"items: the name of an input file is not UTF-8: got .*a\\xff\.csv\. Rename",
    ):
        names(tmp_path, "*.csv")


def test_a_file_knows_its_size_format_and_compression(folder: Path) -> None:
    source = Source(path="c.jsonl.gz")
    (packed,) = input_files(source, str(folder), "items")
    assert packed.version
    path = str(folder / "c.jsonl.gz")
    assert packed == InputFile(path, "c.jsonl.gz", 10, "jsonl", packed.version, source=source)
    assert packed.compression == "gzip"
    (plain,) = input_files(Source(path="f.txt", format="csv"), str(folder), "items")
    assert (plain.format, plain.compression) == ("csv", None)
    assert InputFile("x/Y.CSV.ZST", "", 0, "csv").compression == "zstd"


@pytest.mark.parametrize(
    "change",
    [
        {"source": Source(path="a.csv", where="a = 1")},
        {"keys": InputFile("/k.csv", "k.csv", 1, "csv")},
        {"numbers": ("a",)},
        {"vectors": ("a",)},
        {"required": ("a",)},
        {"dates_as_times": ("a",)},
        {"known_types": (("a", pa.int64()),)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_file_that_is_read_in_another_way_is_not_the_same(change: dict[str, Any]) -> None:
    file = InputFile("/a.csv", "a.csv", 1, "csv", source=Source(path="a.csv"))
    other = replace(file, **change)
    assert len({file, other, replace(other)}) == 2


def test_a_file_of_several_tables_is_one_input(folder: Path) -> None:
    growing = input_files(Source(path="?.csv", append_only=True), str(folder), "interactions")
    fixed = input_files(Source(path="a.csv", where="a = 1"), str(folder), "items")
    keys = InputFile(str(folder / "b.csv"), "b.csv", 5, "csv")
    every = physical_files([*growing, replace(fixed[0], keys=keys)])
    assert every == (replace(fixed[0], keys=keys), keys)
    assert physical_files(growing) == growing


def test_what_matches_nothing_is_refused_with_what_is_there(folder: Path) -> None:
    with pytest.raises(DataError, match=r"users: no file matches 'u\*\.csv'.*a\.csv, b\.csv, c\."):
        input_files(Source(path="u*.csv"), str(folder), "users")
    with pytest.raises(DataError, match=r"got no folder .*/nowhere"):
        names(folder, "nowhere/a.csv")
    os.mkfifo(folder / "pipe.csv")
    with pytest.raises(DataError, match=r"got pipe\.csv, which is a device, pipe or socket"):
        names(folder, "pipe.csv")
    with pytest.raises(SpecError, match=r"f\.txt is not clear"):
        names(folder, "f.txt")


def test_a_folder_stands_for_the_data_files_below_it(folder: Path) -> None:
    for name in ("_SUCCESS", ".x.csv.crc", "_delta_log/0.json", "deep/_tmp/y.csv"):
        path = folder / "sub" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    below = ["sub/d.csv", "sub/deep/e.csv"]
    for path in (
        "sub",
        "sub/",
        "./sub",
        "su*",
        str(folder / "sub"),
        f"file://{folder}/sub",
        "{sub,no}",
    ):
        assert names(folder, path) == below, path
    assert names(folder / "sub", ".") == names(folder / "sub", "**") == ["d.csv", "deep/e.csv"]
    with pytest.raises(
        SpecError, match=r"f\.txt is not clear.*It is in the folder \..*pattern, such as \./\*\*/"
    ):
        names(folder, ".")
    (folder / "empty").mkdir()
    with pytest.raises(DataError, match="no file matches 'empty'"):
        names(folder, "empty")


def test_braces_stand_for_either_and_a_file_of_that_name_comes_first(folder: Path) -> None:
    assert names(folder, "{a,b,zz}.csv") == ["a.csv", "b.csv"]
    assert names(folder, "{a,sub/{d,deep/e}}.{csv,parquet}") == [
        *("a.csv", "sub/d.csv", "sub/deep/e.csv")
    ]
    with pytest.raises(DataError, match=r"braces of .* mean more than 10,000 paths"):
        names(folder, "{a,b}" * 40)
    (folder / "{a,b}.csv").write_text("x")
    assert names(folder, "{a,b}.csv") == ["{a,b}.csv"]


def test_a_text_file_is_one_split(folder: Path) -> None:
    (file,) = input_files(Source(path="a.csv"), str(folder), "items")
    assert list(split_file(file)) == [Split(file, None, 0)]


@pytest.mark.parametrize(
    ("data", "read"),
    [
        (b"a\n1\n2\n", b"a\n1\n2\n"),
        (b"a\n1\n2", b"a\n1\n"),
        (b"a", b""),
        (b"", b""),
        (b"a\n" + b"x" * (2 * TAIL_BYTES + 3), b"a\n"),
        (b"a\n" + b"x" * (TAIL_BYTES - 2), b"a\n"),
        (b"a\n" + b"x" * (TAIL_BYTES - 1), b"a\n"),
        (
            b"x" * (2 * TAIL_BYTES - 1) + b"\n" + b"y" * TAIL_BYTES,
            b"x" * (2 * TAIL_BYTES - 1) + b"\n",
        ),
    ],
)
def test_a_growing_file_is_read_up_to_its_last_whole_line(
    tmp_path: Path, data: bytes, read: bytes
) -> None:
    (tmp_path / "log.csv").write_bytes(data)
    (file,) = input_files(Source(path="log.csv", append_only=True), str(tmp_path), "interactions")
    assert (file.bytes, file.stop) == (len(read), len(read))
    (whole,) = input_files(Source(path="log.csv"), str(tmp_path), "interactions")
    assert (whole.bytes, whole.stop) == (len(data), None)


@pytest.mark.parametrize("name", ["a.parquet", "a.csv.gz", "a.jsonl.zst"])
def test_only_plain_text_can_grow(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(SpecError, match=rf"items: {name} cannot be read while rows are appended"):
        input_files(Source(path=name, append_only=True), str(tmp_path), "items")


def test_what_has_changed_is_told(tmp_path: Path) -> None:
    for k in range(5):
        (tmp_path / f"{k}.csv").write_text("a\n1\n")
    files = input_files(Source(path="*.csv"), str(tmp_path), "items")
    assert changed_input(files) is None
    os.utime(tmp_path / "1.csv", (5, 5))
    (tmp_path / "2.csv").unlink()
    error = changed_input(files)
    assert error is not None
    assert error.exit_code == 1
    assert "1.csv: got 4 bytes of 1970-01-01T00:00:05.000000000Z, expected 4 bytes of " in str(
        error
    )
    assert "; 2.csv is gone. Run again when" in str(error)
    for k in (0, 3, 4):
        (tmp_path / f"{k}.csv").unlink()
    assert "1.csv: got 4 bytes" in str(error := changed_input(files))
    assert "2.csv is gone; and 2 more" in str(error)


def test_a_file_that_cannot_be_read_because_it_changed_is_told_as_that(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a\n1\n")
    (file,) = input_files(Source(path="a.csv"), str(tmp_path), "items")
    assert isinstance(unreadable(file, "some error"), DataError)
    (tmp_path / "a.csv").unlink()
    assert isinstance(unreadable(file, "some error"), RunError)
    never_listed = replace(file, version="")
    assert isinstance(unreadable(never_listed, "some error"), DataError)


def test_marker_files_are_no_data(tmp_path: Path) -> None:
    names = ("a.csv", "_SUCCESS", "_old.csv", "_temporary/b.csv", "sub/c.csv")
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x\n")

    def found(pattern: str) -> list[str]:
        return [f.name for f in input_files(Source(path=pattern), str(tmp_path), "log")]

    assert found("*") == ["a.csv"]
    assert found("**") == ["a.csv", "sub/c.csv"]
    assert found("_old.csv") == ["_old.csv"]
    assert found("_*.csv") == ["_old.csv"]
    assert found("_temporary/*") == ["_temporary/b.csv"]


def test_partitions_that_begin_with_an_underscore_are_data(tmp_path: Path) -> None:
    names = ("_dt=1/a.csv", "_dt=1/_SUCCESS", "_dt=2/_tmp/b.csv", "_log/_h=1/c.csv", "_d=3.csv")
    for name in (*names, "_delta_log/x=1/d.csv", ".dt=4/e.csv"):
        path = tmp_path / "log" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x\n")

    def found(pattern: str) -> list[str]:
        return [f.name for f in input_files(Source(path=pattern), str(tmp_path), "log")]

    assert found("log") == found("log/**") == found("log/_dt=*") == ["log/_dt=1/a.csv"]
    assert found("log/_d=3.csv") == ["log/_d=3.csv"]
    assert found("log/_log") == ["log/_log/_h=1/c.csv"]
