import bz2
import csv
import gzip
import io
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.csv as pacsv
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from pieces import QUICK, written_file

from heterrec_pipeline.reading.files import InputFile
from heterrec_pipeline.reading.formats import csv as reader
from heterrec_schemas.errors import DataError, SchemaMismatchError
from heterrec_schemas.rejects import Reason

Cells = dict[int, tuple[str | None, ...]]


def read(file: InputFile, *columns: str) -> tuple[Cells, list[int], list[int]]:
    """Row number to cells, the numbers of bad rows, and those of short rows."""
    rows: Cells = {}
    bad: list[int] = []
    short: list[int] = []
    for batch in reader.read(file, columns):
        assert batch.table.column_names == list(columns)
        found = zip(*(batch.table[c].to_pylist() for c in columns), strict=True)
        for number, cells in zip(batch.rows.tolist(), found, strict=True):
            assert number not in rows, "each row is given once"
            rows[number] = cells
        assert {b.reason for b in (*batch.bad, *batch.short)} <= {Reason.MALFORMED_ROW}
        bad += [b.row for b in batch.bad]
        short += [b.row for b in batch.short]
    return rows, sorted(bad), sorted(short)


def by_hand(text: str, *columns: str) -> tuple[Cells, list[int], list[int]]:
    """The same by the standard library: blank lines are no rows."""
    lines = [line for line in csv.reader(io.StringIO(text, newline="")) if line]
    names = lines.pop(0)
    rows: Cells = {}
    bad = [k for k, line in enumerate(lines) if len(line) > len(names)]
    short = [k for k, line in enumerate(lines) if len(line) < len(names)]
    for k, line in enumerate(lines):
        if k not in bad:
            padded = [*line, *[None] * len(names)]
            rows[k] = tuple(padded[names.index(c)] for c in columns)
    return rows, bad, short


FIELDS = st.text(st.sampled_from('ab",\n\rü \u2028'), max_size=4)
ROWS = st.lists(
    st.lists(FIELDS, min_size=1, max_size=4).filter(lambda row: row != [""]) | st.just([]),
    max_size=12,
)


def as_csv(rows: list[list[str]], end: str) -> str:
    out = io.StringIO()
    for row in rows:
        quoted = ['"' + f.replace('"', '""') + '"' if set(f) & set('",\n\r') else f for f in row]
        out.write(",".join(quoted) + end)
    return out.getvalue()


@QUICK
@given(ROWS, st.sampled_from(["\n", "\r\n"]), st.sampled_from([16, 24, 40, 2**20]), st.booleans())
def test_rows_are_read_and_numbered_as_the_standard_library_would(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[list[str]],
    end: str,
    block: int,
    marked: bool,
) -> None:
    text = as_csv([["x", "y", "z"], *rows], end)
    data = text.encode("utf-8-sig" if marked else "utf-8")
    file = written_file(tmp_path_factory.mktemp("csv") / "a.csv", data)
    with pytest.MonkeyPatch.context() as patch:
        # Small blocks: rows straddle them, and odd rows stand at their ends.
        patch.setattr(
            reader, "BLOCK", max(block, max(map(len, text.split(end)), default=0) * 8 + 32)
        )
        assert read(file, "z", "x") == by_hand(text, "z", "x")


@pytest.mark.parametrize("block", [12, 16, 24, 32, 64])
def test_numbers_hold_across_blocks_with_odd_rows_at_their_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    body = "1,2\n3,4\n5\n6,7\n8,9,10\n11,12\n13\n14\n15\n16\n17,18\n19,20\n21,22,23\n24,25\n26\n"
    monkeypatch.setattr(reader, "BLOCK", block)
    file = written_file(tmp_path / "a.csv", f"a,b\n{body}".encode())
    assert read(file, "a", "b") == by_hand(f"a,b\n{body}", "a", "b")


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_cells_are_exact_wherever_a_block_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    lines = [
        "k,v",
        '1,"A\r\nB"',
        '2,"\r\n\r\n"',
        '3,"x\r"',
        '"4\r\n"',
        '5,"\n\ré""\r\n"',
        '6,"\r\n,\n"',
    ]
    text = end.join(lines)
    file = written_file(tmp_path / "t.csv", text.encode())
    whole = by_hand(text, "v", "k")
    for block in range(24, len(text.encode()) + 3):
        monkeypatch.setattr(reader, "BLOCK", block)
        assert read(file, "v", "k") == whole, block


