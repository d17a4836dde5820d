"""Whole runs in this process: what they leave behind, how they go on, what they refuse."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

import heterrec_model.training.train as train_module
from heterrec_model.config import Config
from heterrec_model.model_settings import only_read
from heterrec_model.runs.checkpoints import CheckpointFolder, read_checkpoint
from heterrec_model.runs.load_run import load_run
from heterrec_model.training import gate_watch
from heterrec_model.training.check_config import check_for_generation
from heterrec_model.training.progress import TrainResult
from heterrec_model.training.train import train
from heterrec_model.training.trainer import Trainer
from heterrec_schemas.errors import CallError, DataError, GenerationError, RunError
from heterrec_schemas.generation import open_generation

CLOCKS = ("users_per_second", "items_per_second", "tokens_per_second", "data_wait")


def lines(run: Path, kind: str | None = None) -> list[dict[str, Any]]:
    """The log without what depends on the clock."""
    read = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [
        {name: value for name, value in line.items() if name not in CLOCKS}
        for line in read
        if kind in (None, line["kind"])
    ]


def folders(run: Path) -> list[str]:
    return sorted(p.name for p in (run / "checkpoints").iterdir())


def weights(run: Path, checkpoint: str = "last") -> bytes:
    return (run / "checkpoints" / checkpoint / "model.safetensors").read_bytes()


def assert_same_end(one: Path, two: Path) -> None:
    """Equal weights, optimisers, places in the data and logs."""
    for file in ("model.safetensors", "optimizer.safetensors"):
        ends = [(run / "checkpoints/last" / file).read_bytes() for run in (one, two)]
        assert ends[0] == ends[1]
    states = [json.loads((run / "checkpoints/last/state.json").read_text()) for run in (one, two)]
    for state in states:
        del state["state_sha256"], state["progress"]["log_bytes"]
        times = [state["progress"].pop(name) for name in ("training_seconds", "cpu_seconds")]
        assert min(times) > 0
    assert states[0] == states[1]
    assert lines(one) == lines(two)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, shop_data: Path, tiny: Any) -> TrainResult:
    """A run left alone, with a checkpoint and a validation every few steps that do not fall together."""
    run = tmp_path_factory.mktemp("whole") / "run"
    return train(
        tiny(train={"checkpoint_every": 5, "validate_every": 7}),
        data=shop_data,
        run=run,
        quiet=True,
    )


def test_a_run_leaves_weights_logs_and_links(whole: TrainResult) -> None:
    assert whole.stopped is None
    assert whole.epoch == 3
    assert whole.metrics["ndcg@50"] == whole.best_metric
    names = folders(whole.run)
    steps = [n for n in names if n.startswith("step-")]
    assert set(names) - set(steps) == {"best", "last"}
    assert 2 <= len(steps) <= 3
    last = read_checkpoint(whole.run / "checkpoints/last")
    assert (last.step, last.state["epoch"], last.state["threads"]) == (whole.step, 3, 1)
    assert last.state["torch"] == str(torch.__version__)
    assert read_checkpoint(whole.run / "checkpoints/best").step == whole.best_step


def test_the_log_has_every_term_and_measure(whole: TrainResult) -> None:
    trained, validated = lines(whole.run, "train"), lines(whole.run, "validation")
    assert [line["step"] for line in trained] == list(range(2, whole.step + 1, 2))
    raw = json.loads((whole.run / "metrics.jsonl").read_text().splitlines()[0])
    assert set(CLOCKS) < set(raw)
    assert 0 <= raw["data_wait"] <= 1
    first = trained[0]
    assert first["loss"] == pytest.approx(sum(first["terms"].values()), rel=1e-5)
    assert {"item_step1", "token/look_step3"} <= set(first["terms"])
    assert "open_gates/item_step2" in first["metrics"]
    assert first["gradient_norm"] > 0
    rates = [line["learning_rate"] for line in trained]
    assert rates[:2] == [5e-4, 1e-3]
    assert rates[2:] == sorted(rates[2:], reverse=True)
    due = list(range(7, whole.step + 1, 7))
    assert [line["step"] for line in validated] == due + [whole.step] * (whole.step not in due)
    assert [line["step"] for line in validated if line["best"]][-1] == whole.best_step


class StopAt:
    """Wishes to stop at a step, as SIGTERM would."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, step: int) -> None:
        original = Trainer._step

        def stepped(trainer: Trainer, group: Any) -> None:
            if trainer.progress.step + 1 == step:
                trainer.stop.name = "SIGTERM"
            original(trainer, group)

        monkeypatch.setattr(Trainer, "_step", stepped)


