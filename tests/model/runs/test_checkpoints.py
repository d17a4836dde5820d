"""Checkpoints: whole or absent, linked, few, and honest about damage."""

import json
import os
import resource
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from heterrec_model.runs import checkpoints
from heterrec_model.runs.atomic_files import remove_folder
from heterrec_model.runs.checkpoints import Checkpoint, CheckpointFolder, read_checkpoint
from heterrec_schemas.errors import CallError, CorruptCheckpointError, RunError


def save(folder: CheckpointFolder, step: int, best: int | None = None, value: float = 0) -> None:
    tensors = {"w": torch.full((3,), value or float(step))}
    state = {"step": step, "progress": {"best_step": best}}
    folder.save(tensors, {"adamw/w/exp_avg": torch.zeros(3)}, state)


@pytest.fixture
def folder(tmp_path: Path) -> CheckpointFolder:
    (tmp_path / "checkpoints").mkdir()
    return CheckpointFolder(tmp_path / "checkpoints")


def names(folder: CheckpointFolder) -> set[str]:
    return {p.name for p in folder.path.iterdir()}


def test_what_was_saved_is_read_again(folder: CheckpointFolder) -> None:
    save(folder, 120, best=120)
    path = folder.path / "step-00000120"
    assert {p.name for p in path.iterdir()} == {
        "model.safetensors",
        "optimizer.safetensors",
        "state.json",
    }
    found = read_checkpoint(path)
    assert (found.step, found.name) == (120, "step-00000120")
    assert found.weights()["w"].tolist() == [120.0] * 3
    assert found.optimizer()["adamw/w/exp_avg"].tolist() == [0.0] * 3
    assert (folder.path / "last").readlink() == Path("step-00000120")
    assert (folder.path / "best").readlink() == Path("step-00000120")


def test_the_two_newest_and_the_best_are_kept(folder: CheckpointFolder) -> None:
    for step, best in ((10, 10), (20, 20), (30, 20), (40, 20), (50, 20)):
        save(folder, step, best)
    assert folder.steps() == [20, 40, 50]
    save(folder, 60, 60)
    assert names(folder) == {"step-00000050", "step-00000060", "last", "best"}


def test_a_checkpoint_is_on_the_disk_before_its_name_and_the_links(
    folder: CheckpointFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[tuple[str, int]] = []
    fsync, replace = os.fsync, os.replace

    def record_sync(handle: int) -> None:
        fsync(handle)
        events.append(("sync", os.fstat(handle).st_ino))

    def record_rename(old: Path, new: Path) -> None:
        replace(old, new)
        events.append(("rename", os.lstat(new).st_ino))

    monkeypatch.setattr(os, "fsync", record_sync)
    monkeypatch.setattr(os, "replace", record_rename)
    save(folder, 10, best=10)
    path = folder.path / "step-00000010"
    named = events.index(("rename", path.stat().st_ino))
    flushed = {inode for what, inode in events[:named] if what == "sync"}
    assert flushed == {p.stat().st_ino for p in (path, *path.iterdir())}
    above = ("sync", folder.path.stat().st_ino)
    assert events[named + 1] == above
    assert events[named + 2 :] == [
        ("rename", (folder.path / "last").lstat().st_ino),
        above,
        ("rename", (folder.path / "best").lstat().st_ino),
        above,
    ]


def test_without_a_best_there_is_no_best(folder: CheckpointFolder) -> None:
    for step in (1, 2, 3):
        save(folder, step)
    assert names(folder) == {"step-00000002", "step-00000003", "last"}


def test_a_step_can_be_saved_again(folder: CheckpointFolder) -> None:
    save(folder, 10, value=1)
    save(folder, 10, best=10, value=2)
    assert read_checkpoint(folder.path / "step-00000010").weights()["w"][0] == 2
    assert names(folder) == {"step-00000010", "last", "best"}


def _truncate(path: Path) -> None:
    file = path / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-4])


def _flip(path: Path) -> None:
    file = path / "optimizer.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)


def _edit(path: Path) -> None:
    state = json.loads((path / "state.json").read_text())
    state["step"] = 999
    (path / "state.json").write_text(json.dumps(state))


