"""CSV files in other dialects than commas, quotes, UTF-8 and a header line."""

import csv
import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pieces import QUICK, written_file

from heterrec_pipeline.reading.files import InputFile, Split
from heterrec_pipeline.reading.formats import csv as reader
from heterrec_pipeline.reading.read import read_split
from heterrec_schemas.errors import DataError, SchemaMismatchError
from heterrec_schemas.feature_spec import Source

Cells = dict[int, tuple[str | None, ...]]
NAMES = ["x", "y", "z"]


def with_source(file: InputFile, **settings: Any) -> InputFile:
    return replace(file, source=Source(path="*", **settings))


def read(file: InputFile, *columns: str) -> tuple[Cells, list[int], list[int]]:
    """Row number to cells, the numbers of bad rows, and those of short rows."""
    rows: Cells = {}
    bad: list[int] = []
    short: list[int] = []
    for batch in reader.read(file, columns):
        found = zip(*(batch.table[c].to_pylist() for c in columns), strict=True)
        rows |= dict(zip(batch.rows.tolist(), found, strict=True))
        bad += [b.row for b in batch.bad]
        short += [b.row for b in batch.short]
    return rows, sorted(bad), sorted(short)


def found_or_message(file: InputFile) -> tuple[Cells, list[int], list[int]] | str:
    try:
        return read(file, *NAMES)
    except DataError as error:
        return error.message


def by_character(
    text: str, delimiter: str, quote: str | None, escape: str | None
) -> list[list[str]] | None:
    """The rows of a text, one character after the other; None if a quote is not closed or the text ends with an escape."""
    rows: list[list[str]] = []
    row, cell, fresh, quoted, at = [], "", True, False, 0

    def ended() -> None:
        nonlocal row, cell, fresh
        if row or not blank:
            rows.append([*row, cell])
        row, cell, fresh = [], "", True

    blank = True
    while at < len(text):
        sign = text[at]
        if sign == escape:
            if at + 1 == len(text):
                return None
            cell, fresh, blank, at = cell + text[at + 1], False, False, at + 2
        elif quoted:
            if sign != quote:
                cell, at = cell + sign, at + 1
            elif text[at + 1 : at + 2] == quote:
                cell, at = cell + sign, at + 2
            else:
                quoted, at = False, at + 1
        elif fresh and sign == quote:
            quoted, fresh, blank, at = True, False, False, at + 1
        elif text.startswith(delimiter, at):
            row, cell, fresh, blank, at = [*row, cell], "", True, False, at + len(delimiter)
        elif sign in "\r\n":
            ended()
            blank, at = True, at + 1
        else:
            cell, fresh, blank, at = cell + sign, False, False, at + 1
    if quoted:
        return None
    ended()
    return rows


def expected(rows: list[list[str]], null: list[str]) -> tuple[Cells, list[int], list[int]]:
    found: Cells = {}
    for k, row in enumerate(rows):
        if len(row) <= len(NAMES):
            cells = [None if cell in null else cell for cell in row]
            found[k] = tuple([*cells, *[None] * len(NAMES)][: len(NAMES)])
    bad = [k for k, row in enumerate(rows) if len(row) > len(NAMES)]
    return found, bad, [k for k, row in enumerate(rows) if len(row) < len(NAMES)]


