"""Which bundle to serve, and a thread that opens a new one beside the one in use."""

import json
import logging
import os
import threading
from pathlib import Path
from typing import Any

from heterrec_model.bundle.files import INDEX, INDEX_INFO, INFO
from heterrec_model.runs.atomic_files import write_text, writing
from heterrec_model.service.live import Current, Live, Opener, open_live
from heterrec_model.service.metrics import Metrics
from heterrec_schemas.errors import BundleError, HeterrecError
from heterrec_schemas.stores.disk import make_folder

POLL_SECONDS = 1.0
_KEY = "bundle"
_LOG = logging.getLogger("heterrec_model.service")


def bundle_folder(path: Path) -> Path:
    """The folder of a bundle: the path itself, or what a pointer file names, relative to its own folder.

    Raises:
        BundleError: the pointer file cannot be read.
    """
    if not path.is_file():
        return path
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise BundleError(f"the pointer {path} cannot be read: {error}") from None
    named = found.get(_KEY) if isinstance(found, dict) else None
    if not isinstance(named, str) or not named:
        raise BundleError(
            f"the pointer {path}", got=str(found)[:100], expected='{"bundle": "FOLDER"}'
        )
    return path.parent / named


def write_pointer(folder: Path, pointer: Path) -> None:
    """Let a pointer file name a bundle; it is replaced atomically.

    Raises:
        BundleError: the pointer is a folder.
        RunError: it cannot be written.
    """
    if pointer.is_dir():
        raise BundleError(f"the pointer {pointer}", got="a folder", expected="a file")
    with writing(pointer):
        make_folder(pointer.parent)
    named = os.path.relpath(folder.resolve(), pointer.parent.resolve())
    write_text(pointer, json.dumps({_KEY: named}) + "\n")


class Reloader:
    """Watches the bundle, and swaps in a new one once it is open, verified and warm.

    A bundle that is refused is logged and counted, and tried again only after it changes or on `ask`.

    Args:
        path: a bundle's folder or a pointer file; what it names now counts as open.
        opener: opens a bundle.
        metrics: of the service.
        cached_users: number of users whose vectors a bundle keeps.
    """

    def __init__(self, path: Path, opener: Opener, metrics: Metrics, cached_users: int) -> None:
        self._path = path
        self._opener = opener
        self._metrics = metrics
        self._cached_users = cached_users
        self._seen = signature(path)
        self._asked = threading.Event()
        self._done = False
        self._thread = threading.Thread(target=self._watch, name="reload", daemon=True)

    def watch(self, current: Current) -> None:
        """Start the thread, which replaces the bundle in `current`."""
        self._current = current
        self._thread.start()

    def stop(self) -> None:
        """End the thread; a bundle that is being opened is given up with the process."""
        self._done = True
        self._asked.set()

    def ask(self) -> None:
        """Open the bundle again, whether it changed or not: on SIGHUP."""
        self._asked.set()

    def _watch(self) -> None:
        while not self._done:
            asked = self._asked.wait(POLL_SECONDS)
            self._asked.clear()
            if not self._done:
                self.look(asked)

    def look(self, asked: bool = False) -> None:
        """Open the bundle if it has changed, or if somebody asks."""
        found = signature(self._path)
        if found == self._seen and not asked:
            return
        self._seen = found
        try:
            live = open_live(bundle_folder(self._path), self._opener, self._cached_users)
        except Exception as error:
            words = error.message if isinstance(error, HeterrecError) else type(error).__name__
            _LOG.error("refused the bundle of %s: %s", self._path, words)
            self._metrics.reloaded("refused")
            return
        self._swap(live)

    def _swap(self, live: Live) -> None:
        self._current.live = live
        self._metrics.uses(live.recommender.identity)
        self._metrics.reloaded("loaded")
        _LOG.info("answers now come from %s, %s", live.folder, live.info.fingerprint)


def signature(path: Path) -> tuple[Any, ...]:
    """Changes when another bundle is served: when the pointer, the bundle or its index is replaced."""
    try:
        folder = bundle_folder(path)
    except BundleError:
        folder = path
    files = (path, folder / INFO, folder / INDEX / INDEX_INFO)
    return (str(folder), *map(_stamp, files))


def _stamp(file: Path) -> tuple[int, int, int] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    if file.is_dir():
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
