"""Kinds of CSV files."""

import re
from collections import Counter

import pytest
from case_shop import BRANDS, EVENTS, HEADER, IDS, ITEMS, START, Case, csv, history, tokens, values

from heterrec_schemas import Generation

IN_ORDER = [(item, START * 1000) for item in reversed(IDS)]
"""The history of every user of the text shop."""


def test_line_breaks_in_quoted_cells_of_a_packed_file(text_shop: Generation) -> None:
    assert set(values(text_shop, "breaks").values()) == {"A\r\nB"}


def test_quotes_inside_cells(text_shop: Generation) -> None:
    found = Counter(values(text_shop, "title").values())
    assert found == {'7" tablet': 2, "Weird Al Yankovic": 1, 'acme "x"': 1, "acme": 2}


def test_every_spelling_of_a_missing_number(text_shop: Generation) -> None:
    assert tokens(text_shop, "price") == [1, 1, 1, 2, 3, 4]


@pytest.mark.parametrize("user", ["plain", "floats", "cr", "n\0l", "first", "second"])
def test_each_user_has_every_row(text_shop: Generation, user: str) -> None:
    """Orders of 5.0, lines that end in CR, a NUL in a cell, a second header in the middle."""
    assert history(text_shop, user) == IN_ORDER


def test_a_second_header_is_a_reject(text_shop: Generation) -> None:
    assert text_shop.manifest.rejects["time_unreadable"] == 1
    assert "user_id" not in text_shop.sequences("latest")["user_id"].to_pylist()


def test_backslashes_before_quotes(case: Case) -> None:
    case.items("items.csv", 'item_id,brand\ni0,"say \\"hi\\" now"\ni1,acme\n')
    case.refused("items.csv", "a backslash before a quote in line 2", "escape: ")


@pytest.mark.parametrize(
    ("between", "header", "words"),
    [
        ("::", (), ["'::'", "'u0::i0::1600000000'"]),
        (";", HEADER, ["';'", "'user_id;item_id;ts'"]),
        ("\t", HEADER, ["tab"]),
    ],
)
def test_other_separators(
    case: Case, between: str, header: tuple[str, ...], words: list[str]
) -> None:
    text = csv(EVENTS, header, between) if header else csv(EVENTS[1:], EVENTS[0], between)
    case.events("log.dat", text)
    case.log["source"]["format"] = "csv"
    case.refused("no column 'user_id'", *words)


def test_utf16(case: Case) -> None:
    case.events("log.csv", csv(EVENTS).encode("utf-16"))
    case.refused("log.csv", "UTF-16")


def test_words_for_nothing_as_ids(case: Case) -> None:
    rows = [(word, "i0", START + k) for k, word in enumerate(["nan", "NULL", "\\N", "None"])]
    case.events("log.csv", csv(EVENTS + rows))
    assert {w for w in ("nan", "NULL", "N", "None") if f"{w}'" in "\n".join(case.fits())} == {
        "nan",
        "NULL",
        "N",
        "None",
    }


def test_prices_with_signs(case: Case) -> None:
    prices = ["$12.99", '"$1,299.00"', "$1 - $20", "5", "6", "free"]
    case.items(
        "items.csv",
        csv(zip(ITEMS, prices, strict=True), ("item_id", "price")),
        name="price",
        kind="numeric",
        column="price",
        bins=3,
    )
    case.refused("4 of 6", "not_a_number", "'$12.99'")


def test_a_comma_at_the_end_of_every_line(case: Case) -> None:
    case.events("log.csv", csv([(*e, "") for e in EVENTS]))
    case.refused("malformed_row", "4 fields, expected 3", "comma")


def test_booleans_as_text_are_no_numbers(case: Case) -> None:
    cells = ["True", "False"] * 3
    text = csv(zip(ITEMS, cells, strict=True), ("item_id", "new"))
    case.items("items.csv", text, name="new", kind="numeric", column="new", bins=2)
    case.refused("not_a_number", "'True'", "kind: categorical")


def test_behaviours_as_floats(case: Case) -> None:
    case.events("log.csv", csv([(*e, "1.0") for e in EVENTS], (*HEADER, "act")))
    case.log["behaviour"] = {"column": "act", "values": [1, 2]}
    case.refused("unknown_behaviour", "'1.0'", "'1', '2'")


def test_ids_as_floats_in_the_log(case: Case) -> None:
    """They are texts like others; the warning shows both sides and the line that lets them meet."""
    rows = [(item[1:], brand) for item, brand in zip(ITEMS, BRANDS, strict=True)]
    case.items("items.csv", csv(rows, ("item_id", "brand")))
    case.events("log.csv", csv([(u, f"{i[1:]}.0", t) for u, i, t in EVENTS]))
    (warning,) = case.fits()
    assert "100.0% of the 20 sampled rows" in warning
    assert re.search(r"'\d\.0'.*'\d'.*columns: \{item_id: ", warning)
    case.log["source"]["columns"] = {"item_id": "CAST(CAST(item_id AS DOUBLE) AS BIGINT)"}
    assert case.fits() == []


def test_lists_as_text(case: Case) -> None:
    lists = [
        "\"['Action', 'Comedy']\"",
        "\"['Action']\"",
        "['Drama']",
        "[]",
        "['Comedy']",
        "['Action']",
    ]
    genres = {"name": "genres", "kind": "categorical", "column": "genres"}
    text = csv(zip(ITEMS, lists, strict=True), ("item_id", "genres"))
    case.items("items.csv", text, multivalued=True, separator=",", **genres)
    (warning,) = case.fits()
    assert "look like lists" in warning
    assert "['Action', 'Comedy']" in warning
