"""Guesses at what files, headers and paths are."""

import bz2
import lzma

import pytest

from heterrec_pipeline.reading.looks_like import (
    escaped_quote,
    other_content,
    other_encoding,
    other_header,
    same_letters,
    without_other_letters,
)


@pytest.mark.parametrize(
    ("start", "words"),
    [
        (b"\x1f\x8b\x08\x00", "gzip-compressed (add .gz"),
        (b"\x28\xb5\x2f\xfd\x00", "zstd-compressed (add .zst"),
        (bz2.compress(b"x"), "bzip2-compressed (add .bz2"),
        (lzma.compress(b"x"), "xz-compressed (unpack it"),
        (b"PK\x03\x04\x14", "a zip archive or a workbook"),
        ("user".encode("utf-16"), "write encoding: utf-16"),
        (b"PAR1\x15\x04", "Parquet (set format: parquet)"),
        (b"Obj\x01\x04", "Avro (set format: avro)"),
        (b"ORC\x0a\x10\x00", "ORC (set format: orc)"),
        (b"version https://git-lfs.github.com/spec/v1", "git lfs pull"),
        (b"<?xml version='1.0'?><Error>", "an error page"),
        (b"caf\xe9", None),
        (b"ORCID,name\n", None),
        (b"PAR1,x\n", None),
        (b"PK,x\n", None),
    ],
)
def test_encodings(start: bytes, words: str | None) -> None:
    found = other_encoding(start)
    assert found is None if words is None else words in str(found)


def test_text_under_the_name_of_another_format() -> None:
    assert other_content(b"user,item\n") == "text (set format: csv)"
    assert other_content("größe,x".encode()) == "text (set format: csv)"
    assert other_content(b' {"a": 1}') == "text (set format: jsonl)"
    assert other_content(b"Obj\x01") == "Avro (set format: avro)"
    assert other_content(b"\x00\x01") is None
    assert other_content(b"") is None


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["user_id;item_id;ts"], "separated by ';': write delimiter: ';' into the source."),
        (["user\titem\tts"], r"separated by tabs: write delimiter: '\t' into the source."),
        (
            ["1::1193::5::978300760"],
            "separated by '::' and contains numbers, as if the header line were absent: write delimiter: '::', "
            "header: false, names: [...] with the names of its 4 columns into the source.",
        ),
        (["u1", "i5", "1600000000"], "write header: false, names: [...] with the names of its 3"),
        (["user", "item", "ts"], None),
        (["user"], None),
    ],
)
def test_headers(names: list[str], words: str | None) -> None:
    found = other_header(names, lambda _: False)
    assert found is None if words is None else words in str(found)
    if words is not None:
        assert ",".join(names) in str(found).replace(r"\t", "\t")


def test_a_first_line_may_be_hidden() -> None:
    for names in (["u1", "i5", "7"], ["u1::i5::7"], ["u;i;t"]):
        found = other_header(names, lambda _: True)
        assert found is not None
        assert f"The first line, of {len(','.join(names))} characters, " in found
        assert not any(cell in found for cell in ("u1", "i5", "u;", "i;"))


def test_a_cell_of_a_first_line_is_hidden_before_the_line_is_cut() -> None:
    found = other_header(["x" * 70, "alice smith", "a\\b", "7"], lambda cell: cell != "7")
    assert found is not None
    assert "header '...,...,...,7' contains numbers" in found
    found = other_header(["x" * 75, "alice smith", "7"], lambda cell: " " in cell)
    assert found is not None
    assert f"'{'x' * 75},...,'" in found


def test_names_without_further_letters() -> None:
    names = ["alice", "User ID", "usre_id", "user", "user_id_2", "user7", "di", "-", ""]
    assert without_other_letters("user-id", names) == ["User ID", "usre_id", "user"]


def test_a_name_in_another_unicode_form() -> None:
    one, other = "gr\u00f6\u00dfe", "gro\u0308\u00dfe"
    assert same_letters(one, ["x", other]) == r'"gro\u0308\u00dfe"'
    assert same_letters(other, [one]) == r'"gr\u00f6\u00dfe"'
    assert same_letters(one, [one, "grosse"]) is None


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('a,b\n1,"say \\"hi\\" now"\n', 2),
        ('a,b\n1,x\n"a \\"b\\", c",3\n', 3),
        ('a,b\n"two\nlines \\"x\\" y",2\n', 3),
        ('a,b\n"C:\\",2\n', None),  # a backslash at the end of a cell
        ('a,b\n1,"C:\\"\n', None),
        ('a,b\n"a \\""b",2\n', None),  # a backslash before a doubled quote
        ('a,b\n7\\" tablet,2\n', None),  # a quote in a cell without quotes
        ('a,b\n"x ""y"" z","w"\n', None),
    ],
)
def test_quotes_that_are_escaped_by_backslashes(text: str, line: int | None) -> None:
    assert escaped_quote(text) == line
