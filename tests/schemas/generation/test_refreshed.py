"""Generations with ancestors: retired items, erased values, ids that are not consecutive, places in a lineage."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from heterrec_schemas import Generation, open_generation
from heterrec_schemas.errors import CorruptGenerationError
from heterrec_schemas.generation import item_in_words, overview, user_in_words
from heterrec_schemas.generation.decode import decode_cells
from heterrec_schemas.generation.lineage import begun_at, fitted_at, place_of_content, whole_lineage
from heterrec_schemas.testing import Changes, child_generation, small_generation

Rows = list[dict[str, Any]]


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A build and two descendants."""
    parent = small_generation(tmp_path_factory.mktemp("chain"))
    ids = open_generation(parent).items(["item_id"])["item_id"].to_pylist()
    brand = open_generation(parent).vocabulary("brand")["value"][0].as_py()
    changes = Changes(
        new={"NEW": ids[0]},
        retire=[ids[3], ids[-1]],
        erase=[ids[6]],
        admit={"brand": ["Fresh"]},
        erase_values={"brand": [brand]},
        refit=["price"],
        begin="colour",
    )
    child = child_generation(parent, changes)
    return [parent, child, child_generation(child, Changes(retire=[ids[1], "NEW"]))]


@pytest.fixture(scope="module")
def generations(roots: list[Path]) -> list[Generation]:
    return [open_generation(root) for root in roots]


def test_retired_items_have_rows_beside_the_catalogue(generations: list[Generation]) -> None:
    parent, child, third = generations
    assert parent.retired_shards() == []
    ids = parent.items(["item_id"])["item_id"].to_pylist()
    retired = child.read(child.retired_shards())
    assert retired["item_id"].to_pylist() == [ids[3], ids[-1]]
    assert retired.schema.names == child.items().schema.names
    known = third.read(third.known_item_shards(), ["item_index"])["item_index"].to_pylist()
    assert len(known) == len(set(known)) == len(ids)
    assert max(known) == third.manifest.item_vocabulary_size - 1
    assert known != sorted(known)


def test_a_retired_item_in_words(generations: list[Generation]) -> None:
    parent, child, third = generations
    name = parent.items(["item_id"])["item_id"][3].as_py()
    before, after = (item_in_words(generation, name) for generation in (parent, third))
    assert (before["item_index"], before["status"]) == (after["item_index"], "active")
    assert after["status"] == "retired"
    assert after["shard"].startswith("retired/")
    assert after["features"]["look"] == before["features"]["look"]
    assert after["features"]["colour"]["words"] == "(missing)"
    assert {t["table"] for t in overview(child)["tables"]} >= {"items/items", "retired/items"}
    histories = child.sequences("latest").to_pylist()
    user = next(r["user_id"] for r in histories if before["item_index"] in r["item_index"])
    events = user_in_words(child, user)["splits"]["latest"][0]["history"]
    assert name in {event["item_id"] for event in events}
    assert None not in {event["item_id"] for event in events}


def test_an_erased_value_has_no_text(generations: list[Generation]) -> None:
    child = generations[1]
    rows = child.vocabulary("brand").to_pylist()
    (erased,) = (row["id"] for row in rows if row["status"] == "erased")
    assert decode_cells(child, "brand", [erased])[0]["words"] == "(erased)"
    assert decode_cells(child, "brand", [erased])[0]["value"] is None
    (gone,) = (r for r in child.vocabulary("item").to_pylist() if r["status"] == "erased")
    assert gone["value"] is None


@pytest.mark.parametrize(
    ("status", "value", "words"),
    [
        ("active", None, "has a null, status being 'active'"),
        ("erased", "Sony", "has a value, status being 'erased'"),
    ],
)
def test_a_value_is_null_exactly_where_it_is_erased(
    roots: list[Path], tmp_path: Path, status: str, value: str | None, words: str
) -> None:
    generation = open_generation(roots[1])
    (path,) = generation.vocabulary_shards("brand")
    table = generation.read([path])
    rows = table.to_pylist()
    rows[2] |= {"status": status, "value": value}
    file = roots[1] / path
    whole = file.read_bytes()
    try:
        pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), file)
        with pytest.raises(CorruptGenerationError, match=f"'value': row 2 {words}"):
            generation.vocabulary("brand")
        assert generation.read([path], ["value"])["value"].to_pylist()[2] == value
    finally:
        file.write_bytes(whole)


def test_places_in_a_lineage(generations: list[Generation]) -> None:
    parent, child, third = (generation.manifest for generation in generations)
    assert [known.generation for known in whole_lineage(third)] == [
        parent.generation,
        child.generation,
        third.generation,
    ]
    contents = [m.content_sha256 for m in (parent, child, third)]
    assert [place_of_content(third, c) for c in contents] == [0, 1, 2]
    assert [place_of_content(child, c) for c in contents] == [0, 1, None]
    entries = {entry.name: entry for entry in third.features if entry.side == "item"}
    assert {n: (begun_at(third, e), fitted_at(third, e)) for n, e in entries.items()} == {
        **dict.fromkeys(["category", "brand", "path", "look"], (0, 0)),
        "price": (0, 1),
        "colour": (1, 1),
    }
    # a manifest that does not state it: the generation itself
    assert {begun_at(parent, entry) for entry in parent.features} == {0}
    assert entries["price"].boundary_version == 2


def test_equal_contents_have_the_last_place(generations: list[Generation]) -> None:
    third = generations[2].manifest
    again = third.model_copy(update={"content_sha256": third.lineage[1].content_sha256})
    assert place_of_content(again, again.content_sha256) == 2
