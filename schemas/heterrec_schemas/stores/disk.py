"""Changes of local disks that outlive a power cut: files and folders are flushed to the device. Locks of processes."""

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from heterrec_schemas.errors import HeterrecError

_UNSUPPORTED = (errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.EACCES)
"""Errors of file systems that cannot flush a folder, such as some network file systems."""


def sync(path: str | Path) -> None:
    """Flush a file, or the names in a folder, to the disk; a folder only where the file system can.

    Raises:
        OSError: the disk is full or broken. Some file systems report this only here.
    """
    try:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        if error.errno not in _UNSUPPORTED or not os.path.isdir(path):
            raise


def make_folder(path: str | Path) -> None:
    """Create a folder and its parents, whose names are then on the disk; an existing one is left as it is.

    Raises:
        OSError: it cannot be created.
    """
    folder = os.path.abspath(path)
    absent = []
    while not os.path.isdir(folder):
        absent.append(folder)
        folder = os.path.dirname(folder)
    for folder in reversed(absent):
        os.makedirs(folder, exist_ok=True)  # by another process meanwhile, perhaps
        sync(os.path.dirname(folder))


@contextmanager
def locked(path: str | Path, busy: HeterrecError | None = None) -> Iterator[None]:
    """Hold the lock of a folder, or of a file, which is created. It ends with the process.

    Where a file system has no locks, nothing is held.

    Args:
        path: of the folder or file.
        busy: raised if another process holds the lock; None waits for it.

    Raises:
        OSError: it cannot be opened.
    """
    flags = os.O_RDONLY if os.path.isdir(path) else os.O_RDWR | os.O_CREAT
    handle = os.open(path, flags | os.O_CLOEXEC, 0o666)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (fcntl.LOCK_NB if busy else 0))
        except BlockingIOError:
            assert busy is not None
            raise busy from None
        except OSError:
            pass
        yield
    finally:
        with suppress(OSError):  # nothing was written, and it must not hide a failure of the block
            os.close(handle)
