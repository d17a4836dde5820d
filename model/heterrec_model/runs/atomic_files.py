"""File operations that leave a file either complete or absent, even after a crash."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from heterrec_schemas.errors import RunError
from heterrec_schemas.stores.disk import sync

_NOT_WRITABLE = "Choose a folder that this user may write."
_NOT_A_FOLDER = "Choose another folder: a file exists where a folder is needed."
_TODO = {
    errno.ENOSPC: "Free some space, then continue with --resume.",
    errno.EDQUOT: "Free some of the quota, then continue with --resume.",
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
        todo = _TODO.get(error.errno or 0, "Fix it, then continue with --resume.")
        raise RunError(f"cannot write {path}: {error.strerror or error}", todo=todo) from error


def write_text(path: Path, text: str) -> None:
    """Replace the content of a file atomically: readers get the old text or the new one."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    with writing(path):
        try:
            draft.write_text(text, encoding="utf-8")
            sync(draft)
            draft.replace(path)
            sync(path.parent)
        finally:
            draft.unlink(missing_ok=True)


def point(link: Path, target: str) -> None:
    """Create or replace a relative link atomically."""
    draft = link.with_name(f".{link.name}.{os.getpid()}")
    with writing(link):
        draft.unlink(missing_ok=True)
        draft.symlink_to(target, target_is_directory=True)
        draft.replace(link)
        sync(link.parent)


def remove_folder(folder: Path) -> None:
    """Remove a folder; a partly removed folder never has its name."""
    doomed = folder.with_name(f".old-{folder.name}-{os.getpid()}")
    with writing(folder):
        shutil.rmtree(doomed, ignore_errors=True)
        folder.replace(doomed)
        shutil.rmtree(doomed)
