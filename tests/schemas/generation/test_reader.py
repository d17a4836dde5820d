import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from heterrec_schemas import Generation, open_generation
from heterrec_schemas.errors import CallError, CorruptGenerationError, FormatVersionError
from heterrec_schemas.generation.reader import Generation as Reader
from heterrec_schemas.manifest import SPLITS
from heterrec_schemas.tables import METADATA_KEY
from heterrec_schemas.testing import Settings, small_generation

Copy = Callable[[], Path]


def test_an_unknown_way_to_verify_is_refused(output: Path) -> None:
    with pytest.raises(CallError, match="verify: got 'hash', expected 'hashes' or 'sizes'"):
        open_generation(output, verify="hash")  # type: ignore[arg-type]


def test_a_uri_opens_like_a_path(output: Path, generation: Generation) -> None:
    by_uri = open_generation(f"file://{output}")
    assert by_uri.manifest == generation.manifest
    assert by_uri.spec == generation.spec
    assert by_uri.items().equals(generation.items())
    assert by_uri.root == f"file://{generation.root}"


def test_shards_can_be_opened_by_other_readers(generation: Generation) -> None:
    for path in (*generation.item_shards(), *generation.sequence_shards("train")):
        assert len(pl.read_parquet(generation.locate(path))) > 0


def test_item_shards_make_up_the_items(rich_generation: Generation) -> None:
    shards = rich_generation.item_shards()
    assert shards == [f"items/items-{n:05d}-of-00003.parquet" for n in range(3)]
    items = rich_generation.items()
    assert len(items) == rich_generation.manifest.counts.items.kept
    assert items["item_index"].to_pylist() == sorted(items["item_index"].to_pylist())
    assert items.column_names[:2] == ["item_index", "item_id"]
    assert items.schema.field("item_id").type == pa.int64()
    assert max(items["item_index"].to_pylist()) + 1 == rich_generation.manifest.item_vocabulary_size


def test_some_columns_in_the_order_asked_for(generation: Generation) -> None:
    both = ["price", "item_id"]
    assert generation.items(both).column_names == both
    assert generation.items(both)["price"].equals(generation.items()["price"])
    assert generation.sequences("test", ["user_id"]).column_names == ["user_id"]


def test_an_unknown_column_is_named(generation: Generation) -> None:
    with pytest.raises(CallError, match=r"no column 'prise' in items/.* Did you mean 'price'"):
        generation.items(["prise"])


@pytest.mark.parametrize("split", SPLITS)
def test_sequences_are_those_that_the_manifest_counts(
    rich_generation: Generation, split: str
) -> None:
    assert len(rich_generation.sequence_shards(split)) == 3
    table = rich_generation.sequences(split)
    assert len(table) == rich_generation.manifest.counts.sequences[split]


def test_an_unknown_split_is_named(generation: Generation) -> None:
    with pytest.raises(CallError, match=r"no split 'valid'. Did you mean 'validation'"):
        generation.sequences("valid")


def test_a_vocabulary_is_sorted_by_id_over_all_shards(rich_generation: Generation) -> None:
    assert len(rich_generation.vocabulary_shards("item")) == 2
    table = rich_generation.vocabulary("item")
    assert table.column_names == ["id", "value", "count", "status"]
    first = rich_generation.spec.first_item_index
    assert table["id"].to_pylist() == list(range(first, first + len(table)))
    assert set(table["value"].to_pylist()) == set(rich_generation.items()["item_id"].to_pylist())


def test_a_vocabulary_is_sorted_however_its_shards_are(copied: Copy) -> None:
    generation = open_generation(copied())
    whole = generation.vocabulary("brand")
    path = generation.locate(generation.vocabulary_shards("brand")[0])
    pq.write_table(whole.take(list(range(len(whole)))[::-1]), path)
    assert generation.vocabulary("brand").equals(whole)


@pytest.mark.parametrize("name", ["category", "brand", "path", "user_age"])
def test_features_have_vocabularies(generation: Generation, name: str) -> None:
    entries = {
        (f.name if f.side == "item" else f"user_{f.name}"): f for f in generation.manifest.features
    }
    ids = generation.vocabulary(name)["id"].to_pylist()
    assert max(ids) + 1 == entries[name].vocabulary_size


@pytest.mark.parametrize(
    ("name", "hint"), [("user_agee", "'user_age'"), ("brands", "'brand'"), ("price", "Known: ")]
)
def test_an_unknown_vocabulary_is_named(generation: Generation, name: str, hint: str) -> None:
    with pytest.raises(CallError, match=f"there is no vocabulary '{name}' .*{hint}"):
        generation.vocabulary(name)


