"""Paths without a scheme: files on local disks."""

import fcntl
import glob
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import IO

import pyarrow as pa

from heterrec_schemas.errors import RunError
from heterrec_schemas.stores.store import Kind, Sink, Store, writing

_SHOWN = 8


class LocalStore(Store):
    """Files on local disks."""

    def absolute(self, path: str) -> str:
        """The absolute path."""
        return os.path.abspath(path)

    def kind(self, path: str) -> Kind:
        """Anything but a folder counts as a file."""
        if os.path.isdir(path):
            return "folder"
        return "file" if os.path.exists(path) else "absent"

    def exists(self, path: str) -> bool:
        """True for folders as well."""
        return os.path.exists(path)

    def folder_missing(self, path: str) -> bool:
        """Whether the path does not exist."""
        return not os.path.exists(path)

    def describe_missing(self, pattern: str) -> str:
        """Names the files of the folder, up to eight."""
        folder, name = os.path.split(pattern)
        if os.path.isdir(pattern):
            return f"a folder of that name (the files in it are {name}/*)"
        if not os.path.isdir(folder):
            return f"no folder {folder}"
        names = sorted(os.listdir(folder))
        more = ", ..." if len(names) > _SHOWN else ""
        return f"a folder with {', '.join(names[:_SHOWN]) or 'nothing'}{more}"

    def sizes(self, folder: str, relatives: Sequence[str]) -> list[int | None]:
        """One stat or two per file."""
        paths = [f"{folder}/{relative}" for relative in relatives]
        return [os.path.getsize(p) if os.path.isfile(p) else None for p in paths]

    def folders(self, path: str, holding: str | None = None) -> list[str]:
        """All folders, whatever files they hold."""
        if not os.path.isdir(path):
            return []
        return sorted(entry.name for entry in os.scandir(path) if entry.is_dir())

    def files_in(self, folder: str) -> list[str]:
        """Hidden files included."""
        if not os.path.isdir(folder):
            return []
        return sorted(entry.name for entry in os.scandir(folder) if entry.is_file())

    def files_below(self, folder: str) -> list[str]:
        """Hidden files included."""
        tree = os.walk(folder)
        return sorted(os.path.join(top, name) for top, _, names in tree for name in names)

    def matched(self, folder: str, pattern: str) -> list[tuple[str, int]]:
        """As Python's glob; hidden files match only an explicit dot."""
        names = [pattern]
        if not os.path.isfile(os.path.join(folder, pattern)):
            names = glob.glob(pattern, root_dir=folder or None, recursive=True)
        paths = sorted(os.path.join(folder, name) for name in names)
        return [(path, os.path.getsize(path)) for path in paths if os.path.isfile(path)]

    def open(self, path: str) -> IO[bytes]:
        """A buffered file."""
        return open(path, "rb")

    def open_arrow(self, path: str, *, mapped: bool = False) -> pa.NativeFile:
        """A memory map or a file of Arrow's own, both without Python's lock."""
        return pa.memory_map(path) if mapped else pa.OSFile(path)

    def fingerprint(self, path: str) -> dict[str, str]:
        """Reads the whole file."""
        with open(path, "rb") as handle:
            return {"sha256": hashlib.file_digest(handle, "sha256").hexdigest()}

    @contextmanager
    def create(self, path: str) -> Iterator[Sink]:
        """The file appears at once; if the block fails, its beginning stays."""
        with writing(path):
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "wb") as raw:
                yield raw

    def replace(self, path: str, data: bytes, attempt: str) -> None:
        """Writes a temporary file and renames it."""
        temporary = f"{path}.{attempt}.tmp"
        try:
            with self.create(temporary) as out:
                out.write(data)
            self.rename([(temporary, path)])
        except RunError:
            self.delete([temporary])
            raise

    def update(
        self, path: str, change: Callable[[bytes | None], bytes | None], attempt: str
    ) -> None:
        """Writers take turns by a lock on the folder, which ends with the process that holds it."""
        folder = os.path.dirname(path)
        with writing(path):
            os.makedirs(folder, exist_ok=True)
            handle = os.open(folder, os.O_RDONLY)
        try:
            # Where a file system has no locks, the window between read and write stays open.
            with suppress(OSError):
                fcntl.flock(handle, fcntl.LOCK_EX)
            held = None
            with writing(path), suppress(FileNotFoundError), open(path, "rb") as old:
                held = old.read()
            made = change(held)
            if made is not None:
                self.replace(path, made, attempt)
        finally:
            os.close(handle)

    def rename(self, pairs: Sequence[tuple[str, str]]) -> None:
        """One rename after the other; each is atomic and replaces an earlier file."""
        for old, new in pairs:
            if os.path.exists(old) or not os.path.exists(new):
                with writing(new):
                    os.replace(old, new)

    def delete(self, paths: Sequence[str]) -> None:
        """One after the other."""
        for path in paths:
            with suppress(OSError):
                os.remove(path)

    def delete_tree(self, path: str) -> None:
        """What cannot be deleted stays."""
        if os.path.isdir(path):
            shutil.rmtree(path, ignore_errors=True)
        else:
            self.delete([path])

    def close(self) -> None:
        """There are no connections."""