def test_blocks_cut_a_file_into_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "BLOCK", 64)
    file = written_file(tmp_path / "a.csv", b"a,b\n" + b"1,2\n" * 100)
    assert len(list(reader.read(file, ["a"]))) > 5
    assert read(file, "a")[0] == {k: ("1",) for k in range(100)}


def test_long_and_short_rows_say_what_they_held(tmp_path: Path) -> None:
    file = written_file(tmp_path / "a.csv", b'a,b,c\n1,2,3,4\n"p\nq",r\n1,2,3\n')
    (batch,) = reader.read(file, ["c", "a"])
    (long,) = batch.bad
    assert (long.row, long.text) == (0, "4 fields, expected 3: 1,2,3,4")
    (short,) = batch.short
    assert (short.row, short.text) == (1, '2 fields, expected 3: "p\nq",r')
    assert batch.table.to_pydict() == {"c": ["3", None], "a": ["1", "p\nq"]}
    assert batch.rows.tolist() == [2, 1]


def test_a_short_row_may_be_longer_than_the_standard_library_likes(tmp_path: Path) -> None:
    file = written_file(tmp_path / "a.csv", b"a,b\n1,2\n" + b"y" * 200_000 + b"\n3,4\n")
    rows, bad, short = read(file, "a", "b")
    assert rows == {0: ("1", "2"), 1: ("y" * 200_000, None), 2: ("3", "4")}
    assert (bad, short) == ([], [1])


def test_cells_are_text_and_nothing_is_null(tmp_path: Path) -> None:
    file = written_file(tmp_path / "a.csv", b'a,b\n007,\nNA,""\nnull,1.50\n')
    assert read(file, "a", "b")[0] == {0: ("007", ""), 1: ("NA", ""), 2: ("null", "1.50")}


def test_one_column_has_no_blank_rows_but_empty_cells(tmp_path: Path) -> None:
    file = written_file(tmp_path / "a.csv", b'a\n1\n\n""\n2\n3,4\n')
    assert read(file, "a") == ({0: ("1",), 1: ("",), 2: ("2",)}, [3], [])


def test_blank_lines_may_stand_before_the_header(tmp_path: Path) -> None:
    file = written_file(tmp_path / "a.csv", b"\r\n\r\na,b\r\n1,2\r\n")
    assert reader.header(file) == ["a", "b"]
    assert read(file, "b") == ({0: ("2",)}, [], [])


@pytest.mark.parametrize("end", [b"", b"\n", b"\n\n"])
def test_a_header_alone_has_no_rows(tmp_path: Path, end: bytes) -> None:
    assert read(written_file(tmp_path / "a.csv", b"a,b" + end), "a", "b") == ({}, [], [])


DIALECT = reader.Dialect.of(InputFile("a.csv", "a.csv", 0, "csv"))
PLAIN = b"\xef\xbb\xbfa,b\n" + b"".join(b"%d,x\n" % k for k in range(1000))


@pytest.mark.parametrize(
    ("name", "packed"),
    [
        ("a.csv", PLAIN),
        ("a.csv.gz", gzip.compress(PLAIN)),
        ("a.CSV.GZ", gzip.compress(PLAIN[:500]) + gzip.compress(PLAIN[500:])),
        ("a.csv.zst", zstandard.compress(PLAIN)),
        ("b.csv.zst", zstandard.compress(PLAIN[:500]) + zstandard.compress(PLAIN[500:])),
        ("a.csv.bz2", bz2.compress(PLAIN)),
        ("b.CSV.BZ2", b"".join(bz2.compress(PLAIN[k : k + 100]) for k in range(0, 9000, 100))),
    ],
)
def test_packed_files_read_as_plain_ones(tmp_path: Path, name: str, packed: bytes) -> None:
    file = written_file(tmp_path / name.lower(), packed)
    assert reader.header(file) == ["a", "b"]
    assert read(file, "a") == ({k: (str(k),) for k in range(1000)}, [], [])


