"""Object stores: every operation on files as requests, each retried for a bounded time."""

import itertools
import os
import posixpath
import re
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import IO, TypeVar, cast

import pyarrow as pa

from heterrec_schemas.errors import HeterrecError, RunError
from heterrec_schemas.stores.objects import ABSENT, ChangedError, Upload
from heterrec_schemas.stores.reader import ObjectReader
from heterrec_schemas.stores.retry import TransientError, retry
from heterrec_schemas.stores.settings import StoreSettings
from heterrec_schemas.stores.store import FileInfo, Kind, Sink, Store, shrunk, writing
from heterrec_schemas.stores.writer import ObjectWriter

CONNECTIONS = 32
"""Number of connections that a client keeps open."""
_AT_A_TIME = 8
"""Number of concurrent requests of one operation on many objects."""
_FEW = 4
"""Number of objects up to which each takes a request of its own; a listing covers a thousand per request."""
_UPDATES = 20
"""Number of times that a conditional write may lose against others before it is given up."""
T = TypeVar("T")


class ObjectStore(Store):
    """Files as objects. A subclass defines the requests; this class builds the operations from them."""

    steady_clock = True

    def __init__(self, settings: StoreSettings) -> None:
        """Keep the settings; subclasses make their client."""
        self._seconds = settings.seconds
        self._out = False

    @abstractmethod
    def translated(self, path: str) -> AbstractContextManager[None]:
        """Turns the client's exceptions into TransientError, ChangedError, FileNotFoundError or a HeterrecError."""

    @abstractmethod
    def stat(self, path: str) -> FileInfo | None:
        """An object's size and version; None if it (or its bucket) does not exist."""

    @abstractmethod
    def fetch(self, found: FileInfo, start: int, stop: int) -> bytes:
        """One request for the bytes [start, stop) of an object's version, without a retry."""

    @abstractmethod
    def put(self, path: str, data: bytes, expected: str | None = None) -> None:
        """Write a whole object in one request.

        Args:
            path: the URI.
            data: the content.
            expected: the version that must exist, ABSENT for none, None for any.

        Raises:
            ChangedError: another version exists. It may have this very content: if an answer is
                lost, the next try finds the object that the one before has written.
        """

    @abstractmethod
    def upload(self, path: str) -> Upload:
        """Begin an object that is sent in parts."""

    @abstractmethod
    def copy(self, old: str, new: str) -> None:
        """Copy an object inside the store.

        Raises:
            FileNotFoundError: there is no object at `old`.
        """

    @abstractmethod
    def remove(self, path: str) -> None:
        """One request that deletes an object, without a retry; FileNotFoundError if it is absent."""

    @abstractmethod
    def below(self, prefix: str, limit: int | None = None) -> Iterator[FileInfo]:
        """The objects whose URI begins with a prefix, sorted by it, the first `limit` of them."""

    @abstractmethod
    def prefixes(self, base: str) -> Iterable[str]:
        """The keys up to the next slash after a URI's that further objects begin with."""

    def ask(self, verb: str, path: str, call: Callable[[], T]) -> T:
        """The result of `call`, retried where that can help.

        A store that was given up is not waited for again until it answers: a clean-up after a
        failure would otherwise wait as long as the failure did, and again for each file.
        """

        def once() -> T:
            with self.translated(path):
                return call()

        try:
            got = retry(f"{verb} {path}", 0 if self._out else self._seconds, once)
        except RunError:
            self._out = True
            raise
        self._out = False
        return got

    def read(self, found: FileInfo, start: int, stop: int) -> bytes:
        """The bytes [start, stop) of an object.

        Raises:
            FileNotFoundError: the object is gone.
            ChangedError: the object has been replaced since it was found.
        """

        def once() -> bytes:
            data = self.fetch(found, start, stop)
            if len(data) != stop - start:
                raise TransientError(f"got {len(data)} bytes, expected {stop - start}")
            return data

        return self.ask("reading", found.path, once)

    def absolute(self, path: str) -> str:
        """The URI."""
        return path.rstrip("/")

    def kind(self, path: str) -> Kind:
        """A folder is a prefix with an object below it."""
        if list(self.below(f"{path}/", limit=1)):
            return "folder"
        return "absent" if self.stat(path) is None else "file"

    def exists(self, path: str) -> bool:
        """One request."""
        return self.stat(path) is not None

    def info(self, path: str) -> FileInfo | None:
        """One request."""
        return self.stat(path)

    def is_link(self, path: str) -> bool:
        """Never."""
        return False

    def folder_missing(self, path: str) -> bool:
        """Never: any prefix is a folder."""
        return False

    def describe_missing(self, pattern: str) -> str:
        """No request is made for a message."""
        return "nothing"

    def sizes(self, folder: str, relatives: Sequence[str]) -> list[int | None]:
        """One listing, or one request per object for a few."""
        paths = [f"{folder}/{relative}" for relative in relatives]
        if len(paths) > _FEW:
            found = {info.path: info for info in self.below(f"{folder}/")}
        else:
            found = {path: info for path in paths if (info := self.stat(path))}
        return [found[path].bytes if path in found else None for path in paths]

    def folders(self, path: str, holding: str | None = None) -> list[str]:
        """One request per thousand names, or objects if `holding` is given."""
        base = _base(path)
        if holding is None:
            return sorted(p.rstrip("/").rpartition("/")[2] for p in self.prefixes(base))
        parts = (info.path.removeprefix(base).split("/") for info in self.below(base))
        return [names[0] for names in parts if names[1:] == [holding]]

    def files_in(self, folder: str) -> list[str]:
        """One request per thousand objects below the folder."""
        names = (path.removeprefix(_base(folder)) for path in self.files_below(folder))
        return [name for name in names if "/" not in name]

    def files_below(self, folder: str) -> list[str]:
        """One request per thousand objects."""
        found = self.below(_base(folder))
        return sorted(info.path for info in found if not info.path.endswith("/"))

    def matched(self, folder: str, pattern: str) -> list[FileInfo]:
        """One request per thousand objects that begin with the folder and the pattern's fixed part."""
        base = posixpath.join(folder, "")
        path = base + pattern
        exact = [info for info in self.below(path, limit=1) if info.path == path]
        fixed = "".join(itertools.takewhile(lambda c: c not in "*?[", pattern))
        if exact or fixed == pattern:
            return exact
        wanted = re.compile(re.escape(base) + glob_as_regex(pattern))
        return sorted(
            info
            for info in self.below(base + fixed)
            if wanted.fullmatch(info.path) and not info.path.endswith("/")
        )

    def open(self, path: str, stop: int | None = None) -> IO[bytes]:
        """Reads by range requests, ahead where the reads follow each other; with `stop`, of any version that is as long."""
        found = self.stat(path)
        if found is None:
            raise FileNotFoundError(2, os.strerror(2), path)
        if stop is None:
            return cast(IO[bytes], ObjectReader(self.read, found))
        if found.bytes < stop:
            raise shrunk(path, found.bytes, stop)
        return cast(IO[bytes], ObjectReader(self._read_newest, found._replace(bytes=stop)))

    def _read_newest(self, found: FileInfo, start: int, stop: int) -> bytes:
        """As `read`, of the newest version if the object has grown since it was found."""
        for _ in range(_UPDATES):
            try:
                return self.read(found, start, stop)
            except ChangedError:
                newest = self.stat(found.path)
                if newest is None:
                    raise FileNotFoundError(2, os.strerror(2), found.path) from None
                if newest.bytes < found.bytes:
                    raise shrunk(found.path, newest.bytes, found.bytes) from None
                found = found._replace(version=newest.version)
        return self.read(found, start, stop)

    def content(self, path: str) -> bytes:
        """One request for the version, and one for its content; both again if it is replaced in between."""
        for _ in range(_UPDATES):
            found = self.stat(path)
            if found is None:
                raise FileNotFoundError(2, os.strerror(2), path)
            with suppress(ChangedError, FileNotFoundError):
                return self.read(found, 0, found.bytes) if found.bytes else b""
        raise RunError(
            f"{path} cannot be read: others have changed it {_UPDATES} times meanwhile",
            todo="Run again when fewer runs publish there at once.",
        )

    def open_arrow(self, path: str, *, mapped: bool = False) -> pa.NativeFile:
        """As `open`; nothing is mapped."""
        return pa.PythonFile(self.open(path), mode="r")

    def fingerprint(self, found: FileInfo) -> dict[str, str]:
        """The version: an ETag or a generation number."""
        return {"etag": found.version}

    @contextmanager
    def create(self, path: str) -> Iterator[Sink]:
        """One request for a small object, else an upload in parts."""
        with writing(path):
            writer = ObjectWriter(path, self.put, self.upload)
            try:
                yield writer
            except BaseException:  # half an object must not appear
                writer.abort()
                raise
            writer.close()

    def replace(self, path: str, data: bytes, attempt: str) -> None:
        """An object appears whole."""
        with self.create(path) as out:
            out.write(data)

    def update(
        self, path: str, change: Callable[[bytes | None], bytes | None], attempt: str
    ) -> None:
        """Writes under the condition that the version that was read still exists."""
        made: bytes | None = None
        for _ in range(_UPDATES):
            found = self.stat(path)
            try:
                held = self.read(found, 0, found.bytes) if found and found.bytes else b""
                if found and held == made:  # written by the last try, whose answer was lost
                    return
                made = change(held if found else None)
                if made is not None:
                    self.put(path, made, found.version if found else ABSENT)
                return
            except (ChangedError, FileNotFoundError):
                continue
        raise RunError(
            f"{path} cannot be written: others have changed it {_UPDATES} times meanwhile",
            todo="Run again when fewer runs publish there at once.",
        )

    def rename(self, pairs: Sequence[tuple[str, str]]) -> None:
        """One copy per object, then the old ones are deleted."""

        def copy(pair: tuple[str, str]) -> None:
            with writing(pair[1]):
                try:
                    self.copy(*pair)
                except FileNotFoundError:
                    if not self.exists(pair[1]):
                        raise

        with ThreadPoolExecutor(_AT_A_TIME) as pool:
            list(pool.map(copy, pairs))
        self.delete([old for old, _ in pairs])

    def delete(self, paths: Sequence[str]) -> None:
        """One request per object: not every store accepts a list. What cannot be deleted stays."""

        def one(path: str) -> None:
            with suppress(FileNotFoundError):
                self.ask("deleting", path, lambda: self.remove(path))

        with suppress(HeterrecError), ThreadPoolExecutor(_AT_A_TIME) as pool:
            list(pool.map(one, paths))

    def delete_now(self, path: str) -> None:
        """One request."""
        with suppress(FileNotFoundError):
            self.ask("deleting", path, lambda: self.remove(path))

    def delete_tree(self, path: str) -> None:
        """One request per object, after a listing."""
        self.delete([path.rstrip("/"), *(info.path for info in self.below(_base(path)))])


def _base(folder: str) -> str:
    return folder.rstrip("/") + "/"


_GLOB = re.compile(r"\*\*/|\*\*|\*|\?|\[(!?)(\]?[^\]]*)\]|.", re.DOTALL)
_WILD = {"**/": "(?:[^/]+/)*", "**": ".*", "*": "[^/]*", "?": "[^/]"}


def glob_as_regex(pattern: str) -> str:
    """A glob as a regular expression of whole paths."""
    parts = []
    for piece in _GLOB.finditer(pattern):
        text, inside = piece.group(0), piece.group(2)
        if inside is not None:
            inside = inside.replace("\\", "\\\\").replace("[", "\\[").replace("]", "\\]")
            parts.append(f"[{'^/' if piece.group(1) else ''}{inside}]")
        else:
            parts.append(_WILD.get(text, re.escape(text)))
    return "".join(parts)
