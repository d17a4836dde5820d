"""File operations that leave a file either complete or absent, even after a crash."""

import errno
import glob
import os
import shutil
import socket
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt

from heterrec_schemas.errors import HeterrecError, RunError
from heterrec_schemas.leases.process import lives, namespace
from heterrec_schemas.stores.disk import locked, make_folder, sync

_AGAIN = "run the same command again (train: with --resume)."
_NOT_WRITABLE = "Choose a folder that this user may write."
_NOT_A_FOLDER = "Choose another folder: a file exists where a folder is needed."
_TODO = {
    errno.ENOSPC: f"Free some space, then {_AGAIN}",
    errno.EDQUOT: f"Free some of the quota, then {_AGAIN}",
    errno.EACCES: _NOT_WRITABLE,
    errno.EPERM: _NOT_WRITABLE,
    errno.EROFS: "Choose a folder on a file system that is not read-only.",
    errno.EEXIST: _NOT_A_FOLDER,
    errno.ENOTDIR: _NOT_A_FOLDER,
}


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Convert operating system errors: the message names the path and a remedy.

    Raises:
        RunError: the disk is full, or the path cannot be written.
    """
    try:
        yield
    except OSError as error:
        todo = _TODO.get(error.errno or 0, f"Fix it, then {_AGAIN}")
        raise RunError(f"cannot write {path}: {error.strerror or error}", todo=todo) from error


@contextmanager
def locked_folder(
    folder: Path, busy: HeterrecError | None = None, name: str = ""
) -> Iterator[None]:
    """Create a folder, if it is absent, and hold its lock, or that of a file in it; see `locked`.

    Raises:
        RunError: it cannot be written.
    """
    with ExitStack() as held:
        with writing(folder):
            make_folder(folder)
            held.enter_context(locked(folder / name, busy))
        yield


def draft_of(path: Path) -> Path:
    """Where this process prepares a file or folder, beside it; machines and containers may share a file system."""
    return path.with_name(f"{_drafts(path)}{os.getpid()}")


def remove_drafts(path: Path) -> None:
    """Remove the drafts of a file or folder that killed processes of this machine, or of this container, have left."""
    for draft in path.parent.glob(f"{glob.escape(_drafts(path))}*"):
        process = draft.name.removeprefix(_drafts(path))
        lease = {"namespace": namespace(), "pid": int(process) if process.isdecimal() else None}
        if lives(lease) is not False:
            continue
        if draft.is_dir() and not draft.is_symlink():
            shutil.rmtree(draft, ignore_errors=True)
        else:
            draft.unlink(missing_ok=True)


def _drafts(path: Path) -> str:
    place = zlib.crc32((namespace() or socket.gethostname()).encode())
    return f".{path.name}.{place:08x}-"


def write_text(path: Path, text: str) -> None:
    """Replace the content of a file atomically: readers get the old text or the new one."""
    draft = draft_of(path)
    with writing(path):
        remove_drafts(path)
        try:
            draft.write_text(text, encoding="utf-8")
            sync(draft)
            draft.replace(path)
            sync(path.parent)
        finally:
            draft.unlink(missing_ok=True)


def save_array(path: Path, array: npt.NDArray[Any]) -> None:
    """Write an array as `np.save` does, but with the system's reason if that fails.

    Raises:
        OSError: it cannot be written.
    """
    with path.open("wb") as file:
        # numpy writes to a file of its own by C, and loses the reason; to anything else it writes in pieces.
        np.lib.format.write_array(SimpleNamespace(write=file.write), array, allow_pickle=False)


def point(link: Path, target: str) -> None:
    """Create or replace a relative link atomically."""
    draft = draft_of(link)
    with writing(link):
        remove_drafts(link)
        draft.unlink(missing_ok=True)
        draft.symlink_to(target, target_is_directory=True)
        draft.replace(link)
        sync(link.parent)


def remove_folder(folder: Path) -> None:
    """Remove a folder; a partly removed folder never has its name."""
    old = folder.with_name(f"old.{folder.name}")
    doomed = draft_of(old)
    with writing(folder):
        remove_drafts(old)
        shutil.rmtree(doomed, ignore_errors=True)
        folder.replace(doomed)
        shutil.rmtree(doomed)