@pytest.mark.parametrize(
    ("name", "packed", "what"),
    [
        ("a.csv.gz", gzip.compress(PLAIN)[:-9], "truncated"),
        ("a.csv.gz", PLAIN, "not a gzip file but text"),
        ("a.csv.zst", zstandard.compress(PLAIN)[:-5], "truncated"),
        ("a.csv.zst", PLAIN, "not a zstd file but text"),
        ("a.csv.zst", b"", "empty"),
        ("a.csv.bz2", bz2.compress(PLAIN)[:-5], "truncated"),
        ("a.csv.bz2", PLAIN, "not a bzip2 file but text"),
        ("a.csv.bz2", bz2.compress(PLAIN) + b"BZh9 damaged", "bzip2"),
        ("a.csv.bz2", b"", "empty"),
        ("a.csv", b"", "empty"),
        ("a.csv", b"a,b\n1,\xff\n", "byte 0xff in line 2"),
        ("a.csv", b"a,\xfe\n1,2\n", "byte 0xfe in line 1"),
        ("a.csv", b'"a,b\n' + b"1,2\n" * 50_000, "field larger"),
    ],
)
def test_files_that_cannot_be_read_are_named(
    tmp_path: Path, name: str, packed: bytes, what: str
) -> None:
    file = written_file(tmp_path / name, packed)
    with pytest.raises(DataError, match=what) as error:
        read(file, "a")
    assert name in error.value.message


def test_the_header_must_have_a_wanted_column_once(tmp_path: Path) -> None:
    file = written_file(tmp_path / "a.csv", b"price,b,c,c\n1,2,3,4\n")
    with pytest.raises(SchemaMismatchError, match=r"'pricee'.*Did you mean 'price'"):
        read(file, "pricee")
    with pytest.raises(SchemaMismatchError, match="'c' 2 times"):
        read(file, "b", "c")
    assert read(file, "b") == ({0: ("2",)}, [], []), "others may repeat"


def test_an_empty_table_has_the_columns() -> None:
    table: Any = reader.empty(["a", "b"])
    assert (table.column_names, len(table)) == (["a", "b"], 0)


def test_the_parser_may_report_odd_rows_at_any_moment() -> None:
    """Arrow's parser reads ahead on a thread of its own: no odd row is lost or counted twice while batches are taken."""
    odd, total = reader._RaggedRows(DIALECT, ["a", "b"], ["a", "b"]), 20_000

    def parse() -> None:
        for number in range(2, total + 2):
            odd(pacsv.InvalidRow(2, 1, number, "1"))

    thread = threading.Thread(target=parse)
    switch = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        thread.start()
        found = []
        while True:
            alive = thread.is_alive()
            batch = odd.take(reader.empty(["a", "b"]), np.empty(0, np.int64))
            assert len(batch.table) == len(batch.rows) == len(batch.short)
            found += batch.rows.tolist()
            if not alive:
                break
    finally:
        sys.setswitchinterval(switch)
        thread.join()
    assert found == list(range(total))


def test_escaped_quotes_are_refused(tmp_path: Path) -> None:
    file = written_file(tmp_path / "a.csv", b'a,b\n1,"say \\"hello\\" now"\n')
    with pytest.raises(
        DataError, match=r"a.csv escapes quotes by backslashes: got .* in line 2"
    ) as found:
        list(reader.read(file, ["a"]))
    assert "hello" not in found.value.message, "it may be an erased key"


def test_utf16_without_a_mark_is_named(tmp_path: Path) -> None:
    file = written_file(tmp_path / "a.csv", "user,item\nu,i\n".encode("utf-16-le"))
    with pytest.raises(DataError, match="it is UTF-16"):
        reader.header(file)
