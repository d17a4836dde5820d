"""Replace a folder by another one."""

import ctypes
import os
import shutil
from pathlib import Path

_AT_CWD = -100
_EXCHANGE = 2


def swap(new: Path, name: Path) -> None:
    """Give a folder a name; what had the name is removed.

    On Linux, readers find the old folder or the new one at every moment; elsewhere, and on file systems that cannot exchange
    two names, there is no folder for a moment.

    Raises:
        OSError: the folder cannot be renamed.
    """
    if not name.exists():
        os.rename(new, name)
        return
    if not _exchange(new, name):
        old = new.with_name(f"{new.name}-old")
        shutil.rmtree(old, ignore_errors=True)
        os.rename(name, old)
        os.rename(new, name)
        new = old
    shutil.rmtree(new, ignore_errors=True)


def _exchange(one: Path, other: Path) -> bool:
    try:
        rename = ctypes.CDLL(None).renameat2
    except (AttributeError, OSError, TypeError):
        return False
    paths = os.fsencode(one), os.fsencode(other)
    return bool(rename(_AT_CWD, paths[0], _AT_CWD, paths[1], _EXCHANGE) == 0)
