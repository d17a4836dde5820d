"""Files that are either whole or absent, whenever the machine stops."""

import errno
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from heterrec_schemas.errors import RunError

_TODO = {
    errno.ENOSPC: "Free some space, then go on with --resume.",
    errno.EDQUOT: "Free some of the quota, then go on with --resume.",
    errno.EACCES: "Choose a folder that this user may write.",
    errno.EPERM: "Choose a folder that this user may write.",
    errno.EROFS: "Choose a folder on a file system that is not read-only.",
    errno.EEXIST: "Choose another folder: a file stands where a folder has to be.",
    errno.ENOTDIR: "Choose another folder: a file stands where a folder has to be.",
}


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn an error of the operating system into one that says what could not be written and what helps.

    Raises:
        RunError: the disk is full, or the path cannot be written.
    """
    try:
        yield
    except OSError as error:
        todo = _TODO.get(error.errno or 0, "Mend it, then go on with --resume.")
        raise RunError(f"cannot write {path}: {error.strerror or error}", todo=todo) from error


def write_text(path: Path, text: str) -> None:
    """Replace a file's content at once: readers see the old text or the new one."""
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
    """Make a relative link, or let an old one point elsewhere, at once."""
    draft = link.with_name(f".{link.name}.{os.getpid()}")
    with writing(link):
        draft.unlink(missing_ok=True)
        draft.symlink_to(target, target_is_directory=True)
        draft.replace(link)
        sync(link.parent)


def sync(path: Path) -> None:
    """Have a file or a folder reach the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def remove_folder(folder: Path) -> None:
    """Remove a folder so that no half of it is ever seen under its name."""
    doomed = folder.with_name(f".old-{folder.name}-{os.getpid()}")
    with writing(folder):
        shutil.rmtree(doomed, ignore_errors=True)
        folder.replace(doomed)
        shutil.rmtree(doomed)


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
