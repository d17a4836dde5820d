"""The code of docs/reading_a_generation.md, section by section, on a generation with every kind of feature."""

import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from heterrec_schemas import Generation, open_generation
from heterrec_schemas.generation.decode import decode_cells
from heterrec_schemas.testing import Settings, shop, small_generation

PAGE = Path(__file__).parents[3] / "docs" / "reading_a_generation.md"
SECTIONS = dict(re.findall(r"\n## ([^\n]+)\n(.*?)(?=\n## |\Z)", PAGE.read_text("utf-8"), re.DOTALL))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("reading")
    small_generation(
        found / "shop", 0, settings=Settings(), goods=shop(0, users=20, interactions=300)
    )
    return found


@pytest.fixture
def generation(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Generation:
    monkeypatch.chdir(folder)
    return open_generation("shop")


def run(*sections: str) -> dict[str, Any]:
    """The names that the code of some sections defines, after that of the first one."""
    found: dict[str, Any] = {}
    for section in ("The folder", *sections):
        for block in re.findall(r"```python\n(.*?)```", SECTIONS[section], re.DOTALL):
            exec(block, found)
    return found


def decoded(generation: Generation, feature: str, part: str) -> list[Any]:
    cells = generation.items([feature])[feature].to_pylist()
    return [cell.get(part) for cell in decode_cells(generation, feature, cells)]


def events(generation: Generation) -> list[tuple[Any, Any, int]]:
    """User, item and time of every interaction."""
    items = generation.items(["item_index", "item_id"]).to_pydict()
    keys = dict(zip(items["item_index"], items["item_id"], strict=True))
    return [
        (row["user_id"], keys.get(item), time)
        for row in generation.sequences("latest").to_pylist()
        for item, time in zip(row["item_index"], row["timestamp_ms"], strict=True)
    ]


def targets(generation: Generation) -> list[int]:
    """The items of all targets of the test split."""
    cells = generation.sequences("test", ["target_item_index"])["target_item_index"].to_pylist()
    return [item for cell in cells for item in cell]


def test_polars(generation: Generation) -> None:
    found = run("Polars")
    named = found["named"]
    assert named["item_id"].to_list() == generation.items()["item_id"].to_pylist()
    assert named["brand_name"].to_list() == decoded(generation, "brand", "value")
    assert named["price_from"].to_list() == decoded(generation, "price", "low")
    assert named["price_below"].to_list() == decoded(generation, "price", "high")
    paths = decoded(generation, "path", "values")
    assert found["path_names"]["path_name"].to_list() == [p or [None] for p in paths]
    rows = found["events"].select("user_id", "item_id", "timestamp_ms").rows()
    assert sorted(map(repr, rows)) == sorted(map(repr, events(generation)))


def test_pandas(generation: Generation) -> None:
    pandas = pytest.importorskip("pandas")
    found = run("pandas")
    names = [None if pandas.isna(n) else n for n in found["catalogue"]["brand_name"]]
    assert names == decoded(generation, "brand", "value")
    log = found["log"][["user_id", "item_id", "timestamp_ms"]]
    rows = [(u, None if pandas.isna(i) else i, t) for u, i, t in log.itertuples(index=False)]
    assert rows == events(generation)
    assert [round(t.timestamp() * 1000) for t in found["log"]["time"]] == [t for *_, t in rows]
    assert found["targets"]["target_item_index"].tolist() == targets(generation)


def test_duckdb(generation: Generation) -> None:
    pytest.importorskip("duckdb", reason="needs duckdb of the extra dev")
    found = run("DuckDB")
    assert len(found["best"]) == 10
    assert len(found["interactions"]) == len(events(generation))
    indexes = generation.items(["item_index"])["item_index"].to_pylist()
    named = dict(zip(indexes, decoded(generation, "brand", "value"), strict=True))
    assert dict(found["target_brands"]) == Counter(named[i] for i in targets(generation))
    brands = dict(
        zip(
            generation.items()["item_id"].to_pylist(),
            decoded(generation, "brand", "value"),
            strict=True,
        )
    )
    assert {item: brand for item, brand, _ in found["best"]}.items() <= brands.items()


def test_embeddings(generation: Generation) -> None:
    assert len(run("Embeddings")["looks"]) == generation.items().num_rows