@pytest.mark.parametrize("step", [1, 5, 6, 7, 8, 13])
def test_a_stopped_run_goes_on_as_if_it_had_not(
    step: int, whole: TrainResult, shop_data: Path, tmp_path: Path, tiny: Any
) -> None:
    config = tiny(train={"checkpoint_every": 5, "validate_every": 7})
    with pytest.MonkeyPatch.context() as patched:
        StopAt(patched, step)
        stopped = train(config, data=shop_data, run=tmp_path, quiet=True)
    assert (stopped.step, stopped.stopped) == (step, "SIGTERM")
    result = train(config, data=shop_data, run=tmp_path, resume=True, quiet=True)
    assert (result.step, result.stopped) == (whole.step, None)
    assert_same_end(tmp_path, whole.run)


def test_epochs_end_with_a_validation_and_a_checkpoint(
    shop_data: Path, tmp_path: Path, tiny: Any
) -> None:
    config = tiny(train={"epochs": 2})
    result = train(config, data=shop_data, run=tmp_path / "one", quiet=True)
    validated = lines(tmp_path / "one", "validation")
    assert [line["epoch"] for line in validated] == [1, 2]
    assert validated[1]["step"] == result.step
    with pytest.MonkeyPatch.context() as patched:
        StopAt(patched, validated[0]["step"])  # the epoch's last step, before its end is known
        train(config, data=shop_data, run=tmp_path / "two", quiet=True)
    train(config, data=shop_data, run=tmp_path / "two", resume=True, quiet=True)
    assert_same_end(tmp_path / "one", tmp_path / "two")


def test_a_validation_that_was_cut_short_is_made_again(
    shop_data: Path, tmp_path: Path, tiny: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny(train={"epochs": 2}, data={"batch_items": 256})
    train(config, data=shop_data, run=tmp_path / "one", quiet=True)
    original = Trainer._metrics

    def wish(trainer: Trainer) -> Any:
        trainer.stop.name = "SIGTERM"
        return original(trainer)

    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "_metrics", wish)
        stopped = train(config, data=shop_data, run=tmp_path / "two", quiet=True)
    assert (stopped.stopped, stopped.best_metric) == ("SIGTERM", None)
    assert lines(tmp_path / "two", "validation") == []
    train(config, data=shop_data, run=tmp_path / "two", resume=True, quiet=True)
    assert_same_end(tmp_path / "one", tmp_path / "two")


def test_max_steps_ends_a_run_in_the_middle_of_an_epoch(
    shop_data: Path, tmp_path: Path, tiny: Any
) -> None:
    result = train(tiny(train={"max_steps": 3}), data=shop_data, run=tmp_path, quiet=True)
    assert (result.step, result.epoch, result.best_step) == (3, 0, 3)
    assert folders(tmp_path) == ["best", "last", "step-00000003"]


def test_a_finished_run_is_left_as_it_is(whole: TrainResult, shop_data: Path, tiny: Any) -> None:
    config = tiny(train={"checkpoint_every": 5, "validate_every": 7})
    before = (lines(whole.run), weights(whole.run), folders(whole.run))
    again = train(config, data=shop_data, run=whole.run, resume=True, quiet=True)
    assert (again.step, again.best_metric) == (whole.step, whole.best_metric)
    assert (lines(whole.run), weights(whole.run), folders(whole.run)) == before


