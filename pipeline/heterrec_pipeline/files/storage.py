"""Files on local disks and in object stores: the one door to both for the whole pipeline."""

import fcntl
import glob
import hashlib
import io
import itertools
import os
import posixpath
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import IO, Any, cast

import pyarrow as pa

from heterrec_pipeline.files.store_flags import follow_flags
from heterrec_schemas import stores
from heterrec_schemas.errors import HeterrecError, RunError
from heterrec_schemas.stores import is_remote

__all__ = [
    "HashedFile",
    "create_bytes",
    "delete_files",
    "delete_tree",
    "exists",
    "files_below",
    "is_remote",
    "join",
    "matched",
    "open_arrow",
    "open_read",
    "open_write",
    "read_bytes",
    "rename",
    "replace_bytes",
    "sha256_of",
    "update_bytes",
    "version_of",
    "write_bytes",
]

_AT_A_TIME = 8
_READ_AGAIN = 20
"""How often a conditional write may lose against others before something must be wrong."""


def _store(path: str) -> stores.Store:
    follow_flags()
    return stores.store_of(path)


def join(base: str, *parts: str) -> str:
    """Join path parts; an absolute or remote part starts anew."""
    for part in parts:
        if is_remote(part) or os.path.isabs(part):
            base = part
        else:
            base = posixpath.join(base, part) if is_remote(base) else os.path.join(base, part)
    return base


def open_read(path: str) -> IO[bytes]:
    """Open for reading, bytes as they are on disk.

    Raises:
        FileNotFoundError: there is no such file.
        CallError: the store refuses.
        RunError: the store does not answer.
    """
    if not is_remote(path):
        return open(path, "rb")
    follow_flags()
    return cast(IO[bytes], stores.open_object(path))


def open_arrow(path: str) -> pa.NativeFile:
    """Open for random access by Arrow: mapped on local disks."""
    return pa.PythonFile(open_read(path)) if is_remote(path) else pa.memory_map(path)


@contextmanager
def open_write(path: str) -> Iterator["HashedFile"]:
    """Open a new file for writing, counting and hashing what goes in.

    Raises:
        RunError: the file cannot be written (full disk, no permission).
    """
    with _writing(path):
        if is_remote(path):
            follow_flags()
            upload = stores.ObjectWriter(path)
            try:
                yield HashedFile(upload)
            except BaseException:  # half an object must not appear
                upload.abort()
                raise
            upload.close()
        else:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "wb") as raw:
                yield HashedFile(raw)


