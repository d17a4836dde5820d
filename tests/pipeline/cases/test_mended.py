"""Kinds of files that are read as they are meant once the spec says how, as docs/my_data.md shows."""

from collections import Counter

import pytest
from case_shop import START, history, tokens, values

from heterrec_schemas import Generation


@pytest.mark.parametrize(
    ("feature", "found"),
    [
        ("cafe", ["caf\u00e9"] * 3 + ["bar"] * 3),  # semicolons, cp1252
        ("unit", [f"{k:04d} pcs" for k in range(6)]),  # tabs, UTF-16
        ("rated", ["x"] * 6),  # '::', no header
        ("said", ['say "hi"', 'a "b", c', *"cdef"]),  # backslashes before quotes
        ("genres", [["Action", "Comedy"], ["Action"], ["Drama"], [None], ["Comedy"], ["Action"]]),
        ("colour", [None, None, "red", "red", "blue", None]),  # NULL, \N, nan
        ("field", ["a"] * 3 + ["b"] * 3),  # a field of a struct, beside keys of UUID
        ("kind", ["x"] * 6),  # bytes
    ],
)
def test_texts(mended_shop: Generation, feature: str, found: list[object]) -> None:
    assert list(values(mended_shop, feature).values()) == found


def test_numbers(mended_shop: Generation) -> None:
    """A decimal comma, prices with signs, booleans as text; keys as 3.0."""
    assert tokens(mended_shop, "price") == [2, 2, 3, 3, 4, 4]
    assert mended_shop.boundaries("cost").tolist() == [4.0, 6.0]
    one, zero, *_ = tokens(mended_shop, "fresh")
    assert tokens(mended_shop, "fresh") == [one, zero] * 3
    assert one > zero > 1


def test_vectors(mended_shop: Generation) -> None:
    """As text, and as one column per dimension."""
    single = tokens(mended_shop, "single")
    assert tokens(mended_shop, "text") == tokens(mended_shop, "several") == single
    assert len({tuple(t) for t in single}) > 1


def test_genres_are_counted(mended_shop: Generation) -> None:
    vocabulary = mended_shop.vocabulary("genres")
    assert dict(
        zip(vocabulary["value"].to_pylist(), vocabulary["count"].to_pylist(), strict=True)
    ) == {
        "Action": 3,
        "Comedy": 2,
        "Drama": 1,
    }


def test_only_the_partitions_of_the_condition_are_read(mended_shop: Generation) -> None:
    """Users are integers in one part and text in the other."""
    logs = [i.path for i in mended_shop.manifest.inputs if i.path.startswith("events")]
    assert logs == ["events/dt=2026-01-02/p.parquet", "events/dt=2026-01-03/p.parquet"]
    assert history(mended_shop, "10") == [("0000", (START + day) * 1000) for day in (2, 3)]
    acts = mended_shop.sequences("latest")["behaviour"].combine_chunks().flatten()
    assert Counter(acts.to_pylist()) == {2: 6, 3: 6}
