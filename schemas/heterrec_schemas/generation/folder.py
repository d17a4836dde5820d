"""A folder to read from: on a local disk, or in a store named by a URI (gs://, s3://)."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import unquote

import pyarrow as pa

from heterrec_schemas import stores
from heterrec_schemas.errors import RunError

_CHUNK = 2**22
_FEW = 4
"""Up to so many objects are asked for one by one; a listing tells of a thousand at once."""


@dataclass(frozen=True, eq=False)
class Folder:
    """A folder; it need not exist. Relative paths use `/`. It can be pickled and sent to a worker.

    Attributes:
        path: the folder's absolute path, or its URI in a store.
        name: the folder as people name it, a path or a URI.
    """

    path: str
    name: str

    def child(self, relative: str) -> "Folder":
        """A folder inside this one."""
        return Folder(f"{self.path}/{relative}", self.locate(relative))

    def parent(self) -> "Folder":
        """The folder that this one lies in."""
        return Folder(self.path.rpartition("/")[0], "")

    def locate(self, relative: str) -> str:
        """The full path or URI of a file inside, as people and other readers name it."""
        return f"{self.name.rstrip('/')}/{relative}"

    def kind(self) -> Literal["absent", "file", "folder"]:
        """What stands at the folder's path.

        Raises:
            CallError: the store refuses.
            RunError: the store does not answer.
        """
        if not stores.is_remote(self.path):
            if os.path.isdir(self.path):
                return "folder"
            return "file" if os.path.exists(self.path) else "absent"
        store = stores.store_of(self.path)
        if list(store.below(f"{self.path}/", limit=1)):
            return "folder"
        return "absent" if store.stat(self.path) is None else "file"

    def sizes(self, relatives: Sequence[str]) -> list[int | None]:
        """The bytes of files, None for what is absent or no file; errors as in `kind`."""
        paths = [f"{self.path}/{relative}" for relative in relatives]
        if not stores.is_remote(self.path):
            return [os.path.getsize(p) if os.path.isfile(p) else None for p in paths]
        store = stores.store_of(self.path)
        if len(paths) > _FEW:
            known = {found.path: found.bytes for found in store.below(f"{self.path}/")}
            return [known.get(path) for path in paths]
        asked = [store.stat(path) for path in paths]
        return [None if found is None else found.bytes for found in asked]

    def has_file(self, relative: str) -> bool:
        """Whether there is such a file."""
        return self.sizes([relative])[0] is not None

    def folders(self) -> list[str]:
        """The names of the folders inside, sorted; empty where the folder itself is absent."""
        if stores.is_remote(self.path):
            return stores.store_of(self.path).folders(self.path)
        if not os.path.isdir(self.path):
            return []
        return sorted(entry.name for entry in os.scandir(self.path) if entry.is_dir())

    @contextmanager
    def open(self, relative: str) -> Iterator[pa.NativeFile]:
        """A file, open for random reads.

        Raises:
            FileNotFoundError: there is no such file.
            CallError: the store refuses.
            RunError: the file cannot be read, or the store does not answer.
        """
        path = f"{self.path}/{relative}"
        try:
            if stores.is_remote(path):
                source = pa.PythonFile(stores.open_object(path), mode="r")
            else:
                source = pa.OSFile(path)
            with source:
                yield source
        except FileNotFoundError:
            raise
        except OSError as error:
            raise RunError(f"{self.locate(relative)} cannot be read: {error}") from error

    def read_bytes(self, relative: str) -> bytes:
        """The whole of a small file; errors as in `open`."""
        with self.open(relative) as source:
            return bytes(source.read())

    def sha256(self, relative: str) -> str:
        """The SHA-256 of a file in hex; errors as in `open`."""
        digest = hashlib.sha256()
        with self.open(relative) as source:
            while chunk := source.read(_CHUNK):
                digest.update(chunk)
        return digest.hexdigest()


def open_folder(path: str | Path) -> Folder:
    """The folder at a local path or URI; whether it exists is not asked yet.

    Raises:
        CallError: the URI is of a scheme that cannot be read here, or its store cannot be reached so.
    """
    name = str(path)
    if name.startswith("file://"):
        return Folder(os.path.abspath(unquote(name.removeprefix("file://"))), name)
    if not stores.is_remote(name):
        return Folder(os.path.abspath(name), name)
    stores.store_of(name)
    return Folder(name.rstrip("/"), name)
