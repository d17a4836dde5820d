"""Guesses at what files, headers and paths are."""

import pytest

from heterrec_pipeline.reading.looks_like import (
    escaped_quote,
    other_encoding,
    other_header,
)


@pytest.mark.parametrize(
    ("start", "words"),
    [
        (b"\x1f\x8b\x08\x00", "gzip"),
        (b"\x28\xb5\x2f\xfd\x00", "zstd"),
        ("user".encode("utf-16"), "UTF-16"),
        (b"PAR1\x15\x04", "Parquet"),
        (b"caf\xe9", None),
    ],
)
def test_encodings(start: bytes, words: str | None) -> None:
    assert (words is None) == (other_encoding(start) is None)
    assert words is None or words in str(other_encoding(start))


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["user_id;item_id;ts"], ["separated by ';'"]),
        (["user\titem\tts"], ["separated by tabs"]),
        (["1::1193::5::978300760"], ["separated by '::'", "header line were absent"]),
        (["u1", "i5", "1600000000"], ["header line were absent"]),
        (["user", "item", "ts"], []),
        (["user"], []),
    ],
)
def test_headers(names: list[str], words: list[str]) -> None:
    found = other_header(names)
    assert (found is None) == (not words)
    assert all(word in str(found) for word in words)


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
