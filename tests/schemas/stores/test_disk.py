import errno
import os
from pathlib import Path

import pytest

from heterrec_schemas.stores.disk import make_folder, sync


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
