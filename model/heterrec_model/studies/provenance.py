"""Which code made a row: the commit and the versions."""

import importlib.metadata
import subprocess
from pathlib import Path

_ROOM = Path(__file__).resolve().parents[2]
"""The folder that contains the package."""


def code_commit() -> str | None:
    """The commit of the checkout that the package is imported from, with `-dirty` if its code has changes; None without git.

    Only the code counts: results that are not committed yet make no checkout dirty.
    """
    commit = _git("rev-parse", "HEAD")
    if not commit or _git("ls-files", "--", __file__) == "":
        return None
    rooms = [str(path) for path in (_ROOM, _ROOM.parent / "schemas") if path.is_dir()]
    changed = _git("status", "--porcelain", "--", *rooms)
    return f"{commit[:12]}-dirty" if changed else commit[:12]


def heterrec_version() -> str | None:
    """The installed version; None if the package is not installed."""
    try:
        return importlib.metadata.version("heterrec")
    except importlib.metadata.PackageNotFoundError:
        return None


def _git(*words: str) -> str | None:
    """The output of git in the folder of the package; None if it fails."""
    try:
        ran = subprocess.run(
            ["git", "-C", str(_ROOM), *words], capture_output=True, text=True, timeout=20
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return ran.stdout.strip() if ran.returncode == 0 else None
