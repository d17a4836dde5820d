"""A folder to read from: on a local disk, or in a store named by a URI (gs://, s3://)."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.fs as pafs

from heterrec_schemas.errors import CallError, RunError

_CHUNK = 2**22


@dataclass(frozen=True, eq=False)
class Folder:
    """A folder of one file system; it need not exist. Relative paths use `/`.

    Attributes:
        filesystem: pyarrow's file system, which can be pickled and sent to a worker.
        path: the folder as that file system names it.
        name: the folder as people name it, a path or a URI.
    """

    filesystem: pafs.FileSystem
    path: str
    name: str

    def child(self, relative: str) -> "Folder":
        """A folder inside this one."""
        return Folder(self.filesystem, f"{self.path}/{relative}", self.locate(relative))

    def locate(self, relative: str) -> str:
        """The full path or URI of a file inside, as people and other readers name it."""
        return f"{self.name.rstrip('/')}/{relative}"

    def kind(self) -> Literal["absent", "file", "folder"]:
        """What stands at the folder's path."""
        with _asking(self.name):
            found = self.filesystem.get_file_info([self.path])[0].type
        if found == pafs.FileType.NotFound:
            return "absent"
        return "folder" if found == pafs.FileType.Directory else "file"

    def sizes(self, relatives: Sequence[str]) -> list[int | None]:
        """The bytes of files, None for what is absent or no file."""
        with _asking(self.name):
            found = self.filesystem.get_file_info([f"{self.path}/{r}" for r in relatives])
        return [int(f.size) if f.type == pafs.FileType.File else None for f in found]

    def has_file(self, relative: str) -> bool:
        """Whether there is such a file."""
        return self.sizes([relative])[0] is not None

    def folders(self) -> list[str]:
        """The names of the folders inside, sorted; empty where the folder itself is absent."""
        chosen = pafs.FileSelector(self.path, allow_not_found=True)
        with _asking(self.name):
            found = self.filesystem.get_file_info(chosen)
        return sorted(f.base_name for f in found if f.type == pafs.FileType.Directory)

    @contextmanager
    def open(self, relative: str) -> Iterator[pa.NativeFile]:
        """A file, open for random reads.

        Raises:
            FileNotFoundError: there is no such file.
            RunError: the store does not answer.
        """
        with (
            _asking(self.locate(relative)),
            self.filesystem.open_input_file(f"{self.path}/{relative}") as source,
        ):
            yield source

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
        CallError: the URI is of a scheme that cannot be read here.
        RunError: the store does not answer.
    """
    name = str(path)
    if "://" not in name:
        return Folder(pafs.LocalFileSystem(), os.path.abspath(name), name)
    try:
        with _asking(name):
            filesystem, inner = pafs.FileSystem.from_uri(name)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise CallError(
            f"{name} cannot be opened ({str(error).splitlines()[0]})",
            todo="Give a local path, or a URI of a store that pyarrow knows (gs://, s3://).",
        ) from None
    return Folder(filesystem, inner.rstrip("/"), name)


@contextmanager
def _asking(name: str) -> Iterator[None]:
    """Turns a store's refusal into an error of the family; an absent file stays what it is."""
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        raise RunError(f"{name} cannot be read: {error}") from error
