import errno
import os
from pathlib import Path

import pytest

from heterrec_schemas.errors import CallError, RunError
from heterrec_schemas.stores.disk import locked, make_folder, sync


def test_every_new_name_of_a_folder_is_flushed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed, fsync = list[int](), os.fsync
    monkeypatch.setattr(os, "fsync", lambda f: (flushed.append(os.fstat(f).st_ino), fsync(f)))
    make_folder(tmp_path / "a" / "b" / "c")
    make_folder(tmp_path / "a" / "b" / "c")
    assert flushed == [os.stat(tmp_path / name).st_ino for name in ("", "a", "a/b")]


def test_a_file_in_the_place_of_a_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    with pytest.raises(OSError, match="exists"):
        make_folder(tmp_path / "a")
    with pytest.raises(OSError, match=r"Not a directory|exists"):
        make_folder(tmp_path / "a" / "b")


def test_only_folders_may_be_impossible_to_flush(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = errno.EINVAL

    def refuse(_: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)
    (tmp_path / "file").touch()
    sync(tmp_path)
    with pytest.raises(OSError, match="Invalid"):
        sync(tmp_path / "file")
    number = errno.EIO
    with pytest.raises(OSError, match="Input/output"):
        sync(tmp_path)


def _taken(path: Path) -> None:
    with locked(path, CallError("another process writes")):
        pass


@pytest.mark.parametrize("name", [".", "lock"])
def test_a_lock_is_held_by_one(tmp_path: Path, name: str) -> None:
    for _ in range(2):
        with locked(tmp_path / name), pytest.raises(CallError, match="another process writes"):
            _taken(tmp_path / name)
    _taken(tmp_path / name)


def test_a_lock_that_cannot_be_closed_hides_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    close = os.close

    def fail(handle: int) -> None:
        close(handle)
        raise OSError(errno.EIO, "broken")

    def work() -> None:
        with locked(tmp_path / "lock"):
            monkeypatch.setattr(os, "close", fail)
            raise RunError("the disk is full")

    with pytest.raises(RunError, match="the disk is full"):
        work()
