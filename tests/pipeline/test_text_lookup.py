import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pieces import QUICK

from heterrec_pipeline import text_lookup
from heterrec_pipeline.text_lookup import Lookup

TEXTS = st.text(max_size=3)


def looked_up(known: dict[str, int], asked: list[str | None]) -> list[int | None]:
    made = Lookup(
        pl.Series(list(known), dtype=pl.String), pl.Series(list(known.values()), dtype=pl.Int64)
    )
    found = made.find(pl.Series(asked, dtype=pl.String))
    assert found.dtype == pl.Int64
    return found.to_list()


@QUICK
@given(
    st.dictionaries(TEXTS, st.integers(-(2**63), 2**63 - 1), max_size=60),
    st.lists(st.none() | TEXTS, max_size=60),
)
def test_known_texts_have_their_numbers_and_others_none(
    known: dict[str, int], strange: list[str | None]
) -> None:
    asked = [*strange, *reversed(known)]
    assert looked_up(known, asked) == [None if a is None else known.get(a) for a in asked]


def test_many_texts_share_the_parts_of_the_index() -> None:
    known = {f"item {k}": k for k in range(5000)}
    asked = [f"item {k}" for k in range(9999, -1, -1)]
    assert looked_up(known, asked) == [known.get(a) for a in asked]


def test_hashes_that_agree_do_not_make_texts_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two known texts of one hash, and an unknown text of a known one's hash."""
    monkeypatch.setattr(
        text_lookup, "hash_texts", lambda texts: texts.str.len_bytes().cast(pl.UInt64) * 2**60
    )
    known = {"aa": 1, "bbb": 3}
    assert looked_up(known, ["bb", "aa", "bbb", "", None]) == [None, 1, 3, None, None]
    twins = {**known, "cc": 2}
    assert looked_up(twins, ["bb", "aa", "cc", "bbb", None]) == [None, 1, 2, 3, None]
