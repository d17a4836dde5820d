"""Kinds of data and settings that are hard to train on: each trains with a finite loss, or is refused with a reason."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from typer.testing import CliRunner

from heterrec_model.commands import app
from heterrec_model.config import load_config
from heterrec_model.evaluation.evaluate import evaluate
from heterrec_model.training.train import train
from heterrec_schemas.errors import HeterrecError
from heterrec_schemas.testing import Settings, Shop, shop, small_generation

GOODS = shop(0, items=12, users=12, interactions=150)


def _with(goods: Shop, table: str, **columns: Any) -> Shop:
    """A shop with other columns in one of its tables."""
    rows: pa.Table = getattr(goods, table)
    for name, cells in columns.items():
        at = rows.schema.get_field_index(name)
        rows = rows.set_column(at, rows.schema.field(at), pa.array(cells, rows.schema.types[at]))
    return replace(goods, **{table: rows})


def _at_one_time(goods: Shop) -> Shop:
    return _with(goods, "interactions", timestamp=[1_600_000_000] * len(goods.interactions))


def _one_item(goods: Shop) -> Shop:
    whole = [
        i for i, v in enumerate(goods.items["vector"].to_pylist()) if v and len(v) == goods.dim
    ]
    rows = [
        r
        for r in whole
        if all(c is not None for c in goods.items.slice(r, 1).to_pylist()[0].values())
    ]
    item = goods.items.slice(rows[0], 1)
    log = goods.interactions
    return replace(
        _with(
            replace(goods, items=item),
            "interactions",
            item_id=[item["item_id"][0].as_py()] * len(log),
        )
    )


def _one_full_item(goods: Shop) -> Shop:
    """All features are missing in all items but one."""
    names = ("category", "brand", "price", "categories", "vector")
    one = _one_item(goods).items["item_id"][0].as_py()
    keep = [i == one for i in goods.items["item_id"].to_pylist()]
    cells = {
        n: [c if k else None for c, k in zip(goods.items[n].to_pylist(), keep, strict=True)]
        for n in names
    }
    return _with(goods, "items", **cells)


def _two_each(goods: Shop) -> Shop:
    """Every user has two interactions: train has rows, validation and test have none."""
    left: dict[str, int] = {}
    rows = []
    for row, user in enumerate(goods.interactions["user_id"].to_pylist()):
        left[user] = left.get(user, 0) + 1
        rows += [row] if left[user] <= 2 else []
    return replace(goods, interactions=goods.interactions.take(rows))


def _made(folder: Path, goods: Shop) -> Path:
    small_generation(folder, settings=Settings(min_length=1), goods=goods)
    return folder


@pytest.mark.parametrize("change", [_at_one_time, _one_item, _one_full_item])
def test_odd_shops_train_with_a_finite_loss(change: Any, tmp_path: Path, tiny: Any) -> None:
    data = _made(tmp_path / "shop", change(GOODS))
    config = tiny(train={"max_steps": 3})
    assert (
        train(config, data=data, run=tmp_path / "run", quiet=True).step == 3
    )  # stops at a loss that is not finite
    found = evaluate(tmp_path / "run", data)
    assert found["users"] > 0
    assert all(map(math.isfinite, found["metrics"].values()))


def test_users_of_two_interactions_have_no_targets(tmp_path: Path, tiny: Any) -> None:
    data = _made(tmp_path / "shop", _two_each(GOODS))
    result = train(tiny(train={"max_steps": 3}), data=data, run=tmp_path / "run", quiet=True)
    assert (result.step, result.metrics) == (3, {})
    found = evaluate(tmp_path / "run", data)
    assert (found["users"], found["metrics"]["recall@10"]) == (0, None)
    done = CliRunner().invoke(
        app, ["evaluate", "--data", str(data), "--run", str(tmp_path / "run")]
    )
    assert done.exit_code == 0
    assert "warning: the split test is empty: no user has a target in it" in done.stderr


def test_more_workers_than_rows_and_a_resume_with_fewer(tmp_path: Path, tiny: Any) -> None:
    data = _made(tmp_path / "shop", GOODS)
    config = tiny(train={"max_steps": 2}, data={"workers": 2, "shuffle_rows": 1})
    assert train(config, data=data, run=tmp_path / "run", quiet=True).step == 2
    other = tiny(train={"max_steps": 3}, data={"workers": 0, "shuffle_rows": 1})
    with pytest.raises(HeterrecError) as error:
        train(other, data=data, run=tmp_path / "run", resume=True, quiet=True)
    assert "workers" in error.value.message


@pytest.mark.parametrize("text", ["1e-4", "1E-4", "1.0e-4", "0.0001"])
def test_numbers_with_an_exponent(text: str, tmp_path: Path) -> None:
    """YAML 1.1 reads 1e-4 as text."""
    assert load_config("cpu", [f"train.learning_rate={text}"]).train.learning_rate == 1e-4
    path = tmp_path / "config.yaml"
    path.write_text(f"train: {{learning_rate: {text}}}\n")
    assert load_config(str(path)).train.learning_rate == 1e-4
