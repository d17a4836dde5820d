"""Kinds of JSON lines."""

import json

from case_shop import BRANDS, IDS, ITEMS, START, Case, history, tokens, values
from corner_shop import heterrec

from heterrec_schemas import Generation


def test_integers_beyond_doubles_are_exact(text_shop: Generation) -> None:
    assert list(values(text_shop, "brand")) == IDS
    assert history(text_shop, "-3")[-1] == (-2, START * 1000)


def test_ids_as_text_and_as_integers_join(text_shop: Generation) -> None:
    assert None not in values(text_shop, "odd").values()


def test_odd_characters_are_kept(text_shop: Generation) -> None:
    assert list(values(text_shop, "odd").values()) == [
        "a\0b",
        "a\x1fb",
        "a\u2028b",
        "a\u200bb",
        "caf\u00e9",  # NFC
        "\U0001f469\u200d\U0001f680",
    ]


def test_half_an_emoji_is_a_malformed_row(text_shop: Generation) -> None:
    assert text_shop.manifest.rejects["malformed_row"] == 1


def test_booleans_are_one_and_zero(text_shop: Generation) -> None:
    one, _, zero, _, missing, also_zero = tokens(text_shop, "flag")
    assert tokens(text_shop, "flag") == [one, one, zero, zero, missing, also_zero]
    assert missing == 1


def test_numbers_among_texts(text_shop: Generation) -> None:
    assert text_shop.manifest.rejects["not_a_number"] == 3
    assert [t == 1 for t in tokens(text_shop, "mixed")] == [False, True, True, True, True, False]


def test_odd_ids_and_values_are_shown(text_shop: Generation) -> None:
    """Brackets are no markup, and a minus begins no option."""
    done = heterrec("inspect", text_shop.root, "--no-verify", "--item", "-2", "--user", "[/u1]")
    assert (done.code, done.err) == (0, "")
    assert "[bold red]x[/]" in done.out
    assert "[/u1]" in done.out
    done = heterrec("inspect", text_shop.root, "--no-verify", "--user", "-3", "--json")
    assert json.loads(done.out)["user"]["user_id"] == "-3"


def test_python_literals(case: Case) -> None:
    rows = [{"item_id": i, "brand": b, "ok": None} for i, b in zip(ITEMS, BRANDS, strict=True)]
    case.items("items.json", "".join(f"{row}\n" for row in rows))
    case.refused("malformed_row", "item_id", "single quotes")


def test_an_array(case: Case) -> None:
    rows = [{"item_id": i, "brand": b} for i, b in zip(ITEMS, BRANDS, strict=True)]
    case.items("items.json", json.dumps(rows))
    case.refused("array", "one object per line")


def test_a_line_in_latin1(case: Case) -> None:
    case.items("items.jsonl", '{"item_id": "i0"}\n{"item_id": "café"}\n'.encode("latin-1"))
    case.refused("items.jsonl", "not UTF-8 text", "byte 0xe9 in line 2")
