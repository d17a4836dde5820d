"""Shards with the right hashes and a wrong content: every reader names the file and the row."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from heterrec_schemas import Generation, open_generation
from heterrec_schemas.errors import CorruptGenerationError
from heterrec_schemas.generation import item_in_words, user_in_words
from heterrec_schemas.manifest import Manifest
from heterrec_schemas.testing import Settings, small_generation

Copy = Callable[[], Path]
Change = Callable[[list[dict[str, Any]]], object]


def forged(root: Path, path: str, table: pa.Table) -> Generation:
    """Replace a shard, and open the generation as if the manifest had been forged accordingly."""
    generation = open_generation(root)
    pq.write_table(table, root / path, row_group_size=4)
    entries = [
        f.model_copy(update={"rows": len(table)}) if f.path == path else f
        for f in generation.manifest.files
    ]
    manifest = generation.manifest.model_copy(update={"files": entries})
    return Generation(generation.folder, manifest, generation.spec)


def changed(root: Path, path: str, change: Change, nulls: bool = False) -> Generation:
    """Change the rows of a shard as plain values; with `nulls` its columns may have nulls."""
    table = pq.read_table(root / path)
    rows, schema = table.to_pylist(), table.schema
    change(rows)
    if nulls:
        schema = pa.schema([f.with_nullable(True) for f in schema], metadata=schema.metadata)
    return forged(root, path, pa.Table.from_pylist(rows, schema=schema))


def put(row: int, column: str, value: Any) -> Change:
    return lambda rows: rows[row].update({column: value})


ITEMS, TRAIN = "items/items-00000-of-00002.parquet", "sequences/train-00000-of-00003.parquet"
TEST = "sequences/test-00000-of-00003.parquet"
COUNTS = "item_counts/item_counts-00000-of-00001.parquet"
BRANDS = "vocabularies/brand-00000-of-00001.parquet"
HUGE = 2**31 - 1


def first(key: str, value: Any) -> Callable[[list[dict[str, Any]]], object]:
    """Replace the first value of a list in row 5."""

    def change(rows: list[dict[str, Any]]) -> None:
        rows[5][key] = [value, *rows[5][key][1:]]

    return change


def longer(key: str) -> Callable[[list[dict[str, Any]]], object]:
    return lambda rows: rows[5][key].append(rows[5][key][-1])


CASES: list[tuple[str, Change, str]] = [
    (ITEMS, put(5, "brand", 0), "'brand': row 5 has the value 0, expected 1 to "),
    (ITEMS, put(5, "brand", -7), "'brand': row 5 has the value -7, expected 1 to "),
    (ITEMS, put(5, "brand", HUGE), "'brand': row 5 has the value 2147483647, expected 1 to "),
    (ITEMS, put(6, "price", HUGE), "'price': row 6 has the value 2147483647"),
    (ITEMS, first("path", HUGE), "'path': row 5 has the value 2147483647"),
    (ITEMS, put(5, "path", []), "'path': row 5 has an empty list"),
    (ITEMS, first("look", -1), "'look': row 5 has the value -1"),
    (ITEMS, put(5, "brand", None), "'brand': row 5 has a null"),
    (ITEMS, put(5, "path", None), "'path': row 5 has a null"),
    (ITEMS, first("path", None), "'path': row 5 has a null"),
    (ITEMS, first("look", None), "'look': row 5 has a null"),
    (ITEMS, put(5, "item_id", None), "'item_id': row 5 has a null"),
    (ITEMS, put(5, "item_index", 1), "'item_index': row 5 has the value 1, expected 2 to 61"),
    (ITEMS, put(5, "item_index", 62), "'item_index': row 5 has the value 62, expected 2 to 61"),
    (ITEMS, put(6, "item_index", 7), "'item_index': row 6 has values in a wrong order"),
    (TRAIN, first("item_index", -1), "'item_index': row 5 has the value -1"),
    (TRAIN, first("item_index", 10**12), "'item_index': row 5 has the value 1000000000000"),
    (TRAIN, longer("item_index"), "row 5 has another number of values than 'item_index'"),
    (TRAIN, longer("behaviour"), "'behaviour': row 5 has another number of values than"),
    (TRAIN, first("timestamp_ms", 7_258_118_399_999), "'timestamp_ms': row 5 has values in a wr"),
    (TRAIN, first("timestamp_ms", -1), "'timestamp_ms': row 5 has the value -1"),
    (TRAIN, first("behaviour", 99), "'behaviour': row 5 has the value 99"),
    (TRAIN, put(5, "user_age", 0), "'user_age': row 5 has the value 0"),
    (TRAIN, put(5, "user_id", None), "'user_id': row 5 has a null"),
    (TEST, first("target_item_index", 1), "'target_item_index': row 5 has the value 1"),
    (TEST, longer("target_timestamp_ms"), "than 'target_item_index'"),
    (TEST, put(5, "target_item_index", []), "'target_item_index': row 5 has an empty list"),
    (COUNTS, put(5, "train_count", 0), "'train_count': row 5 has the value 0, expected at least 1"),
    (COUNTS, put(5, "item_index", 10**9), "'item_index': row 5 has the value 1000000000"),
    (BRANDS, put(1, "id", 10**9), "'id': row 1 has the value 1000000000"),
    (BRANDS, put(1, "value", None), "'value': row 1 has a null"),
    ("boundaries/price.parquet", put(1, "edge", float("nan")), "row 1 has a number that is not f"),
    ("boundaries/price.parquet", put(1, "edge", -1e9), "'edge': row 1 has values in a wrong order"),
    ("quantizers/look.parquet", put(3, "edge", float("inf")), "row 3 has a number that is not f"),
    ("rejects/rejects-00000-of-00001.parquet", lambda r: r.append({"row": 1}), "row 0 has a null"),
]


@pytest.mark.parametrize(("path", "change", "words"), CASES, ids=[c[2][:40] for c in CASES])
def test_wrong_content_is_named(copied: Copy, path: str, change: Change, words: str) -> None:
    generation = changed(copied(), path, change, nulls=True)
    with pytest.raises(CorruptGenerationError) as caught:
        generation.read([path])
    assert path in caught.value.message
    assert words in caught.value.message
    with pytest.raises(CorruptGenerationError) as caught:
        list(generation.row_groups(path, pq.read_schema(generation.locate(path)).names))
    assert words in caught.value.message


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (put(5, "first_ms", -1), "'first_ms': row 5 has the value -1"),
        (put(5, "item_index", 10**9), "'item_index': row 5 has the value 1000000000"),
        (put(5, "item_index", 2), "'item_index': row 5 has values in a wrong order"),
    ],
)
def test_wrong_times_of_items_are_named(tmp_path: Path, change: Change, words: str) -> None:
    root = small_generation(tmp_path, 1, settings=Settings(split="temporal"))
    path = "item_times/first_interaction-00000-of-00001.parquet"
    generation = changed(root, path, change)
    with pytest.raises(CorruptGenerationError) as caught:
        generation.first_interactions()
    assert words in caught.value.message


def test_columns_that_are_not_read_are_not_checked(copied: Copy) -> None:
    generation = changed(copied(), ITEMS, put(5, "brand", 0))
    assert len(generation.items(["item_index", "price"])) == 60


@pytest.mark.parametrize(
    ("column", "kind"),
    [
        ("brand", pa.int64()),
        ("brand", pa.string()),
        ("path", pa.int32()),
        ("item_id", pa.binary()),
    ],
)
def test_another_type_is_named(copied: Copy, column: str, kind: pa.DataType) -> None:
    root = copied()
    table = pq.read_table(root / ITEMS)
    place = table.column_names.index(column)
    cells = pa.nulls(len(table), kind)
    generation = forged(root, ITEMS, table.set_column(place, column, cells))
    with pytest.raises(CorruptGenerationError, match=f"column '{column}': got {kind}, expected "):
        generation.items()


def test_shards_of_other_types_are_named(copied: Copy) -> None:
    """A column may be one of keys of either type, or nullable, but not in one shard only."""
    root = copied()
    table = pq.read_table(root / ITEMS)
    field = table.schema.field("item_id").with_nullable(True)
    generation = forged(root, ITEMS, table.set_column(1, field, table["item_id"]))
    for read in (generation.items, lambda: generation.rows(generation.item_shards(), "brand", [1])):
        with pytest.raises(
            CorruptGenerationError, match=f"-00001-.* columns or types than {ITEMS}"
        ):
            read()


def test_an_absent_column_is_named(copied: Copy) -> None:
    root = copied()
    generation = forged(root, ITEMS, pq.read_table(root / ITEMS).drop_columns(["brand"]))
    with pytest.raises(CorruptGenerationError, match="column 'brand': got none, expected int32"):
        generation.items(["item_index"])


def test_text_that_is_no_utf8_is_named(copied: Copy) -> None:
    root = copied()
    table = pq.read_table(root / ITEMS)
    ids = pa.array([b"\xff\xfe"] * len(table)).view(pa.string())
    generation = forged(root, ITEMS, table.set_column(1, table.schema.field(1), ids))
    with pytest.raises(CorruptGenerationError, match="column 'item_id': Invalid"):
        generation.items()


def test_descriptions_of_forged_rows(copied: Copy) -> None:
    root = copied()
    key = pq.read_table(root / ITEMS)["item_id"][5].as_py()
    latest = "sequences/latest-00000-of-00003.parquet"
    user = pq.read_table(root / latest)["user_id"][5].as_py()
    generation = changed(root, ITEMS, put(5, "brand", HUGE))
    with pytest.raises(CorruptGenerationError, match="'brand': row 5 has the value"):
        item_in_words(generation, key)
    shutil.rmtree(root.parents[1])
    generation = changed(copied(), latest, first("behaviour", 99))
    with pytest.raises(CorruptGenerationError, match="'behaviour': row 5 has the value 99"):
        user_in_words(generation, user)


def test_a_rich_generation_has_no_faults(rich_generation: Generation) -> None:
    for entry in rich_generation.manifest.files:
        if entry.rows is not None:
            assert len(rich_generation.read([entry.path])) == entry.rows


def test_flattened_tokens(rich_generation: Generation, tmp_path: Path) -> None:
    shutil.copytree(rich_generation.root, tmp_path / "copy")
    path = rich_generation.sequence_shards("latest")[0]
    generation = changed(tmp_path / "copy", path, longer("item_brand"))
    with pytest.raises(CorruptGenerationError, match="'item_brand': row 5 has another number"):
        generation.read([path])


def test_manifests_with_negative_sizes(generation: Generation) -> None:
    data = generation.manifest.model_dump(mode="json")
    data["features"][0]["vocabulary_size"] = -1
    with pytest.raises(ValueError, match="vocabulary_size"):
        Manifest.model_validate(data)