DAMAGES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "truncated weights": (_truncate, "model.safetensors is damaged: got SHA-256"),
    "a flipped bit": (_flip, "optimizer.safetensors is damaged: got SHA-256"),
    "no weights": (lambda p: (p / "model.safetensors").unlink(), "model.safetensors is absent"),
    "no state": (lambda p: (p / "state.json").unlink(), "is incomplete: state.json is absent"),
    "half a state": (
        lambda p: (p / "state.json").write_text('{"step": 3'),
        "state.json is damaged",
    ),
    "binary state": (lambda p: (p / "state.json").write_bytes(b"\xff"), "state.json is damaged"),
    "no object": (lambda p: (p / "state.json").write_text("[]"), "state.json is damaged"),
    "an edited state": (_edit, "state.json is damaged"),
    "a deep state": (lambda p: (p / "state.json").write_text("[" * 10**5), "state.json is damaged"),
    "nothing": (lambda p: [f.unlink() for f in p.iterdir()], "state.json is absent"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_named_and_the_one_before_is_used(folder: CheckpointFolder, damage: str) -> None:
    save(folder, 10, best=10)
    save(folder, 20, best=20)
    change, message = DAMAGES[damage]
    change(folder.path / "step-00000020")
    with pytest.raises(CorruptCheckpointError, match=message):
        read_checkpoint(folder.path / "step-00000020")
    warnings: list[str] = []
    found = folder.newest(warnings.append)
    assert found is not None
    assert found.step == 10
    assert len(warnings) == 1
    assert "step-00000020" in warnings[0]
    assert warnings[0].endswith("; the previous one is used")


def test_another_format_is_refused_by_its_number(folder: CheckpointFolder) -> None:
    save(folder, 10)
    from heterrec_model.runs import checkpoints as module

    state = json.loads((folder.path / "last/state.json").read_text())
    del state["state_sha256"]
    state["format_version"] = 7
    text = json.dumps({**state, "state_sha256": module._body_sha256(state)})
    (folder.path / "step-00000010/state.json").write_text(text)
    with pytest.raises(CorruptCheckpointError, match="unknown format version: got 7, expected 1"):
        read_checkpoint(folder.path / "step-00000010")


def test_without_a_whole_checkpoint_there_is_none(folder: CheckpointFolder) -> None:
    warnings: list[str] = []
    assert folder.newest(warnings.append) is None
    save(folder, 10)
    _truncate(folder.path / "step-00000010")
    assert folder.newest(warnings.append) is None
    assert len(warnings) == 1


def test_rewinding_drops_the_broken_and_the_leftovers(folder: CheckpointFolder) -> None:
    save(folder, 10, best=10)
    save(folder, 20, best=20)
    _truncate(folder.path / "step-00000020")
    (folder.path / ".step-00000030.0a1b2c3d-77").mkdir()
    (folder.path / ".step-00000030.0a1b2c3d-77/model.safetensors").write_text("half")
    (folder.path / ".last.0a1b2c3d-77").symlink_to("step-00000020")
    (folder.path / ".old.step-00000030.0a1b2c3d-77").symlink_to(folder.path.parent)
    (folder.path / ".snapshots").mkdir()
    (folder.path / ".notes").touch()
    folder.rewind(folder.newest(lambda _: None))
    assert names(folder) == {"step-00000010", "last", "best", ".snapshots", ".notes"}
    assert {(folder.path / n).readlink().name for n in ("last", "best")} == {"step-00000010"}


@pytest.mark.parametrize("again", [True, False])
def test_no_link_points_nowhere_while_a_checkpoint_is_removed(
    folder: CheckpointFolder, monkeypatch: pytest.MonkeyPatch, again: bool
) -> None:
    """A process may be killed after any removal: before a damaged checkpoint is written again, and while newer ones go."""
    save(folder, 10, best=10)
    save(folder, 20, best=20)
    seen = []

    def remove(doomed: Path) -> None:
        remove_folder(doomed)
        links = [folder.path / name for name in ("last", "best")]
        seen.append([link.is_symlink() and not link.exists() for link in links])

    monkeypatch.setattr(checkpoints, "remove_folder", remove)
    if again:
        save(folder, 20, best=20)
    else:
        folder.rewind(read_checkpoint(folder.path / "step-00000010"))
        folder.rewind(None)
    assert seen == [[False, False]] * (1 if again else 2)


def test_a_best_that_is_gone_is_linked_no_more(folder: CheckpointFolder) -> None:
    for step, best in ((10, 10), (20, 10), (30, 30)):  # 30 drops 10
        save(folder, step, best)
    _truncate(folder.path / "step-00000030")
    folder.rewind(folder.newest(lambda _: None))
    assert names(folder) == {"step-00000020", "last"}


@pytest.mark.parametrize("wanted", ["last", "step-20", "step-00000020"])
def test_finding_by_name(folder: CheckpointFolder, wanted: str) -> None:
    for step in (10, 20):
        save(folder, step, best=10)
    assert folder.find(wanted).name == "step-00000020"
    assert folder.find("best").name == "step-00000010"


@pytest.mark.parametrize(
    "wanted",
    [
        "lst",
        "step-30",
        "../x",
        "",
        ".",
        "../checkpoints/last",
        "./last",
        "last/",
        "/tmp/last",
        "a/step-00000010",
    ],
)
def test_what_is_not_there_is_refused_with_near_names(
    folder: CheckpointFolder, wanted: str
) -> None:
    with pytest.raises(CallError, match="contains no checkpoint yet"):
        folder.find(wanted)
    save(folder, 10)
    with pytest.raises(CallError, match="there is no checkpoint"):
        folder.find(wanted)


def test_a_link_to_another_run_is_refused(folder: CheckpointFolder, tmp_path: Path) -> None:
    other = CheckpointFolder(tmp_path / "other")
    save(other, 10)
    (folder.path / "last").symlink_to(other.path / "step-00000010")
    with pytest.raises(CorruptCheckpointError, match="which is no checkpoint of this run"):
        folder.find("last")


def test_a_full_disk_leaves_the_old_checkpoint(folder: CheckpointFolder) -> None:
    save(folder, 10)
    big = {"w": torch.zeros(100_000)}
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(RunError, match=r"cannot write .*step-00000020: File too large"):
            folder.save(big, {}, {"step": 20, "progress": {"best_step": None}})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert names(folder) == {"step-00000010", "last"}
    found = folder.newest(pytest.fail)
    assert isinstance(found, Checkpoint)
    assert found.step == 10
