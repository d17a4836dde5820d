import gzip
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pieces import QUICK, written_file

from heterrec_pipeline.reading.formats import text
from heterrec_schemas.errors import DataError


@QUICK
@given(st.lists(st.binary(max_size=5).map(lambda b: b.replace(b"\n", b""))), st.integers(3, 9))
def test_lines_do_not_depend_on_the_blocks(
    tmp_path_factory: pytest.TempPathFactory, parts: list[bytes], block: int
) -> None:
    data = b"\n".join(parts)
    file = written_file(tmp_path_factory.mktemp("text") / "a.jsonl", data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text, "BLOCK", block)
        found = [line for lines in text.lines(file) for line in lines]
    want = data.removeprefix(text.BOM).split(b"\n")
    assert found == (want if want[-1] else want[:-1])


def test_a_byte_order_mark_is_dropped_once(tmp_path: Path) -> None:
    file = written_file(tmp_path / "a.jsonl", text.BOM + text.BOM + b"x")
    assert list(text.lines(file)) == [[text.BOM + b"x"]]


def test_a_read_is_short_only_at_the_end(tmp_path: Path) -> None:
    members = [gzip.compress(b"abc"), gzip.compress(b"defg"), gzip.compress(b"h")]
    file = written_file(tmp_path / "a.csv.gz", b"".join(members))
    with text.TextStream(file) as stream:
        assert [stream.read(5), stream.read(5), stream.read(5)] == [b"abcde", b"fgh", b""]


@pytest.mark.parametrize("block", [4, 100])
def test_bad_utf8_is_named_by_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    monkeypatch.setattr(text, "BLOCK", block)
    file = written_file(tmp_path / "a.jsonl", "ä\nb\nü\n".encode() + b"a\xe9b\nc\n")
    error = text.bad_utf8(file)
    assert error is not None
    assert "byte 0xe9 in line 4" in error.message
    assert text.bad_utf8(written_file(tmp_path / "b.jsonl", "ä\nü".encode())) is None


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
def test_a_line_that_is_too_long_ends_in_a_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    data = b"{}\n" + b"x" * 5000
    file = written_file(tmp_path / name, gzip.compress(data) if name.endswith("gz") else data)
    monkeypatch.setattr(text, "BLOCK", 100)
    monkeypatch.setattr(text, "MAX_LINE", 1000)
    with pytest.raises(DataError, match=r"a\.jsonl.* a line is longer than"):
        list(text.lines(file))