@pytest.mark.parametrize("name", ["price", "user_age_bin"])
def test_boundaries_are_ascending(generation: Generation, name: str) -> None:
    edges = generation.boundaries(name)
    assert edges.dtype == np.float64
    assert len(edges) > 1
    assert (np.diff(edges) > 0).all()


def test_quantizers_are_a_grid(generation: Generation) -> None:
    edges = generation.quantizers("look")
    assert edges.dtype == np.float32
    assert edges.shape == (2, 16)
    assert (np.diff(edges, axis=0) >= 0).all()
    rows = generation.read(["quantizers/look.parquet"]).to_pylist()
    assert all(edges[r["edge_index"], r["dim"]] == np.float32(r["edge"]) for r in rows)


@pytest.mark.parametrize("read", ["boundaries", "quantizers"])
def test_unknown_edges_are_named(generation: Generation, read: str) -> None:
    with pytest.raises(CallError, match=f"there is no {read} 'brand'"):
        getattr(generation, read)("brand")


def test_features_are_found_by_the_names_of_their_files(generation: Generation) -> None:
    assert generation.feature("user_age").column == "age"
    assert generation.feature("price").kind == "numeric"
    with pytest.raises(CallError, match=r"no feature 'pric'\. Did you mean 'price'"):
        generation.feature("pric")


def test_item_counts_are_the_train_interactions(generation: Generation) -> None:
    counts = generation.item_counts()
    indices = counts["item_index"].to_pylist()
    assert indices == sorted(indices)
    assert min(counts["train_count"].to_pylist()) > 0


def test_there_may_be_nothing_rejected(generation: Generation) -> None:
    rejects = generation.rejects()
    assert len(rejects) == 0
    assert rejects.column_names == ["source", "file", "row", "column", "reason", "value"]


def test_statistics(generation: Generation) -> None:
    assert generation.statistics() == {}
    files = [f for f in generation.manifest.files if f.path != "statistics.json"]
    bare = generation.manifest.model_copy(update={"files": files})
    assert Reader(generation.folder, bare, generation.spec).statistics() == {}


def test_statistics_are_read(copied: Copy) -> None:
    generation = open_generation(copied())
    Path(generation.locate("statistics.json")).write_text('{"a": 1}')
    assert generation.statistics() == {"a": 1}


def test_a_table_that_the_manifest_does_not_list(generation: Generation) -> None:
    files = [f for f in generation.manifest.files if not f.path.startswith("items/")]
    bare = generation.manifest.model_copy(update={"files": files})
    with pytest.raises(CorruptGenerationError, match="lists no file of items/"):
        Reader(generation.folder, bare, generation.spec).items()


def test_files_are_those_of_one_folder(generation: Generation) -> None:
    assert [f.path for f in generation.files("boundaries")] == [
        "boundaries/price.parquet",
        "boundaries/user_age_bin.parquet",
    ]
    assert generation.files("boundary") == []


# --- shards


def with_format(path: Path, edit: Callable[[dict[bytes, bytes]], object]) -> None:
    """Write a shard again with other metadata."""
    table = pq.read_table(path)
    metadata = dict(table.schema.metadata)
    edit(metadata)
    pq.write_table(table.replace_schema_metadata(metadata), path)


@pytest.mark.parametrize(
    ("edit", "error", "words"),
    [
        (lambda m: m.pop(METADATA_KEY), CorruptGenerationError, "has no format version"),
        (
            lambda m: m.update({METADATA_KEY: b"{"}),
            CorruptGenerationError,
            "has no format version",
        ),
        (
            lambda m: m.update({METADATA_KEY: b"[]"}),
            CorruptGenerationError,
            "has no format version",
        ),
        (
            lambda m: m.update({METADATA_KEY: b'{"format_version": 2}'}),
            FormatVersionError,
            "unknown format version: got 2, expected 1",
        ),
    ],
)
def test_every_shard_says_its_format_version(
    copied: Copy, edit: Any, error: type[Exception], words: str
) -> None:
    generation = open_generation(copied())
    with_format(Path(generation.locate(generation.item_shards()[1])), edit)
    with pytest.raises(error, match=f"items-00001-of-00002.parquet.*{words}"):
        generation.items()
    with pytest.raises(error, match=words):
        generation.rows(generation.item_shards(), "item_index", [2])


def test_shards_lost_after_opening_are_named(copied: Copy) -> None:
    generation = open_generation(copied())
    first, second = generation.item_shards()
    Path(generation.locate(second)).unlink()
    Path(generation.locate(first)).write_text("nothing")
    with pytest.raises(CorruptGenerationError, match=r"00001-of-00002\.parquet is absent"):
        generation.read([second])
    with pytest.raises(CorruptGenerationError, match="is not a readable Parquet file"):
        generation.read([first])


