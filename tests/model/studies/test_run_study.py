"""A study from its file to its rows: killed, continued, refused, with runs that fail."""

import csv
import io
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from heterrec_model.commands import app
from heterrec_model.config import load_config
from heterrec_model.studies.plan import settings_digest
from heterrec_model.studies.run import StudyResult, run_study
from heterrec_model.studies.study_file import Study
from heterrec_schemas import open_generation
from heterrec_schemas.errors import CallError

MakeStudy = Callable[..., Study]


def run(study: Study, folder: Path, **options: Any) -> StudyResult:
    return run_study(study, runs=folder / "runs", results=folder / "results", quiet=True, **options)


def rows(folder: Path, study: str = "tiny") -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO((folder / "results" / study / "rows.csv").read_text())))


def states(result: StudyResult) -> dict[str, str]:
    return {state.planned.name: state.state for state in result.runs}


def in_fork(call: Callable[[], object]) -> int:
    """Call a function in a fork of this process; returns its process id."""
    pid = os.fork()
    if pid == 0:
        try:
            call()
        finally:
            os._exit(0)
    return pid


def wait_for(path: Path, text: str) -> None:
    deadline = time.monotonic() + 60
    while not (path.exists() and text in path.read_text()):
        assert time.monotonic() < deadline, path
        time.sleep(0.01)


@pytest.mark.usefixtures("forked")
def test_a_killed_study_goes_on(tmp_path: Path, make_study: MakeStudy, shop_data: Path) -> None:
    study = make_study(set={**make_study().set, "train.epochs": 3}, seeds=[0, 1])
    pid = in_fork(lambda: run(study, tmp_path, processes=2))
    wait_for(tmp_path / "runs/shop/whole-0/metrics.jsonl", '"step": 3')
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    before = len(rows(tmp_path))
    result = run(study, tmp_path, processes=2)
    found = rows(tmp_path)
    assert (result.stopped, result.failed) == (None, [])
    assert before < len(found) == (2 * 2 + 1) * 2
    keys = [(r["data"], r["model"], int(r["seed"] or -1), r["split"], r["protocol"]) for r in found]
    assert keys == sorted(keys)
    row = next(r for r in found if (r["model"], r["seed"]) == ("whole", "1"))
    assert row["content_sha256"] == open_generation(shop_data).manifest.content_sha256
    settings = load_config(tmp_path / "results/tiny/settings/shop/whole.yaml")
    assert row["settings_sha256"] == settings_digest(settings)
    assert int(row["steps"]) > 3
    assert float(row["train_cpu_seconds"]) > 0
    assert int(row["parameters"]) > int(row["parameters_without_tables"]) > 0
    assert (row["threads"], row["epochs"]) == ("1", "3")
    # Elsewhere, from the rows alone: nothing is trained again.
    shutil.rmtree(tmp_path / "runs")
    text = (tmp_path / "results/tiny/rows.csv").read_bytes()
    assert set(states(run(study, tmp_path)).values()) == {"had rows"}
    assert (tmp_path / "results/tiny/rows.csv").read_bytes() == text
    assert not list((tmp_path / "results").rglob(".*"))


@pytest.mark.usefixtures("forked")
def test_a_run_that_fails_does_not_stop_the_others(
    tmp_path: Path, make_study: MakeStudy, shop_data: Path
) -> None:
    wild = {"set": {"train.learning_rate": 1e30, "train.clip_norm": 0, "train.warmup_steps": 0}}
    study = make_study(
        models={"wild": wild, "plain": {"set": {"model.name": "sasrec"}}},
        seeds=[0],
        baselines=["popular"],
    )
    file = tmp_path / "study.yaml"
    file.write_text(yaml.safe_dump(study.model_dump(mode="json")))
    call = [
        "study",
        str(file),
        "--runs",
        str(tmp_path / "runs"),
        "--results",
        str(tmp_path / "results"),
    ]
    done = CliRunner().invoke(app, [*call, "--quiet"])
    assert (done.exit_code, done.stdout) == (1, "")
    assert "failed: shop, wild, seed 0: " in done.stderr
    assert "not finite" in done.stderr
    assert {row["model"] for row in rows(tmp_path)} == {"popular", "plain"}
    text = (tmp_path / "results/tiny/tables.md").read_text()
    assert "- Without rows: wild." in text


@pytest.mark.usefixtures("forked")
def test_rows_of_other_settings_are_refused_and_replaced_on_request(
    tmp_path: Path, make_study: MakeStudy
) -> None:
    short = {**make_study().set, "train.epochs": 1}
    parts: dict[str, Any] = {"set": short, "seeds": [0], "counting": [], "baselines": []}
    whole = {"models": {"whole": {}}}
    run(make_study(**parts, **whole), tmp_path)
    first = rows(tmp_path)
    other = make_study(**parts, models={"whole": {"set": {"model.width": 16}}})
    with pytest.raises(CallError, match=r"3 row\(s\) or run\(s\) do not fit the study") as caught:
        run(other, tmp_path)
    assert "shop, whole, 0, test, seen-kept: settings" in caught.value.message
    assert "--again" in caught.value.message
    assert states(run(other, tmp_path, again=True)) == {"whole-0": "done"}
    assert len(rows(tmp_path)) == len(first) == 2
    assert {r["settings_sha256"] for r in rows(tmp_path)} != {first[0]["settings_sha256"]}


@pytest.mark.usefixtures("forked")
def test_a_signal_saves_the_runs(tmp_path: Path, make_study: MakeStudy) -> None:
    study = make_study(set={**make_study().set, "train.epochs": 500}, counting=[], baselines=[])

    def call() -> None:
        result = run(study, tmp_path)
        found = ", ".join(f"{name} {state}" for name, state in states(result).items())
        (tmp_path / "said").write_text(f"{result.stopped}: {found}")

    pid = in_fork(call)
    log = tmp_path / "runs/shop/plain-0/metrics.jsonl"
    wait_for(log, '"step": 3')
    os.kill(pid, signal.SIGTERM)
    os.waitpid(pid, 0)
    assert (tmp_path / "said").read_text() == (
        "SIGTERM: plain-0 stopped, whole-0 stopped, plain-1 stopped, whole-1 stopped"
    )
    assert (tmp_path / "runs/shop/plain-0/checkpoints/last").exists()
    assert not (tmp_path / "runs/shop/whole-0").exists()


def test_a_real_worker_says_why_it_cannot_work(tmp_path: Path, make_study: MakeStudy) -> None:
    """The one test that starts a process of its own."""
    (tmp_path / "runs/shop").mkdir(parents=True)
    (tmp_path / "runs/shop/whole-0").write_text("in the way")
    study = make_study(models={"whole": {}}, seeds=[0], counting=[], baselines=[])
    [state] = run(study, tmp_path).runs
    assert state.state == "failed"
    assert "in the way" in (tmp_path / "runs/shop/whole-0").read_text()
    assert f"cannot write {tmp_path}/runs/shop/whole-0" in (state.message or "")