@QUICK
@given(st.data())
def test_any_dialect_reads_as_one_character_after_the_other_would(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    delimiter = data.draw(st.sampled_from([";", "\t", "::", "¤", "ab", ":;:"]), "delimiter")
    quote = data.draw(st.sampled_from(['"', "'", None]), "quote")
    escape = data.draw(st.sampled_from([None, "\\"])) if delimiter in ";\t" else None
    encoding = data.draw(st.sampled_from(["utf-8", "latin-1", "utf-16", "utf-8-sig"]), "encoding")
    null = data.draw(st.sampled_from([[], ["N", ""]]), "null")
    header = data.draw(st.booleans(), "header")
    signs = st.sampled_from([*";\t:¤ab\"'\nNé", "\r\n", *[delimiter] * 6, *[escape or "c"]])
    body = "".join(data.draw(st.lists(signs, max_size=40), "body"))
    # Arrow shows a short row without its line end, be it escaped or not.
    assume(escape is None or not {"\\\n", "\\\r"} & {body[k : k + 2] for k in range(len(body))})
    if header:
        body = delimiter.join(NAMES) + "\n" + body
    rows = by_character(body, delimiter, quote, escape)
    if len(delimiter) == 1 and rows is not None:
        quoting = csv.QUOTE_MINIMAL if quote else csv.QUOTE_NONE
        plain = csv.reader(
            io.StringIO(body, newline=""),
            delimiter=delimiter,
            quotechar=quote,
            escapechar=escape,
            quoting=quoting,
        )
        assert list(filter(None, plain)) == rows
    if header and rows is not None:
        rows = rows[1:]
    file = with_source(
        written_file(tmp_path_factory.mktemp("csv") / "a.csv", body.encode(encoding)),
        delimiter=delimiter,
        quote=quote,
        escape=escape,
        encoding=encoding,
        null_values=null,
        header=header,
        names=None if header else NAMES,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reader, "BLOCK", data.draw(st.sampled_from([24, 48, 2**20]), "block"))
        patch.setattr(reader, "_check_width", lambda *_: None)
        patch.setattr(reader, "_check_quotes", lambda *_: None)
        found = found_or_message(file)
    if isinstance(found, str):  # a row may also be longer than a small block
        assert rows is None or "longer than" in found
    else:
        assert rows is not None
        assert found == expected(rows, null)


@pytest.mark.parametrize("size", range(1, 12))
def test_delimiters_and_quotes_may_straddle_blocks(tmp_path: Path, size: int) -> None:
    text = '1::"a::""b"::x\n":":::"c":: d:":\n"\n"::é::"'
    file = with_source(
        written_file(tmp_path / "a.csv", text.encode("utf-16")),
        **{"delimiter": "::", "header": False, "names": NAMES, "encoding": "utf-16"},
    )
    with reader.closing(reader.Dialect.of(file).open()) as stream:
        got = b"".join(iter(lambda: stream.read(size), b"")).decode()
    # Leftmost pairs of colons outside quotes are delimiters.
    assert got == '1\x1f"a::""b"\x1fx\n":"\x1f:"c"\x1f d:":\n"\n"\x1fé\x1f"'


def test_ratings_without_header_as_movielens_writes_them(tmp_path: Path) -> None:
    file = written_file(tmp_path / "ratings.csv", b"1::1193::5::978300760\n1::661::3::978302109\n")
    file = with_source(file, delimiter="::", header=False, names=["user", "item", "stars", "time"])
    assert reader.header(file) == ["user", "item", "stars", "time"]
    rows = {0: ("978300760", "1193"), 1: ("978302109", "661")}
    assert read(file, "time", "item") == (rows, [], [])


def test_names_must_fit_the_rows(tmp_path: Path) -> None:
    file = written_file(tmp_path / "a.csv", b"1;2;3\n1;2;3\n")
    with pytest.raises(
        SchemaMismatchError, match=r"got 3 cells in the first row, expected.*2 names"
    ):
        reader.header(with_source(file, delimiter=";", header=False, names=["a", "b"]))
    with pytest.raises(SchemaMismatchError, match="1 cells in the first row"):
        reader.header(with_source(file, header=False, names=["a", "b"]))
    ragged = written_file(tmp_path / "b.csv", b"1,2,3\n1,2\n")
    found = read(with_source(ragged, header=False, names=["a", "b"]), "b")
    assert found == ({1: ("2",)}, [0], [])


def test_a_file_without_header_may_have_no_rows(tmp_path: Path) -> None:
    file = with_source(written_file(tmp_path / "a.csv", b""), header=False, names=["a", "b"])
    assert read(file, "b") == ({}, [], [])


def test_tab_separated_files_are_known_by_their_suffix(tmp_path: Path) -> None:
    for name in ("a.tsv", "a.TAB"):
        file = replace(written_file(tmp_path / name, b'a\tb\n1,2\t"x\ty"\n'), format="csv")
        assert read(file, "a", "b") == ({0: ("1,2", "x\ty")}, [], [])
        assert reader.header(with_source(file, delimiter=",")) == ["a\tb"]


def test_escapes_of_spark_and_hive(tmp_path: Path) -> None:
    data = b'item_id,brand\ni0,"say \\"hi\\" now"\ni1,"a \\\\"\ni2,"a \\"b\\", c"\n'
    file = with_source(written_file(tmp_path / "a.csv", data), escape="\\")
    assert read(file, "brand")[0] == {0: ('say "hi" now',), 1: ("a \\",), 2: ('a "b", c',)}


@pytest.mark.parametrize(
    ("encoding", "text"), [("cp1252", "Größe €"), ("shift_jis", "東京"), ("utf-16-le", "Größe")]
)
def test_encodings(tmp_path: Path, encoding: str, text: str) -> None:
    data = f"a,b\n1,{text}\n".encode(encoding)
    file = with_source(written_file(tmp_path / "a.csv", data), encoding=encoding)
    assert read(file, "b")[0] == {0: (text,)}


@pytest.mark.parametrize(
    ("encoding", "data", "where"),
    [
        ("cp1252", b"a,b\n1,x\n2,\x81\n", "byte 0x81 in line 3"),
        ("shift_jis", b"a,b\n1,\x93\x8c\x8b\n", "line 2"),
        ("utf-16", "a,b\n1,2\n".encode("utf-16") + b"\x00\xdc\x00", "line 3"),
        ("ascii", b"a,b\n1,\xe9\n", "byte 0xe9 in line 2"),
    ],
)
@pytest.mark.parametrize("size", [4, 2**20])
def test_bytes_of_another_encoding_are_named(
    tmp_path: Path, encoding: str, data: bytes, where: str, size: int
) -> None:
    file = with_source(written_file(tmp_path / "a.csv", data), encoding=encoding)
    stream = reader.Dialect.of(file).open()
    with reader.closing(stream), pytest.raises(DataError, match=where):
        list(iter(lambda: stream.read(size), b""))


def test_messages_name_the_keys_that_would_read_the_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"not UTF-8 text .*encoding: cp1252"):
        read(written_file(tmp_path / "a.csv", "a,b\n1,é\n".encode("cp1252")), "a")
    with pytest.raises(DataError, match=r"never closed.*quote: null"):
        read(written_file(tmp_path / "b.csv", b'a,b\n1,"x\n2,y\n'), "a")
    with pytest.raises(DataError, match=r"escape: '\\'"):
        read(written_file(tmp_path / "c.csv", b'a,b\n1,"x \\"y\\" z"\n'), "a")


