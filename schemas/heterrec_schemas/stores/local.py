"""Paths without a scheme: files on local disks."""

import glob
import hashlib
import io
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from typing import IO, Any, cast

import pyarrow as pa

from heterrec_schemas.errors import RunError
from heterrec_schemas.stores.disk import locked, make_folder, sync
from heterrec_schemas.stores.store import FileInfo, Kind, Sink, Store, shrunk, writing

_SHOWN = 8
_AT_A_TIME = 8
"""Number of files that are flushed at once; file systems do it for several in one go."""


class LocalStore(Store):
    """Files on local disks."""

    steady_clock = False

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

    def info(self, path: str) -> FileInfo | None:
        """One stat or two."""
        if not os.path.isfile(path):
            return None
        found = os.stat(path)
        return FileInfo(path, found.st_size, _moment(found.st_mtime_ns))

    def modified(self, path: str) -> datetime | None:
        """One stat; the clock is that of this machine, or of a network file system's server."""
        try:
            return datetime.fromtimestamp(os.stat(path).st_mtime, UTC)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError, OverflowError) as error:
            raise RunError(f"{path} has no readable time: {error}") from error

    def is_link(self, path: str) -> bool:
        """Whether the path itself is a link."""
        return os.path.islink(path)

    def folder_missing(self, path: str) -> bool:
        """Whether the path does not exist."""
        return not os.path.exists(path)

    def describe_missing(self, pattern: str) -> str:
        """Names the files of the folder, up to eight."""
        folder, name = os.path.split(pattern)
        if os.path.isdir(pattern):
            return f"a folder {name} without files that hold data"
        if os.path.exists(pattern) and not os.path.isfile(pattern):
            return f"{name}, which is a device, pipe or socket"
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
        """Hidden files included; links among them, but nothing behind a link."""
        tree = [] if os.path.islink(folder) else os.walk(folder)
        return sorted(os.path.join(top, name) for top, _, names in tree for name in names)

    def matched(self, folder: str, pattern: str) -> list[FileInfo]:
        """As Python's glob; hidden files match only an explicit dot."""
        names = [pattern]
        if not os.path.isfile(os.path.join(folder, pattern)):
            names = glob.glob(pattern, root_dir=folder or None, recursive=True)
        paths = sorted(os.path.join(folder, name) for name in names)
        return [found for path in paths if (found := self.info(path))]

    def open(self, path: str, stop: int | None = None) -> IO[bytes]:
        """A buffered file."""
        file = open(path, "rb")
        return file if stop is None else cast(IO[bytes], _Beginning(file, stop))

    def content(self, path: str) -> bytes:
        """A file that is replaced by a rename stays readable."""
        with open(path, "rb") as file:
            return file.read()

    def open_arrow(self, path: str, *, mapped: bool = False) -> pa.NativeFile:
        """A memory map or a file of Arrow's own, both without Python's lock."""
        return pa.memory_map(path) if mapped else pa.OSFile(path)

    def fingerprint(self, found: FileInfo) -> dict[str, str]:
        """Reads the whole file."""
        with open(found.path, "rb") as handle:
            return {"sha256": hashlib.file_digest(handle, "sha256").hexdigest()}

    @contextmanager
    def create(self, path: str) -> Iterator[Sink]:
        """The file appears at once; if the block fails, its beginning stays."""
        with writing(path):
            make_folder(os.path.dirname(path))
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
        if not os.path.exists(folder) and change(None) is None:
            return
        with ExitStack() as stack:
            with writing(path):
                make_folder(folder)
                stack.enter_context(locked(folder))
            held = None
            with writing(path), suppress(FileNotFoundError), open(path, "rb") as old:
                held = old.read()
            made = change(held)
            if made is not None:
                self.replace(path, made, attempt)

    def rename(self, pairs: Sequence[tuple[str, str]]) -> None:
        """Flushes the files, renames one after the other (each rename is atomic), and flushes their folders."""
        left = [pair for pair in pairs if os.path.exists(pair[0]) or not os.path.exists(pair[1])]

        def flush(pair: tuple[str, str]) -> None:
            with writing(pair[1]):
                sync(pair[0])

        with ThreadPoolExecutor(_AT_A_TIME) as pool:
            list(pool.map(flush, left))
        for old, new in left:
            with writing(new):
                os.replace(old, new)
        for folder in sorted({os.path.dirname(new) for _, new in pairs}):
            with writing(folder):
                sync(folder)

    def delete(self, paths: Sequence[str]) -> None:
        """One after the other."""
        for path in paths:
            with suppress(OSError):
                os.remove(path)

    def delete_now(self, path: str) -> None:
        """Deletes it, and flushes its folder."""
        try:
            with suppress(FileNotFoundError):
                os.remove(path)
                sync(os.path.dirname(path))
        except OSError as error:
            raise RunError(f"{path} cannot be deleted: {error.strerror or error}") from error

    def delete_tree(self, path: str) -> None:
        """What cannot be deleted stays."""
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path, ignore_errors=True)
        else:
            self.delete([path])

    def close(self) -> None:
        """There are no connections."""


class _Beginning(io.RawIOBase):
    """The first bytes of an open file, which may grow."""

    def __init__(self, file: IO[bytes], stop: int) -> None:
        self._file, self._stop, self._left = file, stop, stop

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._stop - self._left

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")[: self._left]
        data = self._file.read(len(view))
        view[: len(data)] = data
        self._left -= len(data)
        if len(data) < len(view):
            raise shrunk(self._file.name, self.tell(), self._stop)
        return len(data)

    def close(self) -> None:
        self._file.close()
        super().close()


def _moment(nanoseconds: int) -> str:
    """A time since 1970 as text in UTC; its number if it is out of the calendar's range."""
    seconds, rest = divmod(nanoseconds, 10**9)
    try:
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"
    except (OverflowError, ValueError, OSError):
        return str(nanoseconds)