def test_a_broken_grid_of_edges_is_refused(copied: Copy) -> None:
    generation = open_generation(copied())
    path = Path(generation.locate("quantizers/look.parquet"))
    table = pq.read_table(path)
    for broken, words in (
        (table.slice(1), "another number of rows than manifest.json says: got 31, expected 32"),
        (pa.concat_tables([table.slice(0, 31), table.slice(0, 1)]), "is not a full grid: got 32"),
    ):
        pq.write_table(broken, path)
        with pytest.raises(CorruptGenerationError, match=words):
            generation.quantizers("look")


@pytest.fixture(scope="module")
def with_codebooks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_generation(tmp_path_factory.mktemp("codebooks"), settings=Settings(codebooks=True))


def test_codebooks_are_read(with_codebooks: Path) -> None:
    generation = open_generation(with_codebooks)
    assert [book.shape for book in generation.codebooks("parts")] == [(8, 8)] * 2
    assert [book.shape for book in generation.codebooks("rests")] == [(4, 16)] * 3
    assert generation.items(["rests"])["rests"].type == pa.list_(pa.int32(), 3)
    with pytest.raises(CallError, match="'rests' has codebooks, not quantile edges"):
        generation.quantizers("rests")
    with pytest.raises(CallError, match="'look' has quantile edges, no codebooks"):
        generation.codebooks("look")


def test_reductions_are_read(with_codebooks: Path) -> None:
    generation = open_generation(with_codebooks)
    found = generation.reduction("turned")
    assert [part.shape for part in found] == [(16,), (16,), (16, 4)]
    assert generation.quantizers("turned").shape == (2, 4)
    with pytest.raises(CallError, match="the vectors of 'look' are not reduced"):
        generation.reduction("look")
    path = Path(generation.locate("quantizers/turned.reduce.parquet"))
    table, whole = pq.read_table(path), path.read_bytes()
    dims = pa.array([*range(1, 16), 15], pa.int32())
    pq.write_table(table.set_column(0, table.schema.field("dim"), dims), path)
    with pytest.raises(CorruptGenerationError, match="column 'dim': row 15"):
        generation.reduction("turned")
    path.write_bytes(whole)


def test_broken_codebooks_are_refused(with_codebooks: Path) -> None:
    generation = open_generation(with_codebooks)
    path = Path(generation.locate("quantizers/rests.parquet"))
    table, whole = pq.read_table(path), path.read_bytes()
    codes = table["code"].to_pylist()
    for code, words in (
        ([*codes[:11], 4], "column 'code': row 11 has the value 4, expected 0 to 3"),
        ([0, *codes[:11]], "does not list the codes of all codebooks in order: got 12 rows of 3"),
    ):
        column = pa.array(code, pa.int32())
        pq.write_table(table.set_column(1, table.schema.field("code"), column), path)
        with pytest.raises(CorruptGenerationError, match=words):
            generation.codebooks("rests")
    path.write_bytes(whole)


def test_rows_are_filtered(rich_generation: Generation) -> None:
    shards, items = rich_generation.item_shards(), rich_generation.items()
    wanted = items["item_index"].to_pylist()[5:50:7]
    found = rich_generation.rows(shards, "item_index", wanted, ["price", "item_id"])
    assert found.column_names == ["price", "item_id"]
    assert found.equals(items.take(list(range(5, 50, 7))).select(["price", "item_id"]))
    assert len(rich_generation.rows(shards, "item_index", [])) == 0
    assert len(rich_generation.rows(shards, "item_index", [10**6])) == 0


def test_rows_by_text(generation: Generation) -> None:
    key = generation.items(["item_id"])["item_id"][7].as_py()
    (row,) = generation.rows(generation.item_shards(), "item_id", [key]).to_pylist()
    assert row["item_id"] == key


def test_row_groups_that_cannot_hold_a_value_are_not_read(
    copied: Copy, monkeypatch: pytest.MonkeyPatch
) -> None:
    generation = open_generation(copied())
    shards = generation.item_shards()
    for path in map(Path, map(generation.locate, shards)):
        pq.write_table(pq.read_table(path), path, row_group_size=10)
    read: list[int] = []
    original = pq.ParquetFile.read_row_group

    def spy(self: pq.ParquetFile, group: int, **options: Any) -> pa.Table:
        read.append(group)
        return original(self, group, **options)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", spy)
    # Items 2 to 61 in two shards of three row groups.
    assert len(generation.rows(shards, "item_index", [2, 25, 61])) == 3
    assert read == [0, 2, 2]


def test_an_open_generation_can_be_sent_to_a_worker(generation: Generation) -> None:
    back = pickle.loads(pickle.dumps(generation))
    assert back.items().equals(generation.items())
