"""Folders to read from, on a local disk or in an object store (gs://, s3://)."""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

import pyarrow as pa

from heterrec_schemas import stores
from heterrec_schemas.errors import RunError

_CHUNK = 2**22
"""Bytes that are hashed at a time."""


@dataclass(frozen=True, eq=False)
class Folder:
    """A folder; it need not exist. Relative paths use `/`. It can be pickled and sent to a worker.

    Attributes:
        path: the folder's absolute path, or its URI.
        name: the folder as the caller gave it, a path or a URI.
    """

    path: str
    name: str

    @property
    def _store(self) -> stores.Store:
        return stores.store_of(self.path)

    def child(self, relative: str) -> "Folder":
        """A folder inside this one."""
        return Folder(f"{self.path}/{relative}", self.locate(relative))

    def parent(self) -> "Folder":
        """The folder that holds this one."""
        return Folder(self.path.rpartition("/")[0], "")

    def locate(self, relative: str) -> str:
        """The full path or URI of a file inside, for messages and other readers."""
        return f"{self.name.rstrip('/')}/{relative}"

    def kind(self) -> stores.Kind:
        """Whether the path is a file, a folder, or neither.

        Raises:
            CallError: the store refuses.
            RunError: the store does not answer.
        """
        return self._store.kind(self.path)

    def sizes(self, relatives: Sequence[str]) -> list[int | None]:
        """The bytes of files, None for anything but a file; errors as in `kind`."""
        return self._store.sizes(self.path, relatives)

    def has_file(self, relative: str) -> bool:
        """Whether there is such a file."""
        return self.sizes([relative])[0] is not None

    def folders(self) -> list[str]:
        """The names of the folders right inside, sorted; empty if the folder itself is absent."""
        return self._store.folders(self.path)

    @contextmanager
    def open(self, relative: str) -> Iterator[pa.NativeFile]:
        """A file, open for random reads.

        Raises:
            FileNotFoundError: there is no such file.
            CallError: the store refuses.
            RunError: the file cannot be read, or the store does not answer.
        """
        try:
            with self._store.open_arrow(f"{self.path}/{relative}") as source:
                yield source
        except FileNotFoundError:
            raise
        except OSError as error:
            raise RunError(f"{self.locate(relative)} cannot be read: {error}") from error

    def read_bytes(self, relative: str) -> bytes:
        """The whole of a small file, also while others replace it; errors as in `open`."""
        try:
            return self._store.content(f"{self.path}/{relative}")
        except FileNotFoundError:
            raise
        except OSError as error:
            raise RunError(f"{self.locate(relative)} cannot be read: {error}") from error

    def sha256(self, relative: str) -> str:
        """The SHA-256 of a file in hex; errors as in `open`."""
        digest = hashlib.sha256()
        with self.open(relative) as source:
            while chunk := source.read(_CHUNK):
                digest.update(chunk)
        return digest.hexdigest()


def open_folder(path: str | Path) -> Folder:
    """The folder at a local path or URI, whether it exists or not.

    Raises:
        CallError: there is no store for the URI's scheme, or its client cannot be made.
    """
    name = str(path)
    location = unquote(name.removeprefix("file://")) if name.startswith("file://") else name
    return Folder(stores.store_of(location).absolute(location), name)
