"""A disk that forgets: what a power cut at any moment may leave of a folder, from the calls that this process makes.

A disk keeps the content of a file since its last fsync. Names of a folder reach the disk with an fsync of the folder at the
latest, and may reach it at once. So a cut leaves each folder with its names of now or of its last fsync, whichever is worse.
"""

import json
import os
import random
import threading
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import pytest

CALLS = ("fsync", "replace", "rename", "link", "remove", "unlink", "rmdir", "mkdir")
"""The functions of `os` that change what a cut leaves."""
Names = dict[int, dict[str, int]]
"""The inodes of the names in each folder, by the folder's inode."""


class Moment(NamedTuple):
    """The disk after a call.

    Attributes:
        names: of the folders as programs see them.
        synced: of the folders at their last fsync.
        contents: of files at their last fsync, by inode.
    """

    names: Names
    synced: Names
    contents: dict[int, bytes]


class Disk:
    """Records what this process does to a folder and below."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        """Start with all that is there on the disk."""
        self.folder, self.lock = folder, threading.Lock()
        names = self._names()
        found = (p for p in folder.rglob("*") if p.is_file())
        contents = {p.stat().st_ino: p.read_bytes() for p in found}
        self.moments = [Moment(names, names, contents)]
        for name in CALLS:
            patch.setattr(os, name, self._recorded(name, getattr(os, name)))

    def _names(self) -> Names:
        found: Names = {}
        for top, folders, files in os.walk(self.folder):
            for name in (*folders, *files):
                try:
                    inode = os.stat(os.path.join(top, name)).st_ino
                    found.setdefault(os.stat(top).st_ino, {})[name] = inode
                except FileNotFoundError:  # another thread has just removed it
                    continue
        return found

    def _recorded(self, name: str, call: Any) -> Any:
        def recorded(*arguments: Any, **more: Any) -> Any:
            made = call(*arguments, **more)
            with self.lock:
                last, names = self.moments[-1], self._names()
                synced, contents = last.synced, last.contents
                if name == "fsync":
                    inode = os.fstat(arguments[0]).st_ino
                    path = os.readlink(f"/proc/self/fd/{arguments[0]}")
                    if os.path.isdir(path):
                        synced = synced | {inode: names.get(inode, {})}
                    elif os.path.exists(path):
                        contents = contents | {inode: Path(path).read_bytes()}
                self.moments.append(Moment(names, synced, contents))
            return made

        return recorded

    def cuts(self, seeds: int) -> Iterator[dict[str, bytes]]:
        """The files by their paths after a cut at each moment: once with the names of the last fsyncs, then by chance."""
        root = os.stat(self.folder).st_ino
        for moment in self.moments:
            for seed in range(seeds):
                yield dict(_left(moment, root, "", random.Random(seed) if seed else None))


def _left(
    moment: Moment, folder: int, above: str, dice: random.Random | None
) -> Iterator[tuple[str, bytes]]:
    """The files that are left below a folder; one without an fsync is empty."""
    lazy = dice is None or dice.random() < 0.5
    known = moment.synced if lazy else moment.names
    for name, inode in sorted(known.get(folder, {}).items()):
        if inode in moment.names or inode in moment.synced:
            yield from _left(moment, inode, f"{above}{name}/", dice)
        else:
            yield f"{above}{name}", moment.contents.get(inode, b"")


class Left(NamedTuple):
    """What `latest.json` names, and the finished generations."""

    latest: str | None
    finished: frozenset[str]


def whole(files: dict[str, bytes]) -> Left:
    """Checks that every generation with a manifest has all its files.

    Raises:
        AssertionError: a file is absent, or has another content; or `latest.json` names no whole generation.
    """
    roots = {p.removesuffix("manifest.json") for p in files if p.endswith("/manifest.json")}
    for root in roots:
        for entry in json.loads(files[f"{root}manifest.json"])["files"]:
            path = root + entry["path"]
            assert path in files, f"{path} is absent"
            assert sha256(files[path]).hexdigest() == entry["sha256"], path
    finished = frozenset(root.split("/")[-2] for root in roots)
    latest = json.loads(files["latest.json"])["generation"] if "latest.json" in files else None
    assert latest is None or latest in finished, f"latest.json names {latest}"
    return Left(latest, finished)
