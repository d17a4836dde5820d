"""Study files: what they mean, and what is refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from heterrec_model.config import ablated
from heterrec_model.studies.plan import (
    counting_settings,
    open_data,
    planned_runs,
    settings_digest,
    settings_of,
)
from heterrec_model.studies.study_file import Study, load_study
from heterrec_model.training.check_config import check_settings
from heterrec_schemas.errors import CallError

MakeStudy = Callable[..., Study]
ROOT = Path(__file__).resolve().parents[3]
EXAMPLES = sorted((ROOT / "examples/studies").rglob("*.yaml"))


def refused(tmp_path: Path, **parts: Any) -> str:
    """The message about a study file that is valid but for some parts."""
    body = {"name": "a", "data": {"shop": {"path": "x"}}, "models": {"whole": None}, **parts}
    file = tmp_path / "study.yaml"
    file.write_text(yaml.safe_dump(body))
    with pytest.raises(CallError) as caught:
        load_study(file)
    return caught.value.message


def test_mistakes_are_reported_together(tmp_path: Path) -> None:
    message = refused(
        tmp_path, sets={}, data={"shop": {"path": "x", "split": "test"}}, seeds=[1, 1]
    )
    assert "3 error(s)" in message
    assert "sets: there is no such setting. Did you mean 'set' or" in message
    assert "data.shop.split: there is no such setting. Did you mean 'splits'?" in message
    assert "seeds: expected one or more distinct values, got [1, 1]" in message


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"models": {"a": {"like": "b"}}}, "models.a.like: there is no model 'b'"),
        ({"models": {"a": {"like": "b"}, "b": {"like": "a"}}}, "a is like b is like a"),
        ({"models": {"a": {"data": "shap"}}}, "there is no data set 'shap'. Did you mean 'shop'?"),
        ({"models": {"a/b": None}}, "'a/b' is not a name"),
        ({"baselines": ["populer"], "counting": ["popular"]}, "Did you mean 'popular'?"),
        ({"counting": ["whole"]}, "'whole' is a model and a counting baseline"),
        ({"metric": "ndcg@5"}, "metric: there is no 'ndcg@5'"),
        (
            {"tune": {"space": {"model.dropout": {"low": 1, "high": 0}}}},
            "low: 1 must be below high: 0",
        ),
        ({"name": 3}, "name"),
    ],
)
def test_a_mistake_is_named(parts: dict[str, Any], words: str, tmp_path: Path) -> None:
    assert words in refused(tmp_path, **parts)


def test_other_paths_of_data_sets(make_study: MakeStudy) -> None:
    study = make_study().with_paths(["shop=elsewhere"])
    assert study.data["shop"].path == "elsewhere"
    with pytest.raises(CallError, match=r"no data set 'shap'\. Did you mean 'shop'"):
        study.with_paths(["shap=x"])
    with pytest.raises(CallError, match="NAME=PATH"):
        study.with_paths(["shop"])


def test_settings_come_from_study_data_set_and_model(
    make_study: MakeStudy, shop_data: Path
) -> None:
    study = make_study(
        set={"model.width": 8, "loss.margin": 3.0, "model.token_blocks": 2, "train.threads": None},
        data={"shop": {"path": str(shop_data), "set": {"model.width": 16, "model.dropout": 0.3}}},
        models={
            "whole": {"set": {"model.dropout": 0.1}},
            "cut": {"like": "whole", "ablate": "gate", "set": {"model.heads": 4}},
            "plain": {"set": {"model.name": "sasrec"}},
        },
    )
    whole, cut, plain = (settings_of(study, "shop", name, 5) for name in study.models)
    assert (whole.model.width, whole.model.dropout, whole.loss.margin) == (16, 0.1, 3.0)
    assert (whole.train.seed, whole.train.threads) == (5, 1)
    assert cut.model.heads == 4
    assert cut.model_copy(update={"model": whole.model}) == ablated(whole, "gate")
    assert (
        plain.model.token_blocks == settings_of(make_study(), "shop", "plain", 0).model.token_blocks
    )
    check_settings(plain)  # nothing that it does not read
    assert counting_settings(study, "shop").model.name == "heterrec"
    assert settings_digest(whole) == settings_digest(settings_of(study, "shop", "whole", 6))
    assert settings_digest(whole) != settings_digest(cut)


def test_all_wrong_models_are_named_before_anything_is_trained(make_study: MakeStudy) -> None:
    study = make_study(
        models={
            "a": {"set": {"model.wodth": 3}},
            "b": {"set": {"model.name": "sasrec", "model.token_blocks": 3}},
            "c": {"set": {"model.features": ["brond"]}},
            "d": {"ablate": "gates"},
        },
        baselines=[],
    )
    with pytest.raises(CallError, match=r"4 error\(s\)") as caught:
        planned_runs(study, open_data(study))
    for words in (
        "Did you mean 'width'",
        "model.token_blocks: got 3",
        "brond",
        "no ablation 'gates'",
    ):
        assert words in caught.value.message
    with pytest.raises(CallError, match="no counting baseline 'populer'"):
        planned_runs(make_study(counting=["populer"], baselines=[]), open_data(study))


def test_a_model_has_its_own_seeds(make_study: MakeStudy) -> None:
    study = make_study(
        seeds=[0, 1],
        models={"dear": {"seeds": 4}, "deeper": {"like": "dear"}, "cheap": {}},
        counting=["popular"],
        baselines=["popular"],
    )
    found = [(run.model, run.seed) for run in planned_runs(study, open_data(study))]
    assert found == [("popular", None), ("dear", 4), ("deeper", 4), ("cheap", 0), ("cheap", 1)]


def test_runs_with_refit_epochs_have_no_validation_rows(make_study: MakeStudy) -> None:
    study = make_study(models={"whole": {"set": {"train.refit_epochs": 1}}}, baselines=["popular"])
    popular, whole, _ = planned_runs(study, open_data(study))
    assert {key.split for key in popular.rows} == {"validation", "test"}
    assert {key.split for key in whole.rows} == {"test"}
    data = {"shop": study.data["shop"].model_copy(update={"splits": ("validation",)})}
    with pytest.raises(CallError, match="nothing to evaluate, since refit epochs train on the"):
        planned_runs(study.model_copy(update={"data": data}), open_data(study))


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_an_example_is_valid(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    study = load_study(file)
    for data in study.data:
        for model in study.models_of(data):
            config = settings_of(study, data, model, 0)
            check_settings(config)
            assert not config.train.refit_epochs or study.data[data].splits == ("test",)
