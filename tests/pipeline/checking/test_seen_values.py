"""The values of vocabularies in the input, and in a sample of it."""

from pathlib import Path
from typing import Any

import pytest
from pieces import categorical, spec_of

from heterrec_pipeline.checking import sample
from heterrec_pipeline.checking.check import check_tables
from heterrec_pipeline.checking.sample import enough
from heterrec_pipeline.checking.seen_values import seen_values
from heterrec_schemas.hashing import stable_hash

TEXTS = {stable_hash(t): t for t in (*"abcdefx", *"123456789", "u", "v", "w")}


def counts(folder: Path, everything: bool = False, **sections: Any) -> dict[str, Any]:
    """By vocabulary, the number of items (users) by value, and whether the whole table was read."""
    spec = spec_of(**sections)
    checked = check_tables(spec, str(folder))
    assert checked.problems == []
    found = seen_values(spec, checked, (lambda _: True) if everything else enough)
    return {
        name: ({TEXTS[v]: n for v, n in seen.counts().sort("value").iter_rows()}, seen.whole)
        for name, seen in found.items()
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "items.csv").write_text(
        'item,kind\n1,a\n2,a|b|a\n3,\n4,c\n1,a\n,d\n5,e,more\n6\n"7",b\n'
    )
    (tmp_path / "more.csv").write_text("item,shelf\n1,x\n2,x\n9,a\n")
    (tmp_path / "users.csv").write_text("user,kind\nu,a\nv,b\nw,b\n")
    (tmp_path / "log.csv").write_text("user,item,time,kind\nu,1,5,a\nu,1,6,b\nv,2,7,b\n")
    return tmp_path


FEATURES = [
    categorical(multivalued=True, separator="|").model_dump(),
    categorical("shelf").model_dump(),
]
ITEMS = {"features": FEATURES, "joins": [{"source": {"path": "more.csv"}, "key": "item"}]}
USERS = {
    "source": {"path": "users.csv"},
    "key": "user",
    "features": [categorical().model_dump()],
}


def test_items_with_a_value_are_counted(folder: Path) -> None:
    found = counts(folder, items=ITEMS, users=USERS)
    assert found == {
        "items": (dict.fromkeys("12347", 1), True),
        "item/kind": ({"a": 2, "b": 2, "c": 1}, True),
        "item/shelf": ({"x": 2}, True),  # there is no item 9
        "user/kind": ({"a": 1, "b": 2}, True),
    }


def test_a_sample_is_not_whole(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sample, "SAMPLE_ROWS", 3)
    found = counts(folder, items=ITEMS, users=USERS)
    assert found == {
        "items": (dict.fromkeys("123", 1), False),
        "item/kind": ({"a": 2, "b": 1}, False),
        "item/shelf": ({"x": 2, "a": 1}, False),  # item 9 may exist
        "user/kind": ({"a": 1, "b": 2}, True),
    }
    assert counts(folder, everything=True, items=ITEMS)["items"][1]


def test_what_is_erased_is_not_seen(folder: Path) -> None:
    (folder / "gone.csv").write_text("gone\n1\na\n")
    keys = {"source": {"path": "gone.csv"}, "key": "gone"}
    found = counts(folder, items=ITEMS, erase={"items": keys, "values": {"kind": keys}})
    assert found["items"][0] == dict.fromkeys("2347", 1)
    assert found["item/kind"][0] == {"b": 2, "c": 1}


def test_items_of_a_denormalised_log(folder: Path) -> None:
    items = {"source": "interactions", "features": [categorical().model_dump()]}
    found = counts(folder, items=items, interactions={"item": "item"})
    assert found == {
        "items": ({"1": 1, "2": 1}, True),
        "item/kind": ({"a": 1, "b": 2}, True),  # item 1 has had both
    }
