"""Shards with the sizes of the manifest and a wrong content stop the loaders with one message."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from loader_helpers import config

from heterrec_model.data.inference_batches import split_batches
from heterrec_model.data.token_table import open_token_table
from heterrec_model.data.train_loader import TrainLoader
from heterrec_schemas import Generation
from heterrec_schemas.errors import CorruptGenerationError
from heterrec_schemas.generation import open_folder


@pytest.fixture
def forge(generation: Generation, tmp_path: Path) -> Callable[..., Generation]:
    """Makes a copy of the generation with the rows of one shard changed."""
    shutil.copytree(generation.root, tmp_path / "copy")

    def make(path: str, change: Callable[[list[dict[str, Any]]], object]) -> Generation:
        table = pq.read_table(tmp_path / "copy" / path)
        rows = table.to_pylist()
        change(rows)
        pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), tmp_path / "copy" / path)
        return replace(generation, folder=open_folder(tmp_path / "copy"))

    return make


@pytest.mark.parametrize("workers", [0, 1])
def test_a_training_row(
    forge: Callable[..., Generation], generation: Generation, workers: int
) -> None:
    path = generation.sequence_shards("train")[1]
    forged = forge(path, lambda rows: rows[2]["item_index"].append(3))
    with pytest.raises(
        CorruptGenerationError, match=r"train-00001-of-\d+\.parquet: column .* row 2"
    ):
        list(TrainLoader(forged, config(workers=workers)))


def test_a_validation_row(forge: Callable[..., Generation], generation: Generation) -> None:
    path = generation.sequence_shards("validation")[0]
    forged = forge(path, lambda rows: rows[1].update(target_item_index=[10**15]))
    with pytest.raises(CorruptGenerationError, match="row 1 has the value 1000000000000000"):
        list(split_batches(forged, "validation", config()))


def test_an_item(forge: Callable[..., Generation], generation: Generation) -> None:
    forged = forge(generation.item_shards()[0], lambda rows: rows[4].update(brand=10**6))
    with pytest.raises(CorruptGenerationError, match="'brand': row 4 has the value 1000000"):
        open_token_table(forged)
    assert len(open_token_table(forged, features=["price"]).catalogue_N) == 60


def test_shards_in_a_wrong_order(forge: Callable[..., Generation], generation: Generation) -> None:
    low, high = generation.item_shards()
    first = generation.read([high], ["item_index"])["item_index"][0].as_py()
    forged = forge(low, lambda rows: rows[-1].update(item_index=first))
    with pytest.raises(CorruptGenerationError, match="not in ascending order of item_index"):
        open_token_table(forged)


def test_item_counts(forge: Callable[..., Generation], generation: Generation) -> None:
    path = generation.files("item_counts")[0].path
    forged = forge(path, lambda rows: rows[0].update(item_index=-1))
    with pytest.raises(CorruptGenerationError, match="'item_index': row 0 has the value -1"):
        open_token_table(forged)
