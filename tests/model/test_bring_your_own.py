"""Classes outside of the package: the code of docs/bring_your_own.md runs, and mistakes are reported."""

import importlib
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from heterrec_model.config import check_read, load_config
from heterrec_model.evaluation.compare import compare_models
from heterrec_model.registry import build_counting, trained_class
from heterrec_model.training.check_config import check_settings
from heterrec_model.training.train import train
from heterrec_schemas import open_generation
from heterrec_schemas.errors import CallError

PAGE = Path(__file__).parents[2] / "docs" / "bring_your_own.md"


@pytest.fixture
def my_shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The module of the page, importable."""
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    path = tmp_path / "my_shop.py"
    path.write_text("\n\n".join(blocks), "utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "my_shop", raising=False)
    return path


def test_the_page_trains_and_compares(
    my_shop: Path, shop_data: Path, settings: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    common = ["train.max_steps=4", "train.device=cpu", "model.width=8", "model.user_features=[]"]
    for name in ("MeanPool", "MeanPoolHinge"):
        config = load_config("cpu", [f"model.name=my_shop:{name}", *common])
        check_read(config)
        assert train(config, data=shop_data, run=tmp_path / name, quiet=True).step == 4
    report = compare_models(
        str(tmp_path / "MeanPool"),
        shop_data,
        ["my_shop:SameBrand", str(tmp_path / "MeanPoolHinge")],
        resamples=50,
    )
    lacks = [model.evaluations[0].lacks for model in (report.model, *report.others)]
    assert "behaviours" in lacks[0]
    assert lacks[2] == lacks[0]
    assert "item features category, path, price, look" in lacks[1]


def test_the_hinge_is_that_of_the_page(my_shop: Path) -> None:
    model: Any = trained_class("my_shop:MeanPoolHinge")
    logits = torch.tensor([[2.0, -1.0, -torch.inf]])
    module = importlib.import_module(model.__module__)
    loss = module.HingeLoss.position_losses(None, torch.tensor([1.5]), logits)
    assert loss.tolist() == [pytest.approx(1.5 / 3)]


def test_settings_that_an_own_model_does_not_read_are_refused(my_shop: Path) -> None:
    config = load_config("cpu", ["model.name=my_shop:MeanPool", "model.heads=4"])
    with pytest.raises(CallError, match=r"does not read 1 setting.*\n.*model.heads: got 4"):
        check_settings(config)


def test_mistakes_are_reported(my_shop: Path, shop_data: Path) -> None:
    my_shop.with_name("broken_shop.py").write_text("1 / 0\n")
    generation = open_generation(shop_data)
    for name, message in {
        "no_shop:Model": "no_shop cannot be imported: ModuleNotFoundError: .*PYTHONPATH",
        "broken_shop:Model": "broken_shop cannot be imported: ZeroDivisionError",
        "my_shop:MeenPool": "my_shop has no class 'MeenPool'",
        "my_shop:SameBrand": "expected a subclass of heterrec_model.two_tower.TwoTowerModel",
        "my_shop.MeanPool": "there is no model",
        "../my_shop:MeanPool": "there is no model",
    }.items():
        with pytest.raises(CallError, match=message):
            check_settings(load_config("cpu", [f"model.name={name}"]))
    with pytest.raises(CallError, match=r"expected a subclass of .*CountingBaseline"):
        build_counting("my_shop:MeanPool", generation)
