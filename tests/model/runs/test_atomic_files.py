"""Files that are whole or absent."""

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from heterrec_model.runs.atomic_files import (
    draft_of,
    point,
    remove_drafts,
    remove_folder,
    save_array,
    write_text,
    writing,
)
from heterrec_schemas.errors import RunError


def test_a_text_is_replaced_and_nothing_else_stays(tmp_path: Path) -> None:
    write_text(tmp_path / "a", "one")
    write_text(tmp_path / "a", "two")
    assert (tmp_path / "a").read_text() == "two"
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_a_link_is_relative_and_can_be_turned(tmp_path: Path) -> None:
    for name in ("x", "y"):
        (tmp_path / name).mkdir()
        point(tmp_path / "last", name)
        assert (tmp_path / "last").readlink() == Path(name)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["last", "x", "y"]


def test_a_folder_goes_whole(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x/file").write_text("")
    remove_folder(tmp_path / "x")
    assert not list(tmp_path.iterdir())


def test_drafts_of_killed_processes_are_removed(tmp_path: Path) -> None:
    alive = draft_of(tmp_path / "b")
    dead = alive.with_name(alive.name.replace(str(os.getpid()), "999999999"))
    elsewhere = tmp_path / ".b.00000000-999999999"
    for folder in (dead, alive, elsewhere):
        folder.mkdir()
        (folder / "user.onnx").touch()
    remove_drafts(tmp_path / "b")
    assert {*tmp_path.iterdir()} == {alive, elsewhere}


def test_the_next_text_removes_the_draft_of_a_killed_process(tmp_path: Path) -> None:
    draft = draft_of(tmp_path / "b")
    draft.with_name(draft.name.replace(str(os.getpid()), "999999999")).write_text("half")
    write_text(tmp_path / "b", "whole")
    assert [p.name for p in tmp_path.iterdir()] == ["b"]


@pytest.mark.parametrize(
    ("code", "todo"),
    [(errno.ENOSPC, "Free some space"), (errno.EACCES, "may write"), (errno.EIO, "--resume")],
)
def test_what_cannot_be_written_is_named_with_what_helps(
    tmp_path: Path, code: int, todo: str
) -> None:
    with pytest.raises(RunError, match=todo) as caught, writing(tmp_path / "x"):
        raise OSError(code, "the reason")
    assert str(tmp_path / "x") in caught.value.message
    assert "the reason" in caught.value.message


def test_an_array_is_written_as_numpy_does_and_a_full_disk_is_told(tmp_path: Path) -> None:
    array = np.arange(5000, dtype=np.float32).reshape(-1, 5)
    save_array(tmp_path / "ours.npy", array)
    np.save(tmp_path / "numpys.npy", array)
    assert (tmp_path / "ours.npy").read_bytes() == (tmp_path / "numpys.npy").read_bytes()
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    with pytest.raises(OSError, match="No space left on device"):
        save_array(Path("/dev/full"), array)
