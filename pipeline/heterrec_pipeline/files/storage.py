"""Files by path or URI: the pipeline's access to local disks and object stores.

Every function may raise CallError (the store denies access, or does not exist) and RunError (the store does not respond, or
the file cannot be written). See `heterrec_schemas.stores.Store`.
"""

import hashlib
import io
import posixpath
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import IO, Any, cast
from urllib.parse import unquote

import pyarrow as pa

from heterrec_pipeline.files.store_flags import follow_flags
from heterrec_schemas import stores
from heterrec_schemas.errors import RunError

_COPY_BYTES = 4 * 2**20
"""Number of bytes copied at a time."""


def _store(path: str) -> stores.Store:
    follow_flags()
    return stores.store_of(path)


def check(path: str) -> None:
    """Refuse a path that cannot be opened, whatever it names.

    Raises:
        CallError: see `store_of`.
    """
    _store(path)


def join(base: str, *parts: str) -> str:
    """Join path parts; an absolute path or a URI replaces the parts before it."""
    for part in parts:
        base = part if "://" in part else posixpath.join(base, part)
    return base


def plain_path(path: str) -> str:
    """A path without the scheme file://, if it has that one."""
    found = re.match(r"file://(?:localhost)?(?=/)", path)
    return unquote(path[found.end() :]) if found else path


def open_read(path: str, stop: int | None = None) -> IO[bytes]:
    """Open for reading, up to `stop` bytes, without decompression; FileNotFoundError if there is no such file."""
    return _store(path).open(path, stop)


def open_arrow(path: str, *, mapped: bool = True) -> pa.NativeFile:
    """Open for random access by Arrow; errors as in `open_read`.

    Args:
        path: the file.
        mapped: map it into memory, if it is on a local disk. Not for files of others: the system kills a process that
            reads a mapped file which has become shorter.
    """
    return _store(path).open_arrow(path, mapped=mapped)


@contextmanager
def open_write(path: str) -> Iterator["HashedFile"]:
    """Open a new file for writing; counts and hashes its bytes, and creates its folder."""
    with _store(path).create(path) as raw:
        yield HashedFile(raw)


class HashedFile(io.RawIOBase):
    """A sequential binary file that counts and hashes its bytes."""

    def __init__(self, raw: stores.Sink) -> None:
        """Write through to `raw`."""
        self._raw = raw
        self._sha256 = hashlib.sha256()
        self._hashing = True
        self.size = 0

    def unhashed(self) -> "HashedFile":
        """Turn hashing off, for content that is never compared; returns the file."""
        self._hashing = False
        return self

    def writable(self) -> bool:
        """Always True."""
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
        """Number of bytes written."""
        return self.size

    @property
    def sha256(self) -> str:
        """SHA-256 of the bytes written so far, in hex."""
        assert self._hashing
        return self._sha256.hexdigest()


def copy(source: str, target: str) -> str:
    """Copy a file to a new one, perhaps of another store; returns the SHA-256 of what was copied.

    Raises:
        FileNotFoundError: there is no such file.
    """
    with open_read(source) as handle, open_write(target) as out:
        while piece := handle.read(_COPY_BYTES):
            out.write(piece)
    return out.sha256


def sha256_of(path: str, stop: int | None = None) -> str:
    """The SHA-256 of a file, or of its first `stop` bytes, in hex."""
    with open_read(path, stop) as handle:
        return hashlib.file_digest(cast(Any, handle), "sha256").hexdigest()


def fingerprint(found: stores.FileInfo) -> dict[str, str]:
    """The field of the manifest that identifies an input's content: `sha256`, or the store's `etag`."""
    return _store(found.path).fingerprint(found)


def read_bytes(path: str) -> bytes:
    """The whole of a small file, also while others replace it; FileNotFoundError if there is no such file."""
    return _store(path).content(path)


def write_bytes(path: str, data: bytes) -> str:
    """Write a whole small file; returns its SHA-256."""
    with open_write(path) as out:
        out.write(data)
    return out.sha256


def replace_bytes(path: str, data: bytes, attempt: str) -> None:
    """Replace a whole small file atomically: readers see the old content or the new one."""
    _store(path).replace(path, data, attempt)


def create_bytes(path: str, data: bytes, attempt: str) -> None:
    """Write a whole small file unless it exists with the same content.

    Of several concurrent writers, one succeeds; the others fail if their content differs.

    Raises:
        RunError: the file exists with other content.
    """

    def only_once(held: bytes | None) -> bytes | None:
        if held is not None and held != data:
            raise RunError(
                f"{path} was written by another run",
                todo="It was kept; this run published nothing.",
            )
        return data if held is None else None

    update_bytes(path, only_once, attempt)


def update_bytes(path: str, change: Callable[[bytes | None], bytes | None], attempt: str) -> None:
    """Change a small file without losing the changes of concurrent writers: see `Store.update`."""
    _store(path).update(path, change, attempt)


def exists(path: str) -> bool:
    """Whether the file exists."""
    return _store(path).exists(path)


def info(path: str) -> stores.FileInfo | None:
    """Size and version of a file; None if there is no such file."""
    return _store(path).info(path)


def modified(path: str) -> datetime | None:
    """When a file was last written, by its store's own clock; None if there is no such file."""
    return _store(path).modified(path)


def sizes(folder: str, relatives: Sequence[str]) -> list[int | None]:
    """The bytes of files by their paths inside a folder; None for anything but a file."""
    return _store(folder).sizes(folder, relatives)


def is_link(path: str) -> bool:
    """Whether the path is a symbolic link."""
    return _store(path).is_link(path)


def folder_missing(path: str) -> bool:
    """Whether a local folder is missing; always False in an object store, where folders are only prefixes."""
    return _store(path).folder_missing(path)


def describe_missing(pattern: str) -> str:
    """For an error message: what exists near a path or glob that matches no file."""
    return _store(pattern).describe_missing(pattern)


def rename(pairs: Sequence[tuple[str, str]]) -> None:
    """Rename files of one store, (old, new) each, so that they survive a power cut.

    Pairs renamed by an earlier attempt are ignored.
    """
    if pairs:
        _store(pairs[0][0]).rename(pairs)


def delete_files(paths: Iterable[str]) -> None:
    """Delete files of one store; missing files, and files that cannot be deleted, are ignored."""
    if every := list(paths):
        _store(every[0]).delete(every)


def delete_now(path: str) -> None:
    """Delete a file, if it exists, such that it stays deleted after a power cut; RunError if it cannot be deleted."""
    _store(path).delete_now(path)


def delete_tree(path: str) -> None:
    """Delete a file, or a folder with everything below it, if it exists; of a link, only the link."""
    _store(path).delete_tree(path)


def folders(path: str, holding: str | None = None) -> list[str]:
    """Paths of the folders directly inside a folder: see `Store.folders`."""
    return [join(path, name) for name in _store(path).folders(path, holding)]


def files_in(folder: str) -> list[str]:
    """Names of the files directly inside a folder, sorted; empty if the folder is missing."""
    return _store(folder).files_in(folder)


def files_below(folder: str) -> list[str]:
    """Paths of all files below a folder, sorted; empty if the folder is missing. Links are not followed."""
    return _store(folder).files_below(folder)


def matched(folder: str, pattern: str) -> list[stores.FileInfo]:
    """The files that match a glob in a folder, sorted by path; see `Store.matched`.

    The folder is never a pattern. An absolute path or a URI as pattern replaces it, as in `join`.
    """
    if join(folder, pattern) == pattern:
        folder = ""
    return _store(folder or pattern).matched(folder, pattern)
