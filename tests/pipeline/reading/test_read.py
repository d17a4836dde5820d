import itertools
import threading
from collections.abc import Generator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import cast

import fastavro
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.orc as orc
import pyarrow.parquet as pq
import pytest
from pieces import written_file

from heterrec_pipeline.files import storage
from heterrec_pipeline.reading.batches import BadRow, ReadBatch, check_columns, one_chunk
from heterrec_pipeline.reading.files import InputFile, Split, split_file
from heterrec_pipeline.reading.prefetch import prefetched
from heterrec_pipeline.reading.read import (
    ROW,
    file_of,
    located,
    read_split,
    short_rows,
    without_rows,
)
from heterrec_schemas.errors import DataError, SchemaMismatchError
from heterrec_schemas.feature_spec import Format, Source
from heterrec_schemas.rejects import Reason

SPLIT = Split(InputFile("/in/ä.csv", "ä.csv", 1, "csv"))


def test_every_format_gives_the_wanted_columns(tmp_path: Path) -> None:
    table = pa.table({"a": ["1", "2"], "b": ["x", "y"]})
    pq.write_table(table, tmp_path / "t.parquet")
    parquet = InputFile(str(tmp_path / "t.parquet"), "t.parquet", 1, "parquet")
    csv = written_file(tmp_path / "t.csv", b"a,b\n1,x\n2,y\n")
    jsonl = written_file(tmp_path / "t.jsonl", b'{"a": "1", "b": "x"}\n{"a": "2", "b": "y"}\n')
    for file in (parquet, csv, jsonl):
        (batch,) = read_split(Split(file), ["b", "a", "b"])
        assert batch.table.to_pydict() == {"b": ["x", "y"], "a": ["1", "2"]}, "each column once"
        assert batch.rows.tolist() == [0, 1]


def batch_of(rows: list[int], *short: BadRow) -> ReadBatch:
    table = pa.table({"a": [str(r) for r in rows]})
    return ReadBatch(table, np.array(rows, dtype=np.int64), [], short)


def test_a_located_table_knows_its_file_and_rows() -> None:
    plain = located(batch_of([4, 7]), SPLIT)
    assert plain[ROW].to_pylist() == [4, 7]
    assert (file_of(plain), short_rows(plain)) == ("ä.csv", {})
    short = located(batch_of([4, 7], BadRow(7, Reason.MALFORMED_ROW, 'é"')), SPLIT)
    assert (file_of(short), short_rows(short)) == ("ä.csv", {7: 'é"'})


def test_rows_are_left_out_by_number() -> None:
    table = located(batch_of([4, 7, 9]), SPLIT)
    kept = without_rows(table, pl.Series([9, 4, 5]))
    assert kept[ROW].to_pylist() == [7]
    assert file_of(kept) == "ä.csv"
    assert without_rows(table, pl.Series([], dtype=pl.Int64)) is table
    assert without_rows(table, pl.Series([5])).equals(table)


def test_a_column_of_many_chunks_becomes_one() -> None:
    table = pa.concat_tables([pa.table({"a": [1, 2]}), pa.table({"a": [3]})])
    assert one_chunk(table, "a").equals(pa.array([1, 2, 3]))
    empty = pa.table({"a": pa.chunked_array([], pa.int64())})
    assert one_chunk(empty, "a").equals(pa.array([], pa.int64()))


def test_a_missing_column_suggests_near_ones() -> None:
    with pytest.raises(SchemaMismatchError) as error:
        check_columns(["brnad"], ["brand", "price"], "items.csv")
    assert error.value.message == "items.csv has no column 'brnad'. Did you mean 'brand'?"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("alice@x.org,shoe\n", ""),
        ("usera,shoe\n", ""),
        ("alice;shoe\n", " The first line, of 10 characters, is one column"),
        ("USER,shoe\n", " Did you mean 'USER'?"),
    ],
)
def test_a_reader_does_not_repeat_the_first_line_of_a_csv_file(
    tmp_path: Path, text: str, words: str
) -> None:
    """It may be data that the spec erases."""
    file = written_file(tmp_path / "log.csv", text.encode())
    with pytest.raises(SchemaMismatchError) as error:
        list(read_split(next(iter(split_file(file))), ["user"]))
    assert error.value.message.startswith(
        f"log.csv has no column 'user'{'.' if words else ''}{words}"
    )
    assert not any(cell in error.value.message for cell in ("alice", "usera", "shoe"))


class PanicException(BaseException):
    """As pyo3 raises where Rust code panics: no Exception."""


@pytest.mark.parametrize("error", [PanicException("unwrap on None"), ZeroDivisionError("zero")])
def test_what_a_library_raises_names_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def failing(*arguments: object) -> Iterator[ReadBatch]:
        raise error
        yield

    monkeypatch.setattr("heterrec_pipeline.reading.formats.csv.read", failing)
    split = Split(written_file(tmp_path / "t.csv", b"a\n1\n"))
    with pytest.raises(DataError, match=rf"t\.csv cannot be read: {type(error).__name__}: {error}"):
        list(prefetched(read_split(split, ["a"])))


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(1), MemoryError()])
def test_stops_pass_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def failing(*arguments: object) -> Iterator[ReadBatch]:
        raise error
        yield

    monkeypatch.setattr("heterrec_pipeline.reading.formats.csv.read", failing)
    split = Split(written_file(tmp_path / "t.csv", b"a\n1\n"))
    with pytest.raises(type(error)):
        list(read_split(split, ["a"]))