@contextmanager
def _writing(path: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RunError(
            f"{path} cannot be written: {error.strerror or error}",
            todo="Free space or permissions there, then run the same command again.",
        ) from error


class HashedFile(io.RawIOBase):
    """A sequential binary file that knows its size and SHA-256."""

    def __init__(self, raw: Any) -> None:
        """Write through to `raw`, a file or an object's writer."""
        self._raw = raw
        self._sha256 = hashlib.sha256()
        self._hashing = True
        self.size = 0

    def unhashed(self) -> "HashedFile":
        """The same file, for what nobody compares: its SHA-256 is not kept."""
        self._hashing = False
        return self

    def writable(self) -> bool:
        """Yes."""
        return True

    def write(self, data: Any) -> int:
        """Write all bytes."""
        view = memoryview(data)
        self._raw.write(view)
        if self._hashing:
            self._sha256.update(view)
        self.size += view.nbytes
        return view.nbytes

    def tell(self) -> int:
        """The count of bytes written."""
        return self.size

    @property
    def sha256(self) -> str:
        """The SHA-256 of what was written so far, in hex."""
        assert self._hashing
        return self._sha256.hexdigest()


def sha256_of(path: str) -> str:
    """The SHA-256 of a file, in hex."""
    with open_read(path) as handle:
        return hashlib.file_digest(cast(Any, handle), "sha256").hexdigest()


def read_bytes(path: str) -> bytes:
    """The whole file."""
    with open_read(path) as handle:
        return handle.read()


def write_bytes(path: str, data: bytes) -> str:
    """Write a whole small file; returns its SHA-256."""
    with open_write(path) as out:
        out.write(data)
    return out.sha256


def replace_bytes(path: str, data: bytes, attempt: str) -> None:
    """Write a whole small file so that readers see the old or the new one, never half of it.

    Raises:
        RunError: the file cannot be written.
    """
    if is_remote(path):  # an object appears whole
        write_bytes(path, data)
        return
    temporary = f"{path}.{attempt}.tmp"
    try:
        write_bytes(temporary, data)
        with _writing(path):
            os.replace(temporary, path)
    except RunError:
        delete_files([temporary])
        raise


def create_bytes(path: str, data: bytes, attempt: str) -> None:
    """Write a whole small file where there is none; the same bytes are there already on a second try.

    Of several writers at once one wins, and the others fail if they wanted to write anything else.

    Raises:
        RunError: other bytes stand there, or the file cannot be written.
    """

    def only_once(held: bytes | None) -> bytes | None:
        if held is not None and held != data:
            raise RunError(
                f"{path} was written by another run", todo="It stands; this run published nothing."
            )
        return data if held is None else None

    update_bytes(path, only_once, attempt)


def update_bytes(path: str, change: Callable[[bytes | None], bytes | None], attempt: str) -> None:
    """Replace a small file by what it becomes, so that no other writer's change is lost; equal ones count once.

    In a store the write is conditional on the version that was read. On a local disk writers take turns by a lock
    on the folder, which ends with the process that holds it.

    Args:
        path: the file.
        change: the new content for the old one; None as old content where there is no file, None as new content to
            leave it. May be called again with what another writer has put there meanwhile.
        attempt: makes the name of the temporary file this writer's own.

    Raises:
        RunError: the file cannot be written, or others never cease to change it.
    """
    if is_remote(path):
        _update_object(path, change)
        return
    folder = os.path.dirname(path)
    with _writing(path):
        os.makedirs(folder, exist_ok=True)
        handle = os.open(folder, os.O_RDONLY)
    try:
        # Where a file system has no locks, the window between read and write stays open.
        with suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        with _writing(path):
            held = read_bytes(path) if exists(path) else None
        made = change(held)
        if made is not None:
            replace_bytes(path, made, attempt)
    finally:
        os.close(handle)


def _update_object(path: str, change: Callable[[bytes | None], bytes | None]) -> None:
    store = _store(path)
    made: bytes | None = None
    for _ in range(_READ_AGAIN):
        found = store.stat(path)
        try:
            held = store.read(found, 0, found.bytes) if found and found.bytes else b""
            if found and held == made:  # written by the last try, whose answer was lost
                return
            made = change(held if found else None)
            if made is not None:
                store.put(path, made, found.version if found else stores.ABSENT)
            return
        except (stores.ChangedError, FileNotFoundError):
            continue
    raise RunError(
        f"{path} cannot be written: others have changed it {_READ_AGAIN} times meanwhile",
        todo="Run again when fewer runs publish there at once.",
    )


def exists(path: str) -> bool:
    """Whether the file exists."""
    return _store(path).stat(path) is not None if is_remote(path) else os.path.exists(path)


def version_of(path: str) -> str:
    """What a store calls the content of an object: an ETag or a generation number; empty where there is none."""
    found = _store(path).stat(path)
    return "" if found is None else found.version


def rename(pairs: list[tuple[str, str]]) -> None:
    """Rename files; a pair whose rename an earlier try has done is passed over. In a store each is a copy.

    Raises:
        RunError: a file cannot be renamed.
    """
    if any(is_remote(old) for old, _ in pairs):
        with ThreadPoolExecutor(_AT_A_TIME) as pool:
            list(pool.map(_rename_object, pairs))
        delete_files(old for old, _ in pairs)
        return
    for old, new in pairs:
        if not exists(old) and exists(new):
            continue
        with _writing(new):
            os.replace(old, new)


def _rename_object(pair: tuple[str, str]) -> None:
    old, new = pair
    with _writing(new):
        try:
            _store(old).copy(old, new)
        except FileNotFoundError:
            if not exists(new):
                raise


def delete_tree(path: str) -> None:
    """Delete a folder or file and all below it; nothing there is fine."""
    if is_remote(path):
        below = (found.path for found in _store(path).below(path.rstrip("/") + "/"))
        delete_files([path.rstrip("/"), *below])
    elif os.path.isdir(path):
        shutil.rmtree(path, ignore_errors=True)
    else:
        delete_files([path])


def delete_files(paths: Iterable[str]) -> None:
    """Delete files; one that is not there is fine, and one that cannot be deleted stays."""
    remote = []
    for path in paths:
        if is_remote(path):
            remote.append(path)
        else:
            with suppress(OSError):
                os.remove(path)
    if remote:
        with suppress(HeterrecError):
            _store(remote[0]).delete(remote)


def files_below(folder: str) -> list[str]:
    """The paths of all files below a folder, sorted; none when there is no such folder."""
    if is_remote(folder):
        found = _store(folder).below(folder.rstrip("/") + "/")
        return sorted(f.path for f in found if not f.path.endswith("/"))
    return sorted(join(top, name) for top, _, names in os.walk(folder) for name in names)


def matched(pattern: str) -> list[tuple[str, int]]:
    """The files that a glob matches: (path, bytes), sorted by path.

    `*` and `?` stand for no slash, `**/` for folders at any depth, `[abc]` and `[!abc]` for one character. A file
    of that very name is taken before the pattern is.

    Raises:
        CallError: there is no store of the path's scheme, no such bucket, or the store refuses.
        RunError: the store does not answer.
    """
    if not is_remote(pattern):
        names = [pattern] if os.path.isfile(pattern) else glob.glob(pattern, recursive=True)
        return [(n, os.path.getsize(n)) for n in sorted(names) if os.path.isfile(n)]
    store = _store(pattern)
    exact = [f for f in store.below(pattern, limit=1) if f.path == pattern]
    fixed = "".join(itertools.takewhile(lambda c: c not in "*?[", pattern))
    if exact or fixed == pattern:
        return [(f.path, f.bytes) for f in exact]
    wanted = re.compile(glob_as_regex(pattern))
    return sorted(
        (f.path, f.bytes)
        for f in store.below(fixed)
        if wanted.fullmatch(f.path) and not f.path.endswith("/")
    )


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
