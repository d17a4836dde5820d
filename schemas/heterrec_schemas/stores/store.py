"""The operations of every store: local disks and object stores alike."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from typing import IO, ClassVar, Literal, NamedTuple, Protocol

import pyarrow as pa

from heterrec_schemas.errors import RunError

Kind = Literal["absent", "file", "folder"]


class FileInfo(NamedTuple):
    """A file that was found.

    Attributes:
        path: its path or URI.
        bytes: its size.
        version: a text that changes with the content: the time of the last change on local disks, the ETag or generation
            number in object stores.
    """

    path: str
    bytes: int
    version: str


class Sink(Protocol):
    """A new file, open for writing."""

    def write(self, data: bytes | memoryview, /) -> int:
        """Write all the bytes."""


class Store(ABC):
    """Files under paths of one scheme. All methods may be called from several threads.

    Besides the errors that a method names, any of them raises:
        CallError: the credentials, the permission or the bucket are missing.
        RunError: the store does not answer, or a file cannot be written (full disk, no permission).
    """

    steady_clock: ClassVar[bool]
    """Whether the clock behind `modified` is never set or stopped, as that of a single machine may be."""

    @abstractmethod
    def absolute(self, path: str) -> str:
        """The path in the form that stays valid in other processes; without a slash at its end."""

    @abstractmethod
    def kind(self, path: str) -> Kind:
        """Whether the path is a file, a folder, or neither."""

    @abstractmethod
    def exists(self, path: str) -> bool:
        """Whether the file exists."""

    @abstractmethod
    def info(self, path: str) -> FileInfo | None:
        """Size and version of a file; None for anything else."""

    @abstractmethod
    def modified(self, path: str) -> datetime | None:
        """When a file was last written, by the store's own clock, in UTC; None if there is no such file."""

    @abstractmethod
    def is_link(self, path: str) -> bool:
        """Whether the path is a symbolic link; never in an object store."""

    @abstractmethod
    def folder_missing(self, path: str) -> bool:
        """Whether there is no such folder; never in an object store, whose folders are mere prefixes."""

    @abstractmethod
    def describe_missing(self, pattern: str) -> str:
        """What is found instead of a path or glob that matches no file, for an error message."""

    @abstractmethod
    def sizes(self, folder: str, relatives: Sequence[str]) -> list[int | None]:
        """The bytes of files by their paths inside a folder; None for anything but a file."""

    @abstractmethod
    def folders(self, path: str, holding: str | None = None) -> list[str]:
        """The names of the folders right inside a folder, sorted; none where it is absent.

        Args:
            path: the folder.
            holding: the name of a file. Folders without it may be left out, where that saves requests.
        """

    @abstractmethod
    def files_in(self, folder: str) -> list[str]:
        """The names of the files right inside a folder, sorted; none where it is absent."""

    @abstractmethod
    def files_below(self, folder: str) -> list[str]:
        """The paths of all files below a folder, sorted; none where it is absent. Links are not followed."""

    @abstractmethod
    def matched(self, folder: str, pattern: str) -> list[FileInfo]:
        """The files that a glob matches, sorted by path.

        `*` and `?` match anything but a slash, `**/` folders at any depth, `[abc]` and `[!abc]` one
        character. A file whose path equals the pattern takes precedence.

        Args:
            folder: the folder that the pattern starts from, taken literally; empty for a whole path.
            pattern: the glob, relative to the folder.
        """

    @abstractmethod
    def open(self, path: str, stop: int | None = None) -> IO[bytes]:
        """Open a file for reading, its bytes as they are stored.

        Args:
            path: the file.
            stop: number of bytes after which reads end, for a file that may grow meanwhile; None for the whole file.

        Raises:
            FileNotFoundError: there is no such file.
        """

    @abstractmethod
    def content(self, path: str) -> bytes:
        """The whole of a small file, in one version, also while others replace it; errors as in `open`."""

    @abstractmethod
    def open_arrow(self, path: str, *, mapped: bool = False) -> pa.NativeFile:
        """Open a file for random access by Arrow; errors as in `open`.

        Args:
            path: the file.
            mapped: map it into memory, if it lies on a local disk, so that reads copy nothing.
        """

    @abstractmethod
    def fingerprint(self, found: FileInfo) -> dict[str, str]:
        """The field of the manifest that identifies an input's content: `sha256`, or the store's `etag`."""

    @abstractmethod
    def create(self, path: str) -> AbstractContextManager[Sink]:
        """Write a new file, making its folder; an object does not appear if the block fails.

        A local file may be lost in a power cut until it is renamed.
        """

    @abstractmethod
    def replace(self, path: str, data: bytes, attempt: str) -> None:
        """Write a small file such that readers see the old content or the new one, also after a power cut.

        Args:
            path: the file.
            data: the new content.
            attempt: makes the name of a temporary file unique to this writer.
        """

    @abstractmethod
    def update(
        self, path: str, change: Callable[[bytes | None], bytes | None], attempt: str
    ) -> None:
        """Change the content of a small file without losing the change of any other writer.

        Args:
            path: the file.
            change: the new content for the old one; None as old content if the file is absent, None
                as new content to leave it. Called again if another writer was faster. An absent folder is
                made only for new content.
            attempt: as in `replace`.

        Raises:
            RunError: others keep changing the file.
        """

    @abstractmethod
    def rename(self, pairs: Sequence[tuple[str, str]]) -> None:
        """Rename files, (old, new) each; a pair that an earlier try has renamed is ignored.

        When it returns, contents and names survive a power cut; no name does before its content.
        """

    @abstractmethod
    def delete(self, paths: Sequence[str]) -> None:
        """Delete files; absent ones are ignored, and one that cannot be deleted stays."""

    @abstractmethod
    def delete_now(self, path: str) -> None:
        """Delete a file, if it exists; when this returns it is gone, also after a power cut.

        Raises:
            RunError: it cannot be deleted.
        """

    @abstractmethod
    def delete_tree(self, path: str) -> None:
        """Delete a file, or a folder with everything below it; an absent one is ignored. Of a link, only the link."""

    @abstractmethod
    def close(self) -> None:
        """Close the connections."""


def shrunk(path: str, got: int, expected: int) -> RunError:
    """The error for a file of which a beginning is read, and which has become shorter than that."""
    return RunError(
        f"{path} became shorter while it was read",
        got=f"{got:,} bytes",
        expected=f"at least {expected:,}",
        todo="Run again; append_only is for files that only ever grow.",
    )


@contextmanager
def writing(path: str) -> Iterator[None]:
    """Turns an OSError of the block into a RunError that names the path."""
    try:
        yield
    except OSError as error:
        raise RunError(
            f"{path} cannot be written: {error.strerror or error}",
            todo="Free space or permissions there, then run the same command again.",
        ) from error
