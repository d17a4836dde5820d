"""Frozen vectors from files, and a run that trains on them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from heterrec_model.config import Config, FrozenConfig
from heterrec_model.data.frozen_vectors import frozen_vectors
from heterrec_model.evaluation.evaluate import evaluate_run
from heterrec_model.layers.embedding_tables import FrozenTable
from heterrec_model.runs.load_run import load_run
from heterrec_model.training.train import train
from heterrec_schemas import Generation, open_generation
from heterrec_schemas.errors import CallError, DataError
from heterrec_schemas.testing import shop

DIM = 16


@pytest.fixture(scope="module")
def generation(shop_data: Path) -> Generation:
    return open_generation(shop_data)


@pytest.fixture(scope="module")
def vectors() -> pa.Table:
    """Of the items of `shop_data`, some of which have none; and of an item that it lacks."""
    table = shop(0, users=60, interactions=1500).items.select(["item_id", "vector"])
    other = pa.table({"item_id": ["elsewhere"], "vector": [[0.5] * DIM]}, schema=table.schema)
    return pa.concat_tables([table, other])


def written(folder: Path, table: pa.Table, name: str = "vectors.parquet") -> FrozenConfig:
    pq.write_table(table, folder / name)
    return FrozenConfig(files=str(folder / "*.parquet"))


def test_every_item_has_its_vector(
    generation: Generation, vectors: pa.Table, tmp_path: Path
) -> None:
    written(tmp_path, vectors.slice(0, 7), "a.parquet")
    fixed = vectors.slice(7).filter(vectors.slice(7)["vector"].is_valid())
    fixed = fixed.set_column(1, "vector", fixed["vector"].cast(pa.list_(pa.float64(), DIM)))
    found = frozen_vectors(generation, "look", written(tmp_path, fixed, "b.parquet"))
    items = generation.items(["item_index", "item_id"]).to_pylist()
    known = {row["item_id"]: row["vector"] for row in vectors.to_pylist()}
    assert found.shape == (generation.manifest.item_vocabulary_size, DIM)
    for row in items:
        expected = known[row["item_id"]] or [0.0] * DIM
        assert found[row["item_index"]].tolist() == pytest.approx(expected, rel=1e-6)
    others = set(range(len(found))) - {row["item_index"] for row in items}
    assert not found[sorted(others)].any()


def changed(vectors: pa.Table, value: list[float]) -> pa.Table:
    """The table with another vector of its first item that has one."""
    rows = vectors.to_pylist()
    next(row for row in rows if row["vector"])["vector"] = value
    return pa.Table.from_pylist(rows, schema=vectors.schema)


DAMAGES: dict[str, Callable[[pa.Table], pa.Table]] = {
    "of another width: got 3 dimensions, expected 16": lambda t: changed(t, [1.0] * 3),
    r"the vector of item '.*' is not finite": lambda t: changed(t, [np.nan] * DIM),
    r"item '.*' has two vectors": lambda t: pa.concat_tables([t, t]),
    "no item of the generation has a vector": lambda t: t.slice(len(t) - 1),
    "no column 'vector'": lambda t: t.rename_columns(["item_id", "vectors"]),
    "got string, expected lists": lambda t: t.set_column(1, "vector", pa.array(["x"] * len(t))),
}


@pytest.mark.parametrize("message", DAMAGES)
def test_damaged_vectors_are_refused(
    message: str, generation: Generation, vectors: pa.Table, tmp_path: Path
) -> None:
    frozen = written(tmp_path, DAMAGES[message](vectors))
    with pytest.raises((CallError, DataError), match=message):
        frozen_vectors(generation, "look", frozen)


def test_wrong_settings_leave_no_run_behind(
    shop_data: Path, tiny: Callable[..., Config], vectors: pa.Table, tmp_path: Path
) -> None:
    written(tmp_path, vectors)
    (tmp_path / "text.parquet.txt").write_text("text")
    for name, files, message in (
        ("look", "absent.parquet", "there is no file .*absent.parquet"),
        ("look", "text.parquet.txt", "is no Parquet file"),
        ("brand", "vectors.parquet", "model.frozen.brand: got a categorical feature"),
        ("lok", "vectors.parquet", "'lok' is no item feature. Did you mean 'look'"),
    ):
        config = tiny(model={"frozen": {name: {"files": str(tmp_path / files)}}})
        with pytest.raises(CallError, match=message):
            train(config, data=shop_data, run=tmp_path / "run", quiet=True)
        assert not (tmp_path / "run").exists()


def test_a_run_has_the_vectors_itself(
    generation: Generation,
    shop_data: Path,
    tiny: Callable[..., Config],
    vectors: pa.Table,
    tmp_path: Path,
) -> None:
    frozen = written(tmp_path, vectors)
    config = tiny(model={"features": ["look"], "frozen": {"look": frozen}}, train={"max_steps": 2})
    run = tmp_path / "run"
    train(config, data=shop_data, run=run, quiet=True)
    expected = frozen_vectors(generation, "look", frozen)
    (tmp_path / "vectors.parquet").unlink()
    table = load_run(run, data=generation).model.tables.tables["feature_look"]
    assert isinstance(table, FrozenTable)
    assert torch.equal(table.vectors_IF, expected)
    assert evaluate_run(run, generation).metrics["recall@10"] is not None
    assert train(config, data=shop_data, run=run, resume=True, quiet=True).step == 2
    with pytest.raises(CallError, match="there is no file"):
        train(config, data=shop_data, run=tmp_path / "other", quiet=True)
