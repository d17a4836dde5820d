"""A run's folder: whose it is, and what may change when it is resumed."""

import json
from pathlib import Path
from typing import Any

import pytest

from heterrec_model.config import Config
from heterrec_model.runs.run_folder import RunFolder, check_changes
from heterrec_schemas.errors import CallError, GenerationError, RunError
from heterrec_schemas.generation import open_generation


def started(
    path: Path, data: Path, config: Config | None = None, *, resume: bool = False
) -> RunFolder:
    folder, config, generation = RunFolder(path), config or Config(), open_generation(data)
    folder.check(config, generation, resume=resume)
    folder.start(config, generation)
    return folder


def test_a_run_says_what_it_is(tmp_path: Path, shop_data: Path) -> None:
    config = Config.model_validate({"train": {"seed": 5}})
    folder = started(tmp_path / "deep/run", shop_data, config)
    assert folder.config() == config
    body = json.loads((folder.path / "generation.json").read_text())
    manifest = open_generation(shop_data).manifest
    assert body == {
        "id": manifest.generation,
        "content_sha256": manifest.content_sha256,
        "features": ["category", "brand", "path", "price", "look"],
        "user_features": ["age", "age_bin"],
    }
    folder.check_generation(open_generation(shop_data))


def test_a_folder_with_a_run_is_refused_naming_what_is_there(
    tmp_path: Path, shop_data: Path
) -> None:
    started(tmp_path, shop_data)
    message = r"already contains a run \(config.yaml, generation.json, checkpoints\). Continue it with --resume"
    with pytest.raises(CallError, match=message):
        started(tmp_path, shop_data)
    started(tmp_path, shop_data, resume=True)


def test_other_files_do_not_make_a_run(tmp_path: Path, shop_data: Path) -> None:
    (tmp_path / "slurm.log").write_text("")
    folder = started(tmp_path, shop_data)
    assert folder.config() == Config()


def test_resuming_where_nothing_is_starts(tmp_path: Path, shop_data: Path) -> None:
    started(tmp_path / "run", shop_data, resume=True)
    assert RunFolder(tmp_path / "run").config() == Config()


def test_a_run_whose_making_was_cut_short_is_taken_up(tmp_path: Path, shop_data: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    started(tmp_path, shop_data, resume=True)
    assert RunFolder(tmp_path).contents() == ["config.yaml", "generation.json", "checkpoints"]


def test_another_generation_is_refused_by_name(
    tmp_path: Path, shop_data: Path, other_data: Path
) -> None:
    folder = started(tmp_path, shop_data)
    got, expected = (open_generation(d).manifest for d in (other_data, shop_data))
    with pytest.raises(GenerationError) as caught:
        folder.check(Config(), open_generation(other_data), resume=True)
    message = caught.value.message
    assert f"got {got.generation}" in message
    assert f"expected {expected.generation}" in message
    assert "--data" in message


def test_an_equal_generation_that_was_built_again_is_accepted(
    tmp_path: Path, shop_data: Path
) -> None:
    folder = started(tmp_path, shop_data)
    file = folder.path / "generation.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "id": "an older name"}))
    folder.check_generation(open_generation(shop_data))


def test_damaged_files_are_named(tmp_path: Path, shop_data: Path) -> None:
    folder = started(tmp_path, shop_data)
    (tmp_path / "generation.json").write_text("{}")
    with pytest.raises(CallError, match=r"generation\.json does not state which generation"):
        folder.check_generation(open_generation(shop_data))
    (tmp_path / "config.yaml").write_text("train: {sed: 1}")
    with pytest.raises(CallError, match="Did you mean 'seed'"):
        folder.config()
    (tmp_path / "config.yaml").write_text("a: [")
    with pytest.raises(CallError, match="not valid YAML"):
        folder.config()
    (tmp_path / "config.yaml").unlink()
    with pytest.raises(CallError, match=r"contains no run: it has no config\.yaml"):
        folder.config()


def config_with(**sections: Any) -> Config:
    return Config.model_validate(sections)


def test_changed_settings_are_named_together() -> None:
    now = config_with(train={"seed": 1}, model={"width": 32}, data={"workers": 1})
    with pytest.raises(CallError) as caught:
        check_changes(Config(), now, where="the run")
    assert caught.value.message.splitlines()[1:4] == [
        "  data.workers: got 1, expected 0",
        "  model.width: got 32, expected 64",
        "  train.seed: got 1, expected 0. Resume with the settings of the run, or start a new run "
        "in another --run.",
    ]


@pytest.mark.parametrize(
    ("section", "setting"),
    [
        ("train", {"patience": 3}),
        ("train", {"checkpoint_every": 3, "validate_every": 3, "log_every": 3}),
        ("train", {"threads": 3, "device": "cpu", "tensorboard": False}),
        ("data", {"prefetch": 3}),
        ("evaluation", {"batch_users": 3, "chunk_items": 3}),
    ],
)
def test_what_does_not_touch_the_weights_may_change(section: str, setting: dict[str, Any]) -> None:
    check_changes(Config(), config_with(**{section: setting}), where="the run")


def test_the_end_may_move_under_a_constant_schedule_only() -> None:
    for schedule in ("linear", "cosine"):
        before = config_with(train={"schedule": schedule})
        now = config_with(train={"schedule": schedule, "max_steps": 7})
        with pytest.raises(CallError, match=f"part of its {schedule} schedule"):
            check_changes(before, now, where="the run")
    before = config_with(train={"schedule": "constant"})
    now = config_with(train={"schedule": "constant", "max_steps": 7, "epochs": 3})
    check_changes(before, now, where="the run")


def test_one_process_at_a_time(tmp_path: Path) -> None:
    one, two = RunFolder(tmp_path / "run"), RunFolder(tmp_path / "run")
    with one.lock(), pytest.raises(CallError, match="another process is training"), two.lock():
        pytest.fail("two processes in one folder")
    with two.lock():
        pass


def test_a_folder_elsewhere_is_refused() -> None:
    with pytest.raises(CallError, match="the folder of a run must be local, got gs://bucket/run"):
        RunFolder("gs://bucket/run")


def test_a_file_in_the_way_is_named(tmp_path: Path, shop_data: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="a file exists where a folder is needed"):
        RunFolder(tmp_path / "file/run").lock().__enter__()


def test_a_check_writes_nothing(tmp_path: Path, shop_data: Path) -> None:
    for resume in (False, True):
        RunFolder(tmp_path / "run").check(Config(), open_generation(shop_data), resume=resume)
    assert list(tmp_path.iterdir()) == []


def test_a_lock_leaves_no_folder_unless_a_run_was_started(tmp_path: Path, shop_data: Path) -> None:
    with RunFolder(tmp_path / "run").lock():
        (tmp_path / "run/cache").mkdir()
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "mine").mkdir()
    with RunFolder(tmp_path / "mine").lock():
        pass
    assert (tmp_path / "mine").is_dir()
    with RunFolder(tmp_path / "run").lock():
        started(tmp_path / "run", shop_data)
    assert RunFolder(tmp_path / "run").contents() == [
        "config.yaml",
        "generation.json",
        "checkpoints",
    ]
