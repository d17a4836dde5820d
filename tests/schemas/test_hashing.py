import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heterrec_schemas.hashing import SEPARATOR, hash_column, hash_texts, stable_hash

# Known values of XXH3-64 with seed 0; a change of any of them breaks every published generation.
KNOWN = {
    "": 0x2D06800538D394C2,
    "a": 0xE6C632B61E964E1F,
    "abc": 0x78AF5F94892F3950,
    "Überkleid": 0xECE0168DC707BDE2,
    "x" * 300: 0xA5D1B4607DC83554,
}


@pytest.mark.parametrize(("text", "value"), KNOWN.items())
def test_the_hash_is_pinned(text: str, value: int) -> None:
    assert stable_hash(text) == value
    assert hash_texts(pl.Series([text])).to_list() == [value]


def test_several_values_are_joined_with_a_unit_separator() -> None:
    assert SEPARATOR == "\x1f"
    assert stable_hash("u1", "1700000000000", "B1") == stable_hash("u1\x1f1700000000000\x1fB1")
    assert stable_hash("ab", "c") != stable_hash("a", "bc")


@given(st.lists(st.none() | st.text(max_size=400)))
def test_columns_hash_like_single_texts(texts: list[str | None]) -> None:
    series = pl.Series("t", texts, dtype=pl.String)
    wanted = [None if t is None else stable_hash(t) for t in texts]
    hashed = hash_texts(series)
    assert hashed.dtype == pl.UInt64
    assert hashed.to_list() == wanted
    assert series.to_frame().select(hash_column("t"))["t"].to_list() == wanted
