"""`heterrec-model`: parses, calls, and ends with one message and the right code."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import Result
from typer.testing import CliRunner

from heterrec_model.commands import app
from heterrec_schemas.generation import open_generation
from heterrec_schemas.manifest import FileEntry, content_sha256, manifest_sha256
from heterrec_schemas.testing import Changes, child_generation, shop, small_generation

SETTINGS = [
    "model.width=8",
    "model.token_blocks=1",
    "model.item_blocks=1",
    "model.embedding_width=8",
    "model.features=[brand]",
    "negatives.in_batch=16",
    "negatives.uniform=16",
    "data.batch_items=128",
    "train.device=cpu",
    "train.threads=1",
    "train.max_steps=3",
    "train.refit_epochs=0",
    "train.log_every=1",
    "train.tensorboard=false",
]


def call(*arguments: Any) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments])


def train(data: Path, run: Path, *more: str) -> Result:
    sets = [part for setting in SETTINGS for part in ("--set", setting)]
    return call("train", "--data", data, "--config", "cpu", "--run", run, *sets, *more)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    small_generation(folder, 0, goods=shop(0, users=60, interactions=1500))
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    done = train(data, folder)
    assert done.exit_code == 0, done.output
    assert "Validation, best at step 3" in done.stdout
    assert "Done: step 3, epochs done: 0" in done.stdout
    assert str(folder) in done.stdout
    assert "step 1/~3" in done.stderr
    return folder


def test_help_is_quick_and_names_every_command() -> None:
    code = (
        "import sys; from heterrec_model.commands import app; "
        "assert 'torch' not in sys.modules, 'the help imports torch'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    for command in ("train", "evaluate", "recommend"):
        assert command in call("--help").stdout
        assert call(command, "--help").exit_code == 0
    assert "Worth a retry: a store" in call("-h").stdout
    assert call("--version").stdout.startswith("heterrec-model ")


def test_a_run_as_json(data: Path, tmp_path: Path) -> None:
    done = train(data, tmp_path / "run", "--json", "--quiet")
    assert done.exit_code == 0
    assert done.stderr == ""
    body = json.loads(done.stdout)
    assert (body["step"], body["stopped"], body["run"]) == (3, None, str(tmp_path / "run"))
    assert body["metrics"]["ndcg@50"] == body["best_metric"]


def test_a_run_is_resumed_with_its_own_configuration(data: Path, run: Path) -> None:
    done = call("train", "--data", data, "--run", run, "--resume", "--set", "train.patience=3")
    assert done.exit_code == 0, done.stderr
    assert "resuming at step 3" in done.stderr
    assert "patience: 3" in (run / "config.yaml").read_text()


def test_an_evaluation_as_json_has_the_promised_keys(data: Path, run: Path) -> None:
    done = call("evaluate", "--data", data, "--run", run, "--split", "validation", "--json")
    assert done.exit_code == 0, done.stderr
    body = json.loads(done.stdout)
    assert {
        "split",
        "users",
        "catalogue",
        "metrics",
        "warm",
        "cold",
        "targets_per_user",
        "seen_filtered",
        "checkpoint",
        "generation",
    } <= set(body)
    ks = (10, 50, 100, 200)
    assert set(body["metrics"]) == {f"{name}@{k}" for name in ("recall", "ndcg") for k in ks}
    assert body["checkpoint"] == "step-00000003"
    assert body["generation"] == open_generation(data).manifest.generation
    last = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()][-1]
    assert last["metrics"] == pytest.approx(body["metrics"])


@pytest.mark.parametrize(
    ("flag", "words"), [("--filter-seen", "left out"), ("--no-filter-seen", "kept")]
)
def test_an_evaluation_in_words(data: Path, run: Path, flag: str, words: str) -> None:
    done = call("evaluate", "--data", data, "--run", run, "--checkpoint", "step-3", flag)
    assert done.exit_code == 0, done.stderr
    assert f"seen ones {words}" in done.stdout
    assert f"{run}, step-00000003; generation 2024" in done.stdout


def test_recommendations_for_a_user_and_for_items(data: Path, run: Path) -> None:
    generation = open_generation(data)
    user = generation.sequences("latest", ["user_id"])["user_id"][0].as_py()
    done = call("recommend", "--data", data, "--run", run, "--user", user, "-k", 3)
    assert done.exit_code == 0, done.stderr
    assert f"User {user}" in done.stdout
    ids = generation.items(["item_id"])["item_id"].to_pylist()[:2]
    several = [part for item in ids for part in ("--item", item)]
    for items in (["--items", ",".join(ids)], several):
        done = call("recommend", "--data", data, "--run", run, *items, "-k", 4, "--json")
        assert done.exit_code == 0, done.stderr
        (body,) = json.loads(done.stdout)["recommendations"]
        assert [item["item_id"] for item in body["history"]] == ids
        assert len(body["items"]) == 4


def test_a_run_is_carried_over_to_a_descendant(run: Path, data: Path, tmp_path: Path) -> None:
    shutil.copytree(data, tmp_path / "shop")
    first = open_generation(data).items(["item_id"])["item_id"][0].as_py()
    child = child_generation(tmp_path / "shop", Changes(new={"NEW": first}))
    new = tmp_path / "new"
    start = ["train", "--data", tmp_path / "shop", "--run", new, "--warm-start", run]
    done = call(*start, "--set", "train.max_steps=2", "--json")
    assert done.exit_code == 0, done.stderr
    assert f"starting from {run}, step-00000003, of generation" in done.stderr
    assert "1 new items" in done.stderr
    body = json.loads(done.stdout)
    assert (body["step"], body["warm_start"]["run"]) == (2, str(run))
    done = call(*start, "--resume", "--set", "train.patience=3")
    assert done.exit_code == 0, done.stderr
    assert "resuming at step 2" in done.stderr
    done = call("evaluate", "--data", child, "--run", new, "--checkpoint", "step-0", "--json")
    assert json.loads(done.stdout)["checkpoint"] == "step-00000000"
    done = call("evaluate", "--data", child, "--run", run)
    assert done.exit_code == 2
    assert f"train --warm-start {run} --data {child} --run NEW" in done.stderr
    done = call(*start[:4], tmp_path / "third", "--warm-start", new, "--data", data)
    assert done.exit_code == 2
    assert "no descendant" in done.stderr


NEW_RUN = ["train", "--data", "{data}", "--run", "{new}", "--config", "cpu"]
MISTAKES: dict[str, tuple[list[str], str]] = {
    "no config": (["train", "--data", "{data}", "--run", "{new}"], "--config is required"),
    "unknown config": (
        ["train", "--data", "{data}", "--run", "{new}", "--config", "cpuu"],
        "there is no configuration cpuu",
    ),
    "unknown setting": (
        ["train", "--data", "{data}", "--run", "{new}", "--config", "cpu", "--set", "train.sed=1"],
        "Did you mean 'seed'?",
    ),
    "unknown model": (
        [*NEW_RUN, "--set", "model.name=sasrek"],
        "no model 'sasrek'. Did you mean 'sasrec'",
    ),
    "unknown feature": ([*NEW_RUN, "--set", "model.features=[brnad]"], "no item feature 'brnad'"),
    "unknown ablation": ([*NEW_RUN, "--ablate", "lpm"], "no ablation 'lpm'. Did you mean 'lmp'"),
    "a setting that the model does not read": (
        [*NEW_RUN, "--set", "model.name=sasrec", "--set", "model.time_gap.per_head=true"],
        "model.time_gap.per_head: got True, the default is False",
    ),
    "no run to start from": (
        ["train", "--data", "{data}", "--run", "{new}", "--warm-start", "{new}-none"],
        "contains no run",
    ),
    "no generation": (
        ["train", "--data", "{new}", "--run", "{new}", "--config", "cpu"],
        "there is no folder",
    ),
    "a run stands there": (
        ["train", "--data", "{data}", "--run", "{run}", "--config", "cpu"],
        "already contains a run",
    ),
    "no run": (["evaluate", "--data", "{data}", "--run", "{new}"], "contains no run"),
    "no checkpoint": (
        ["evaluate", "--data", "{data}", "--run", "{run}", "--checkpoint", "step-7"],
        "there is no checkpoint 'step-7'",
    ),
    "no split": (
        ["evaluate", "--data", "{data}", "--run", "{run}", "--split", "tets"],
        "Did you mean 'test'?",
    ),
    "no user": (
        ["recommend", "--data", "{data}", "--run", "{run}", "--user", "nobody"],
        "there is no user 'nobody'",
    ),
    "no item": (
        ["recommend", "--data", "{data}", "--run", "{run}", "--items", "B00000,nosuch"],
        "there is no item 'nosuch' in the catalogue. Known ones are such as 'B0",
    ),
    "an id with a comma in a list": (
        ["recommend", "--data", "{data}", "--run", "{run}", "--items", "a,1"],
        "Give ids that have commas by --item, one each.",
    ),
    "neither user nor items": (
        ["recommend", "--data", "{data}", "--run", "{run}"],
        "expected either users or items",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_the_call_is_one_message_and_code_2(
    mistake: str, data: Path, run: Path, tmp_path: Path
) -> None:
    arguments, message = MISTAKES[mistake]
    names = {"data": data, "run": run, "new": tmp_path / "new"}
    done = call(*(a.format(**names) for a in arguments))
    assert done.exit_code == 2, done.output
    assert message in done.stderr
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.output
    assert done.stdout == ""
    assert not (tmp_path / "new").exists()


def test_a_failure_as_json_is_one_object(data: Path, run: Path) -> None:
    done = call("evaluate", "--data", data, "--run", run, "--split", "tets", "--json")
    assert done.exit_code == 2
    body = json.loads(done.stdout)
    assert list(body) == ["error", "stage", "message", "exit_code"]
    assert (body["error"], body["stage"], body["exit_code"]) == ("CallError", None, 2)
    assert done.stderr == f"error: {body['message']}\n"


def test_debug_shows_the_traceback(data: Path, run: Path) -> None:
    done = call("evaluate", "--data", data, "--run", run, "--split", "tets", "--debug")
    assert done.exit_code == 2
    assert "Traceback" in done.stderr


def test_a_failure_of_the_run_is_code_1(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from heterrec_model.training import trainer

    def fail(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr(trainer.Trainer, "fit", fail)
    done = train(data, tmp_path / "run")
    assert done.exit_code == 1
    assert "an unexpected ZeroDivisionError: by zero. Run again with --debug" in done.stderr


def test_a_run_folder_that_cannot_be_written_is_named(data: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = train(data, tmp_path / "file/run")
    assert done.exit_code == 1
    assert "cannot write" in done.stderr
    assert "a file exists where a folder is needed" in done.stderr


def test_a_damaged_last_checkpoint_is_named_and_the_one_before_used(
    data: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    assert train(data, run, "--set", "train.checkpoint_every=2", "--quiet").exit_code == 0
    (run / "checkpoints/last/model.safetensors").write_text("")
    asked = ["evaluate", "--data", str(data), "--run", str(run), "--checkpoint", "last", "--json"]
    # In a process of its own: here every warning is an error.
    done = subprocess.run(
        [sys.executable, "-m", "heterrec_model", *asked], capture_output=True, text=True, check=True
    )
    warned = [line for line in done.stderr.splitlines() if "damaged" in line]
    assert len(warned) == 1
    assert warned[0].startswith("warning: ")
    assert "step-00000003/model.safetensors is damaged" in warned[0]
    assert json.loads(done.stdout)["checkpoint"] == "step-00000002"
    best = call("evaluate", "--data", data, "--run", run)
    assert best.exit_code == 2
    assert "step-00000003/model.safetensors is damaged" in best.stderr


def test_the_installed_command_is_this_one() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "heterrec_model", "train", "--help"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "COLUMNS": "200"},
    )
    assert "--resume" in done.stdout


@pytest.mark.parametrize("name", ["foo", "cuda:99", "meta", "cpu:3"])
def test_an_absent_device_leaves_nothing_behind(data: Path, tmp_path: Path, name: str) -> None:
    done = train(data, tmp_path / "new", "--set", f"train.device={name}")
    assert done.exit_code == 2
    assert "error: train.device" in done.stderr
    assert name in done.stderr
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("checkpoint", ["../../run/checkpoints/last", "../x", "/tmp/last"])
def test_a_checkpoint_of_another_run_is_refused(data: Path, run: Path, checkpoint: str) -> None:
    done = call("evaluate", "--data", data, "--run", run, "--checkpoint", checkpoint)
    assert done.exit_code == 2
    assert f"there is no checkpoint '{checkpoint}' in" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("compare", "--against", "popular", "--resamples", str(10**22)),
        ("recommend", "--user", "1", "-k", str(10**22)),
        ("recommend", "--user", "1", "-k", "0"),
    ],
)
def test_numbers_without_bounds_are_refused(
    data: Path, run: Path, arguments: tuple[str, ...]
) -> None:
    done = call(arguments[0], "--data", data, "--run", run, *arguments[1:])
    assert done.exit_code == 2
    assert "Invalid value for" in done.stderr


def test_too_little_memory_is_one_message(
    data: Path, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from heterrec_model.evaluation import evaluate

    def refuse(*_: Any, **__: Any) -> None:
        raise MemoryError("Unable to allocate 7.28 TiB")

    monkeypatch.setattr(evaluate, "load_run", refuse)
    done = call("evaluate", "--data", data, "--run", run)
    assert done.exit_code == 1
    assert "error: there is too little memory: Unable to allocate 7.28 TiB. Use smal" in done.stderr


def test_a_forged_shard_is_one_message(data: Path, run: Path, tmp_path: Path) -> None:
    shutil.copytree(data, tmp_path / "data")
    root = next((tmp_path / "data" / "generations").iterdir())
    path = root / "items" / "items-00000-of-00002.parquet"
    table = pq.read_table(path)
    place = table.column_names.index("brand")
    forged = table.set_column(place, table.field(place), pa.array([9999] * len(table), pa.int32()))
    pq.write_table(forged, path)
    manifest = json.loads((root / "manifest.json").read_text())
    entry = next(f for f in manifest["files"] if f["path"] == f"items/{path.name}")
    entry |= {"bytes": path.stat().st_size, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    manifest["content_sha256"] = content_sha256(map(FileEntry.model_validate, manifest["files"]))
    manifest["manifest_sha256"] = manifest_sha256(manifest)
    (root / "manifest.json").write_text(json.dumps(manifest))
    done = train(tmp_path / "data", tmp_path / "run")
    assert done.exit_code == 2
    assert f"{path.name}: column 'brand': row 0 has the value 9999, expected 1 to" in done.stderr