def test_patience_ends_a_run(
    shop_data: Path, tmp_path: Path, tiny: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = iter([0.1, 0.3, 0.2, 0.25, 0.4])
    fixed = lambda *_: lambda on_progress: {"ndcg@50": next(values)}  # noqa: E731
    monkeypatch.setattr(train_module, "validation", fixed)
    config = tiny(train={"validate_every": 2, "checkpoint_every": 1, "patience": 2})
    result = train(config, data=shop_data, run=tmp_path, quiet=True)
    assert (result.step, result.best_metric, result.best_step) == (8, 0.3, 4)
    assert folders(tmp_path) == [
        "best",
        "last",
        "step-00000004",
        "step-00000007",
        "step-00000008",
    ]
    assert (tmp_path / "checkpoints/best").readlink() == Path("step-00000004")
    more = config.model_copy(update={"train": config.train.model_copy(update={"patience": 3})})
    monkeypatch.setattr(train_module, "validation", lambda *_: lambda on_progress: {"ndcg@50": 0.4})
    again = train(more, data=shop_data, run=tmp_path, resume=True, quiet=True)
    assert again.step > 8
    assert again.best_step == 10


def spoiled(monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    original = train_module.build_model

    def build(*arguments: Any, **options: Any) -> Any:
        model = original(*arguments, **options)
        whole, calls = model.forward, [0]

        def forward(batch: Any, seed: int) -> Any:
            calls[0] += 1
            output = whole(batch, seed)
            if calls[0] == at:
                output.terms["item_step2"] = output.terms["item_step2"] * float("nan")
            return output

        model.forward = forward
        return model

    monkeypatch.setattr(train_module, "build_model", build)


def test_a_loss_that_is_none_stops_the_run_at_the_state_before(
    whole: TrainResult, shop_data: Path, tmp_path: Path, tiny: Any
) -> None:
    config = tiny(train={"checkpoint_every": 5, "validate_every": 7})
    with pytest.MonkeyPatch.context() as patched:
        spoiled(patched, 9)
        with pytest.raises(RunError, match="step 9: the loss is not finite: item_step2 = nan"):
            train(config, data=shop_data, run=tmp_path, quiet=True)
    assert (tmp_path / "checkpoints/last").readlink() == Path("step-00000008")
    train(config, data=shop_data, run=tmp_path, resume=True, quiet=True)
    assert_same_end(tmp_path, whole.run)


def test_a_broken_checkpoint_is_named_and_the_one_before_used(
    whole: TrainResult, shop_data: Path, tmp_path: Path, tiny: Any, capsys: Any
) -> None:
    config = tiny(train={"checkpoint_every": 5, "validate_every": 7})
    with pytest.MonkeyPatch.context() as patched:
        StopAt(patched, 13)
        train(config, data=shop_data, run=tmp_path, quiet=True)
    checkpoints = CheckpointFolder(tmp_path / "checkpoints")
    assert checkpoints.steps()[-1] == 13
    file = checkpoints.path / "step-00000013/model.safetensors"
    file.write_bytes(file.read_bytes()[:100])
    (checkpoints.path / ".step-00000015.0a1b2c3d-1").mkdir()
    capsys.readouterr()
    train(config, data=shop_data, run=tmp_path, resume=True, quiet=True)
    assert "step-00000013/model.safetensors is damaged" in capsys.readouterr().err
    assert_same_end(tmp_path, whole.run)
    assert not list(checkpoints.path.glob(".*"))


def test_only_broken_checkpoints_mean_step_0(
    shop_data: Path, tmp_path: Path, tiny: Any, capsys: Any
) -> None:
    config = tiny(train={"max_steps": 4})
    train(config, data=shop_data, run=tmp_path, quiet=True)
    before = weights(tmp_path), lines(tmp_path)
    (tmp_path / "checkpoints/last/state.json").unlink()
    train(config, data=shop_data, run=tmp_path, resume=True, quiet=True)
    assert "state.json is absent" in capsys.readouterr().err
    assert (weights(tmp_path), lines(tmp_path)) == before


def test_a_run_is_not_written_over(whole: TrainResult, shop_data: Path, tiny: Any) -> None:
    with pytest.raises(CallError, match="already contains a run"):
        train(tiny(), data=shop_data, run=whole.run, quiet=True)


def test_other_settings_and_data_are_refused(
    whole: TrainResult, shop_data: Path, other_data: Path, tiny: Any
) -> None:
    with pytest.raises(CallError, match=r"train\.seed: got 3, expected 0"):
        train(tiny(train={"seed": 3}), data=shop_data, run=whole.run, resume=True, quiet=True)
    config = tiny(train={"checkpoint_every": 5, "validate_every": 7})
    with pytest.raises(GenerationError, match="was trained on another generation"):
        train(config, data=other_data, run=whole.run, resume=True, quiet=True)
    with pytest.raises(GenerationError, match="was trained on another generation"):
        load_run(whole.run, data=open_generation(other_data))


def test_a_metric_that_nobody_measures_is_refused_first(
    shop_data: Path, tmp_path: Path, tiny: Any
) -> None:
    with pytest.raises(CallError, match="Did you mean 'ndcg@50'"):
        train(tiny(train={"metric": "ndcg@5"}), data=shop_data, run=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_other_threads_are_warned_of(
    shop_data: Path, tmp_path: Path, tiny: Any, capsys: Any
) -> None:
    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patched:
        StopAt(patched, 2)
        train(tiny(train={"max_steps": 4}), data=shop_data, run=tmp_path, quiet=True)
    other = tiny(train={"max_steps": 4, "threads": 2})
    train(other, data=shop_data, run=tmp_path, resume=True, quiet=True)
    assert (
        "step-00000002 was trained with threads 1, now 2: the run continues"
        in capsys.readouterr().err
    )
    assert torch.get_num_threads() == threads
    assert torch.get_deterministic_debug_mode() == 0


def test_loaded_weights_are_the_trained_ones(whole: TrainResult, shop_data: Path) -> None:
    loaded = load_run(whole.run, "last", data=open_generation(shop_data))
    assert (loaded.step, loaded.name) == (whole.step, f"step-{whole.step:08d}")
    assert not loaded.model.training
    found = read_checkpoint(whole.run / "checkpoints/last").weights()
    for name, parameter in loaded.model.named_parameters():
        assert torch.equal(parameter.detach(), found[name])
    assert load_run(whole.run, data=open_generation(shop_data)).step == whole.best_step


def test_sparse_tables_resume_too(shop_data: Path, tmp_path: Path, tiny: Any) -> None:
    config = tiny(train={"max_steps": 6, "sparse_tables": True})
    train(config, data=shop_data, run=tmp_path / "one", quiet=True)
    with pytest.MonkeyPatch.context() as patched:
        StopAt(patched, 3)
        train(config, data=shop_data, run=tmp_path / "two", quiet=True)
    train(config, data=shop_data, run=tmp_path / "two", resume=True, quiet=True)
    assert_same_end(tmp_path / "one", tmp_path / "two")


@pytest.mark.parametrize("name", ["bert4rec", "hstu", "pinnerformer"])
def test_baselines_resume_too(name: str, shop_data: Path, tmp_path: Path, settings: Any) -> None:
    chosen = settings(model={"name": name}, train={"max_steps": 6, "validate_users": 9})
    config = Config.model_validate(only_read(chosen, name))
    train(config, data=shop_data, run=tmp_path / "one", quiet=True)
    with pytest.MonkeyPatch.context() as patched:
        StopAt(patched, 3)
        train(config, data=shop_data, run=tmp_path / "two", quiet=True)
    train(config, data=shop_data, run=tmp_path / "two", resume=True, quiet=True)
    assert_same_end(tmp_path / "one", tmp_path / "two")


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_that_make_a_step_together_resume_too(
    workers: int, shop_data: Path, tmp_path: Path, tiny: Any
) -> None:
    config = tiny(train={"accumulate": 3, "epochs": 2}, data={"workers": workers})
    train(config, data=shop_data, run=tmp_path / "one", quiet=True)
    with pytest.MonkeyPatch.context() as patched:
        StopAt(patched, 3)  # an epoch's last step: it has fewer batches
        train(config, data=shop_data, run=tmp_path / "two", quiet=True)
    train(config, data=shop_data, run=tmp_path / "two", resume=True, quiet=True)
    assert_same_end(tmp_path / "one", tmp_path / "two")


def test_without_validation_users_the_newest_is_best(
    shop_data: Path, tmp_path: Path, tiny: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train_module, "validation", lambda *_: None)
    result = train(tiny(train={"epochs": 2}), data=shop_data, run=tmp_path, quiet=True)
    assert (result.best_metric, result.best_step, result.metrics) == (None, result.step, {})
    assert (tmp_path / "checkpoints/best").readlink().name == f"step-{result.step:08d}"
    assert lines(tmp_path, "validation") == []


def test_nothing_to_train_on_is_said(
    shop_data: Path, tmp_path: Path, tiny: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Empty:
        epoch = rows = run_rows = 0

        def __iter__(self) -> Any:
            return iter(())

        def state_dict(self) -> dict[str, Any]:
            return {}

    monkeypatch.setattr(train_module, "TrainLoader", lambda *_, **__: Empty())
    with pytest.raises(DataError, match="no row to train on"):
        train(tiny(), data=shop_data, run=tmp_path / "run", quiet=True)


def test_nothing_is_pickled(
    whole: TrainResult, shop_data: Path, tmp_path: Path, tiny: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: Any, **__: Any) -> None:
        pytest.fail("a pickle was read or written")

    for name in ("load", "save"):
        monkeypatch.setattr(torch, name, never)
    train(tiny(train={"max_steps": 2}), data=shop_data, run=tmp_path / "run", quiet=True)
    train(
        tiny(train={"max_steps": 2}), data=shop_data, run=tmp_path / "run", resume=True, quiet=True
    )
    suffixes = {p.suffix for p in whole.run.rglob("*") if p.is_file() and p.name != ".lock"}
    assert suffixes == {".yaml", ".json", ".jsonl", ".safetensors"}


def test_stuck_gates_are_reported_in_the_log_the_console_and_the_result(
    shop_data: Path,
    tmp_path: Path,
    tiny: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(gate_watch, "WINDOW", 3)
    config = tiny(loss={"margin": 1e9}, train={"max_steps": 7})
    result = train(config, data=shop_data, run=tmp_path, quiet=True)
    assert result.stuck_gates["item_step2"] == "closed"
    (warning,) = lines(tmp_path, "warning")
    assert warning["step"] == 3
    assert "item_step2" in warning["message"]
    assert capsys.readouterr().err == f"warning: step 3: {warning['message']}\n"
    ungated = tiny(loss={"gate": False}, train={"max_steps": 7})
    assert train(ungated, data=shop_data, run=tmp_path / "2", quiet=True).stuck_gates == {}


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        ({"model": {"name": "hetrec"}}, "no model 'hetrec'. Did you mean 'heterrec'"),
        ({"model": {"features": ["brnad"]}}, "no item feature 'brnad'"),
        ({"model": {"user_features": ["aeg"]}}, "no user feature 'aeg'"),
        (
            {"model": {"name": "sasrec", "time_gap": {"per_head": True}}},
            "model.time_gap.per_head: got True, the default is False",
        ),
        ({"model": {"name": "sasrec", "raw_skip": False}}, "model.raw_skip"),
        ({"model": {"embedding_width": "width", "width": 6}}, "got 4 groups and model.width: 6"),
        ({"model": {"attention": "flex"}}, "flex cannot train on a CPU"),
        ({"train": {"metric": "ndcg@51"}}, "train.metric"),
        ({"train": {"device": "gpu"}}, "train.device"),
    ],
)
def test_a_mistake_leaves_no_folder_behind(
    sections: dict[str, dict[str, Any]], words: str, shop_data: Path, tmp_path: Path, tiny: Any
) -> None:
    run = tmp_path / "runs/one"
    if sections.get("model", {}).get("name") == "sasrec":
        sections["model"] |= {"token_blocks": 2}
        sections["negatives"] = {"token": 256}
    with pytest.raises(CallError) as caught:
        train(tiny(**sections), data=shop_data, run=run, quiet=True)
    assert words in caught.value.message
    assert list(tmp_path.iterdir()) == []
    # the corrected call is not in the way of the first one
    assert train(tiny(train={"max_steps": 1}), data=shop_data, run=run, quiet=True).step == 1


def test_a_failure_before_the_first_step_leaves_no_run(
    shop_data: Path, tmp_path: Path, tiny: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise CallError("something else")

    with monkeypatch.context() as patched:
        patched.setattr(train_module, "build_model", fail)
        with pytest.raises(CallError, match="something else"):
            train(tiny(), data=shop_data, run=tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()


def test_a_generation_without_training_rows_is_refused_at_once(
    shop_data: Path, tiny: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    generation = open_generation(shop_data)
    check_for_generation(tiny(), generation)
    monkeypatch.setitem(generation.manifest.counts.sequences, "train", 0)
    with pytest.raises(DataError, match="no row to train on"):
        check_for_generation(tiny(), generation)


def test_a_lease_protects_the_generation_during_a_run(
    tmp_path: Path, shop_data: Path, tiny: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    leftovers = shutil.ignore_patterns("leases")  # of runs that other tests have killed
    data = Path(shutil.copytree(shop_data, tmp_path / "data", ignore=leftovers))
    seen = list[dict[str, Any]]()

    def fit(_: Trainer) -> None:
        seen.extend(json.loads(p.read_text()) for p in data.glob("leases/*/*.json"))
        raise RunError("enough")

    monkeypatch.setattr(Trainer, "fit", fit)
    with pytest.raises(RunError, match="enough"):
        train(tiny(), data=data, run=tmp_path / "run", quiet=True)
    assert [lease["purpose"] for lease in seen] == ["train"]
    assert seen[0]["pid"] == os.getpid()
    assert list(data.glob("leases/*/*.json")) == []
    shutil.rmtree(data / "leases")
    (data / "leases").write_text("no folder: a lease cannot be written")
    with pytest.raises(RunError, match="enough"):
        train(tiny(), data=data, run=tmp_path / "other", quiet=True)
    assert len(seen) == 1
