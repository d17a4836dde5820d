"""Changes of local disks that outlive a power cut: files and folders are flushed to the device."""

import errno
import os
from pathlib import Path

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
