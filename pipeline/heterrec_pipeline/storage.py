"""Files on local disks and in object stores, through Beam's FileSystems."""

import hashlib
import io
import os
import posixpath
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import IO, Any, cast

import pyarrow as pa
from apache_beam.io.filesystem import BeamIOError, CompressionTypes
from apache_beam.io.filesystems import FileSystems

from heterrec_schemas.errors import CallError, RunError


def is_remote(path: str) -> bool:
    """Whether a path names an object store (gs://, s3:// ...)."""
    return "://" in path


def join(base: str, *parts: str) -> str:
    """Join path parts; an absolute or remote part starts anew."""
    for part in parts:
        if is_remote(part) or os.path.isabs(part):
            base = part
        else:
            base = posixpath.join(base, part) if is_remote(base) else os.path.join(base, part)
    return base


def open_read(path: str) -> IO[bytes]:
    """Open for reading, bytes as they are on disk."""
    if not is_remote(path):
        return open(path, "rb")
    handle: IO[bytes] = FileSystems.open(path, compression_type=CompressionTypes.UNCOMPRESSED)
    return handle


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
        if not is_remote(path):
            os.makedirs(os.path.dirname(path), exist_ok=True)
            raw: Any = open(path, "wb")
        else:
            raw = FileSystems.create(path, compression_type=CompressionTypes.UNCOMPRESSED)
        with raw:
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

    def __init__(self, raw: IO[bytes]) -> None:
        """Write through to `raw`."""
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
    if is_remote(path):  # an object appears whole, when its upload is closed
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


def exists(path: str) -> bool:
    """Whether the file exists."""
    return bool(FileSystems.exists(path)) if is_remote(path) else os.path.exists(path)


def rename(pairs: list[tuple[str, str]]) -> None:
    """Rename files, one by one; a pair whose rename an earlier try has done is passed over.

    Raises:
        RunError: a file cannot be renamed.
    """
    for old, new in pairs:
        if not exists(old) and exists(new):
            continue
        with _writing(new):
            if is_remote(old):
                FileSystems.rename([old], [new])
            else:
                os.replace(old, new)


def delete_tree(path: str) -> None:
    """Delete a folder or file and all below it; nothing there is fine."""
    if not is_remote(path):
        if os.path.isdir(path):
            shutil.rmtree(path, ignore_errors=True)
        else:
            delete_files([path])
        return
    # In a store a path is one object, and only one with a slash behind it all objects below.
    delete_files([path, path.rstrip("/") + "/"])


def delete_files(paths: Iterable[str]) -> None:
    """Delete files; one that is not there is fine."""
    for path in paths:
        try:
            if is_remote(path):
                FileSystems.delete([path])
            else:
                os.remove(path)
        except (BeamIOError, OSError):
            continue


def files_below(folder: str) -> list[str]:
    """The paths of all files below a folder, sorted; none when there is no such folder."""
    if is_remote(folder):
        return [path for path, _ in matched(join(folder, "**"))]
    return sorted(join(top, name) for top, _, names in os.walk(folder) for name in names)


def matched(pattern: str) -> list[tuple[str, int]]:
    """The files that a glob matches: (path, bytes), sorted by path.

    Raises:
        CallError: there is no file system for the path's scheme.
        RunError: the store does not answer, or refuses.
    """
    try:
        found = FileSystems.match([pattern])[0].metadata_list
    except ValueError as error:
        raise CallError(f"{pattern} cannot be opened: {error}") from None
    except BeamIOError as error:
        raise RunError(
            f"{pattern} cannot be listed: {error}",
            todo="Check the path, the credentials and the network, and that the extra for its store is installed.",
        ) from error
    return sorted((m.path, m.size_in_bytes) for m in found if m.size_in_bytes is not None)
