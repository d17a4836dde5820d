import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from heterrec_schemas import CallError, DataError, Generation, open_generation
from heterrec_schemas.testing import Settings, small_generation
from heterrec_schemas.views import dataset_card, to_huggingface, write_huggingface, write_recbole
from heterrec_schemas.views.events import events
from heterrec_schemas.views.recbole import _check_keys


def table(path: Path) -> pl.DataFrame:
    return pl.read_csv(path, separator="\t", infer_schema=False)


def targets(generation: Generation, split: str) -> set[tuple[Any, Any, int]]:
    items = generation.items(["item_index", "item_id"]).to_pydict()
    keys = dict(zip(items["item_index"], items["item_id"], strict=True))
    return {
        (row["user_id"], keys[item], time)
        for row in generation.sequences(split).to_pylist()
        for item, time in zip(row["target_item_index"], row["target_timestamp_ms"], strict=True)
    }


def test_the_parts_of_leave_one_out_are_its_targets(generation: Generation) -> None:
    log = pl.concat(events(generation))
    for split in ("validation", "test"):
        rows = log.filter(pl.col("split") == split)
        found = set(rows.select("user_id", "item_id", "timestamp_ms").rows())
        assert found == targets(generation, split)


def test_the_parts_of_temporal_splits_follow_the_cuts(rich_generation: Generation) -> None:
    cuts = rich_generation.manifest.cuts
    log = pl.concat(events(rich_generation))
    for split, low, high in (
        ("train", 0, cuts["validation_at_ms"]),
        ("validation", cuts["validation_at_ms"], cuts["test_at_ms"]),
        ("test", cuts["test_at_ms"], 2**62),
    ):
        times = log.filter(pl.col("split") == split)["timestamp_ms"]
        assert times.is_between(low, high, closed="left").all()
    assert log["item_id"].null_count() == 0  # without items outside the catalogue
    items = set(rich_generation.items(["item_index"])["item_index"].to_pylist())
    kept = [
        item
        for row in rich_generation.sequences("latest", ["item_index"])["item_index"].to_pylist()
        for item in row
        if item in items
    ]
    assert len(log) == len(kept)


def test_parts_need_three_interactions(tmp_path: Path) -> None:
    small_generation(tmp_path / "shop", 0, settings=Settings(max_length=2))
    with pytest.raises(CallError, match="at least 3"):
        write_recbole(open_generation(tmp_path / "shop"), tmp_path / "shop-recbole")
    assert [p.name for p in tmp_path.iterdir()] == ["shop"]


def test_recbole_files(generation: Generation, tmp_path: Path) -> None:
    rows = write_recbole(generation, tmp_path / "shop")
    log = pl.concat(events(generation))
    inter = table(tmp_path / "shop" / "shop.inter")
    assert inter["item_id:token"].to_list() == log["item_id"].cast(pl.String).to_list()
    assert rows["shop.inter"] == len(log)
    parts = [f"shop.{part}.inter" for part in ("train", "valid", "test")]
    assert sum(rows[p] for p in parts) == len(log)
    items = generation.items()
    found = table(tmp_path / "shop" / "shop.item")
    assert found["brand:token"].to_list() == [str(v) for v in items["brand"].to_pylist()]
    look = [
        " ".join(f"{g}.{code}" for g, code in enumerate(cell)) for cell in items["look"].to_pylist()
    ]
    assert found["look:token_seq"].to_list() == look
    paths = [" ".join(map(str, cell)) for cell in items["path"].to_pylist()]
    assert found["path:token_seq"].to_list() == paths
    settings = yaml.safe_load((tmp_path / "shop" / "recbole.yaml").read_text())
    assert settings["eval_args"]["split"] == {"LS": "valid_and_test"}


def test_keys_that_pandas_reads_as_missing_are_refused() -> None:
    with pytest.raises(DataError, match="'NA'"):
        _check_keys(pl.DataFrame({"item_id:token": ["a", "NA"]}))


def test_an_existing_output_is_left_as_it_is(generation: Generation, tmp_path: Path) -> None:
    (tmp_path / "shop").mkdir()
    for write in (write_recbole, write_huggingface):
        with pytest.raises(CallError, match="exists"):
            write(generation, tmp_path / "shop")
        with pytest.raises(CallError, match="local folder"):
            write(generation, "gs://bucket/shop")
    assert [p.name for p in tmp_path.iterdir()] == ["shop"]
    assert list((tmp_path / "shop").iterdir()) == []


def test_the_folder_for_hugging_face(generation: Generation, tmp_path: Path) -> None:
    rows = write_huggingface(generation, tmp_path / "out" / "shop")
    folder = tmp_path / "out" / "shop"
    assert (folder / "README.md").read_text() == dataset_card(generation)
    assert not (folder / "rejects").exists()
    for entry in generation.files("sequences"):
        assert (folder / entry.path).stat().st_size == entry.bytes
        assert rows[entry.path] == entry.rows
    header = yaml.safe_load(dataset_card(generation).split("---")[1])
    for config in header["configs"]:
        for file in config["data_files"]:
            assert list(folder.glob(file["path"]))
    assert "not hashed" in dataset_card(generation)


def test_a_missing_library_is_named(
    generation: Generation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "datasets", None)
    with pytest.raises(CallError, match="pip install datasets"):
        to_huggingface(generation)


def test_the_card_is_a_text_of_the_manifest(generation: Generation) -> None:
    assert json.dumps(generation.manifest.generation)[1:-1] in dataset_card(generation)