def test_a_unit_separator_cannot_stand_beside_a_long_delimiter(tmp_path: Path) -> None:
    file = with_source(written_file(tmp_path / "a.csv", b"a::b\n1::x\x1fy\n"), delimiter="::")
    with pytest.raises(DataError, match=r"U\+001F"):
        reader.header(file)


def test_an_escape_at_the_end_is_named(tmp_path: Path) -> None:
    file = with_source(written_file(tmp_path / "a.csv", b"a,b\n1,x\\"), escape="\\")
    with pytest.raises(DataError, match="it ends with an escape character"):
        read(file, "a")


def test_rejected_rows_are_shown_as_in_the_file(tmp_path: Path) -> None:
    data = b"a::b\n1::2::3\n4\n"
    (batch,) = reader.read(
        with_source(written_file(tmp_path / "a.csv", data), delimiter="::"), ["b"]
    )
    assert [b.text for b in batch.bad] == ["3 fields, expected 2: 1::2::3"]
    assert batch.table["b"].to_pylist() == [None]


def test_decimal_commas_in_numbers_only(tmp_path: Path) -> None:
    cells = ["1,5", "1.234,56", "1.234", "-0,5e3", " 7 ", "1.5", "1,2,3", "x", "", "12.345.678"]
    data = "".join(f"{cell};{cell}\n" for cell in cells).encode()
    file = written_file(tmp_path / "a.csv", data)
    file = with_source(file, delimiter=";", header=False, names=["a", "b"], decimal=",")
    (batch,) = read_split(Split(replace(file, numbers=("a", "c"))), ["a", "b"])
    assert batch.table["b"].to_pylist() == cells
    wrong = "1.5 (decimal: ',')"
    numbers = ["1.5", "1234.56", "1234", "-0.5e3", " 7 ", wrong, "1,2,3", "x", "", "12345678"]
    assert batch.table["a"].to_pylist() == numbers
