"""Runs in MLflow, with a fake of its client."""

import json
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from heterrec_model.runs import mlflow_log
from heterrec_model.training.train import train
from heterrec_schemas.errors import CallError

SETTINGS = {
    "max_steps": 4,
    "schedule": "constant",
    "log_every": 1,
    "checkpoint_every": 3,
    "validate_every": 4,
    "mlflow": True,
}


class Store:
    """What a tracking server holds; `broken` fails every request, `hang` blocks them."""

    def __init__(self) -> None:
        self.runs: dict[str, SimpleNamespace] = {}
        self.broken = False
        self.hang: threading.Event | None = None

    def client(self) -> "Store":
        return self

    def ask(self) -> None:
        if self.hang is not None:
            self.hang.wait()
        if self.broken:
            raise ConnectionError("the server does not answer\nsecond line")

    def create_run(self, experiment: str, *, run_name: str, tags: dict[str, str]) -> Any:
        self.ask()
        key = f"run-{len(self.runs)}"
        self.runs[key] = SimpleNamespace(
            experiment=experiment, name=run_name, tags=tags, params={}, metrics={}, status="RUNNING"
        )
        return SimpleNamespace(info=SimpleNamespace(run_id=key))

    def log_batch(self, run: str, metrics: Any = (), params: Any = ()) -> None:
        self.ask()
        assert len(metrics) <= 1000
        assert len(params) <= 100
        held = self.runs[run]
        for param in params:
            assert held.params.setdefault(param.key, param.value) == param.value
        for metric in metrics:
            held.metrics.setdefault(metric.key, []).append((metric.step, metric.value))

    def get_metric_history(self, run: str, name: str) -> list[Any]:
        self.ask()
        return [SimpleNamespace(step=step) for step, _ in self.runs[run].metrics.get(name, ())]

    def update_run(self, run: str, *, status: str) -> None:
        self.ask()
        self.runs[run].status = status

    def set_terminated(self, run: str, status: str) -> None:
        self.ask()
        self.runs[run].status = status

    def get_experiment_by_name(self, name: str) -> Any:
        return None

    def create_experiment(self, name: str) -> str:
        return f"id of {name}"


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Store:
    made = Store()
    package, entities = ModuleType("mlflow"), ModuleType("mlflow.entities")
    package.MlflowClient = made.client  # type: ignore[attr-defined]

    def metric(key: str, value: float, timestamp: int, step: int) -> Any:
        assert timestamp > 1e12
        return SimpleNamespace(key=key, value=value, step=step)

    entities.Metric = metric  # type: ignore[attr-defined]
    entities.Param = lambda key, value: SimpleNamespace(key=key, value=value)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "mlflow", package)
    monkeypatch.setitem(sys.modules, "mlflow.entities", entities)
    for name in ("MLFLOW_EXPERIMENT_NAME", "MLFLOW_EXPERIMENT_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    return made


def lines(run: Path, kind: str) -> list[dict[str, Any]]:
    every = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return [line for line in every if line["kind"] == kind]


def test_a_resumed_run_is_one_run_in_mlflow(
    store: Store, tmp_path: Path, shop_data: Path, tiny: Callable[..., Any]
) -> None:
    """It has all settings, the metrics of metrics.jsonl once each, and tags of the generation."""
    folder = tmp_path / "first"
    train(tiny(train=SETTINGS), data=shop_data, run=folder, quiet=True)
    assert json.loads((folder / "mlflow.json").read_text()) == {"run_id": "run-0"}
    train(
        tiny(train=SETTINGS | {"max_steps": 8}), data=shop_data, run=folder, resume=True, quiet=True
    )
    [run] = store.runs.values()
    assert (run.name, run.status, run.experiment) == ("first", "FINISHED", "0")
    assert run.params["model.width"] == "8"
    assert run.params["model.features"] == '["brand", "look"]'
    generation = json.loads((folder / "generation.json").read_text())
    assert run.tags["heterrec.generation"] == generation["id"]
    assert run.tags["heterrec.content_sha256"] == generation["content_sha256"]
    assert run.tags["heterrec.run"] == str(folder)
    logged = [(line["step"], line["loss"]) for line in lines(folder, "train")]
    assert run.metrics["train/loss"] == logged
    assert [step for step, _ in logged] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert run.metrics["validation/metrics/ndcg_at_50"] == [
        (line["step"], line["metrics"]["ndcg@50"]) for line in lines(folder, "validation")
    ]


def test_a_server_that_fails_ends_no_run_and_gets_the_metrics_at_a_resume(
    store: Store,
    tmp_path: Path,
    shop_data: Path,
    tiny: Callable[..., Any],
    capsys: pytest.CaptureFixture[str],
) -> None:
    store.broken = True
    assert train(tiny(train=SETTINGS), data=shop_data, run=tmp_path / "run").step == 4
    warned = capsys.readouterr().err.replace("\n", " ")
    assert warned.count("MLflow lacks metrics") == 1
    assert "ConnectionError: the server does not answer. " in warned
    store.broken = False
    train(tiny(train=SETTINGS), data=shop_data, run=tmp_path / "run", resume=True)
    assert "MLflow" not in capsys.readouterr().err
    [run] = store.runs.values()
    assert [step for step, _ in run.metrics["train/loss"]] == [1, 2, 3, 4]


def test_a_server_that_hangs_is_not_waited_for(
    store: Store,
    tmp_path: Path,
    shop_data: Path,
    tiny: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(mlflow_log, "LAST_WAIT_S", 0.05)
    store.hang = threading.Event()
    try:
        assert train(tiny(train=SETTINGS), data=shop_data, run=tmp_path / "run").step == 4
    finally:
        store.hang.set()
    assert "MLflow lacks metrics of this run: no answer" in capsys.readouterr().err


def test_a_missing_package_is_named_before_the_run_exists(
    tmp_path: Path, shop_data: Path, tiny: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(CallError, match=r"train\.mlflow needs MLflow.*with the extra mlflow"):
        train(tiny(train=SETTINGS), data=shop_data, run=tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()


def test_the_experiment_is_that_of_mlflows_variables(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", "7")
    assert mlflow_log._experiment(store) == "7"
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "shop")
    assert mlflow_log._experiment(store) == "id of shop"


def test_names_have_only_characters_that_mlflow_allows() -> None:
    assert mlflow_log.metric_name("validation/ndcg@50") == "validation/ndcg_at_50"
    assert mlflow_log.metric_name("terms/a(b)'s") == "terms/a_b__s"