def threads() -> int:
    return sum(t.name == "prefetch" for t in threading.enumerate())


def test_prefetching_changes_nothing() -> None:
    assert list(prefetched(range(20))) == list(range(20))
    assert list(prefetched([])) == []
    assert threads() == 0


def test_an_error_arrives_where_it_would_have() -> None:
    def failing() -> Iterator[int]:
        yield 1
        raise ValueError("broken")

    stream = prefetched(failing())
    assert next(stream) == 1
    with pytest.raises(ValueError, match="broken"):
        next(stream)
    assert threads() == 0


def test_whoever_stops_early_leaves_no_thread_behind() -> None:
    made: list[int] = []

    def endless() -> Iterator[int]:
        for k in itertools.count():
            made.append(k)
            yield k

    stream = prefetched(endless(), depth=2)
    assert next(stream) == 0
    cast(Generator[int, None, None], stream).close()
    assert threads() == 0
    assert len(made) <= 5, "no more than the depth, the one taken and those in the making"


def test_a_column_that_a_file_lacks_is_missing_in_it(tmp_path: Path) -> None:
    table = pa.table({"key": ["1"]})
    pq.write_table(table, tmp_path / "t.parquet")
    orc.write_table(table, tmp_path / "t.orc")
    record = {"type": "record", "name": "row", "fields": [{"name": "key", "type": "string"}]}
    with (tmp_path / "t.avro").open("wb") as out:
        fastavro.writer(out, record, table.to_pylist())
    files = [
        *(InputFile(str(tmp_path / f"t.{k}"), f"t.{k}", 1, k) for k in ("parquet", "orc", "avro")),
        written_file(tmp_path / "t.csv", b"key,other\n1,x\n"),
        written_file(tmp_path / "t.jsonl", b'{"key": "1"}\n'),
    ]
    for file in files:
        split = Split(replace(file, required=("key",)))
        (batch,) = read_split(split, ["late", "key"])
        assert batch.table.to_pydict() == {"late": [None], "key": ["1"]}
        (batch,) = read_split(split, ["late"])
        assert batch.table.to_pydict() == {"late": [None]}, "rows count although nothing is read"
    for file in files[:4]:
        with pytest.raises(SchemaMismatchError, match="has no column 'late'"):
            list(read_split(Split(replace(file, required=("late",))), ["late", "key"]))
    with pytest.raises(SchemaMismatchError, match="has no column 'late'"):
        list(read_split(Split(files[0]), ["late"]))


def test_a_file_that_was_not_compared_must_have_the_types_of_the_others(tmp_path: Path) -> None:
    day = pa.array([0], pa.int32()).cast(pa.date32())
    pq.write_table(pa.table({"n": [1], "d": day}), tmp_path / "t.parquet")
    file = InputFile(str(tmp_path / "t.parquet"), "t.parquet", 1, "parquet", required=("n",))
    times = pa.timestamp("ms")

    def read(n: pa.DataType, d: pa.DataType, **more: tuple[str, ...]) -> pa.RecordBatch:
        split = Split(replace(file, known_types=(("n", n), ("d", d)), **more))
        return next(read_split(split, ["n", "d"])).table

    assert read(pa.float64(), pa.date64())["d"].type == pa.date32()
    assert pa.types.is_timestamp(read(pa.int8(), times, dates_as_times=("d",))["d"].type)
    with pytest.raises(SchemaMismatchError, match=r"'n' has another type in t\.parquet.*CAST\(n"):
        read(pa.string(), pa.date32())
    with pytest.raises(SchemaMismatchError, match=r"'d' has another type in t\.parquet"):
        read(pa.int64(), times)


@pytest.mark.parametrize(
    ("kind", "times"), [("parquet", 1), ("orc", 1), ("avro", 1), ("csv", 2), ("jsonl", 1)]
)
def test_a_source_with_expressions_opens_a_file_as_often_as_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: Format, times: int
) -> None:
    """The header of a CSV file is read by itself."""
    path = tmp_path / f"t.{kind}"
    table = pa.table({"key": ["1", "x"]})
    record = {"type": "record", "name": "row", "fields": [{"name": "key", "type": "string"}]}
    if kind == "parquet":
        pq.write_table(table, path)
    elif kind == "orc":
        orc.write_table(table, path)
    elif kind == "avro":
        with path.open("wb") as out:
            fastavro.writer(out, record, table.to_pylist())
    else:
        path.write_text('{"key": "1"}\n{"key": "x"}\n' if kind == "jsonl" else "key\n1\nx\n")
    opened: list[str] = []
    for name in ("open_arrow", "open_read"):
        plain = getattr(storage, name)
        monkeypatch.setattr(
            storage, name, lambda p, *a, f=plain, **kw: opened.append(p) or f(p, *a, **kw)
        )
    source = Source(path=path.name, where="key <> 'x'", columns={"more": "key || '!'"})
    for declared in (Source(path=path.name), source):
        file = InputFile(str(path), path.name, 1, kind, source=declared)
        (batch,) = read_split(Split(file), ["key"])
        assert batch.table["key"][0].as_py() == "1"
    assert opened == [str(path)] * times * 2
