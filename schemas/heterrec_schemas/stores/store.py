"""What every store can do, told apart from how each of them is asked."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import NamedTuple, Protocol, TypeVar

from heterrec_schemas.errors import CallError, RunError
from heterrec_schemas.stores.retry import patiently
from heterrec_schemas.stores.settings import StoreSettings

ABSENT = ""
"""The version of an object that is not there."""
T = TypeVar("T")


class ObjectInfo(NamedTuple):
    """An object: its URI, its bytes, and the version by which conditional requests name it."""

    path: str
    bytes: int
    version: str


class ChangedError(Exception):
    """A conditional write found another version than it expected, and wrote nothing."""


class Upload(Protocol):
    """An object on its way, in parts; it does not appear before it is finished."""

    def part(self, data: bytes) -> None:
        """Send the next part."""

    def finish(self) -> None:
        """Make the object appear."""

    def abort(self) -> None:
        """Throw the parts away; never raises."""


def split(path: str) -> tuple[str, str]:
    """The bucket and the key of a URI.

    Raises:
        CallError: the URI names no bucket.
    """
    bucket, _, key = path.partition("://")[2].partition("/")
    if not bucket:
        raise CallError(f"{path} names no bucket", expected="scheme://bucket/path")
    return bucket, key


class Store(ABC):
    """One store. All its methods may be called from several threads.

    Besides what each method names they raise:
        CallError: no credentials, no permission, or no such bucket.
        RunError: the store has not answered in time.
    """

    scheme: str

    def __init__(self, settings: StoreSettings) -> None:
        """Keep the settings; subclasses make their client."""
        self.settings = settings
        self._out = False

    @abstractmethod
    def translated(self, path: str) -> AbstractContextManager[None]:
        """Turns the client's exceptions into TransientError, ChangedError, FileNotFoundError or one of the family."""

    def ask(self, verb: str, path: str, call: Callable[[], T]) -> T:
        """What `call` gives, tried again where that can help.

        A store that was given up is not waited for again until it has answered: what cleans up behind a failure would
        otherwise wait as long as the failure did, and again for each file.
        """

        def once() -> T:
            with self.translated(path):
                return call()

        try:
            got = patiently(f"{verb} {path}", 0 if self._out else self.settings.seconds, once)
        except RunError:
            self._out = True
            raise
        self._out = False
        return got

    @abstractmethod
    def stat(self, path: str) -> ObjectInfo | None:
        """An object's size and version; None where there is none (or no bucket)."""

    @abstractmethod
    def read(self, found: ObjectInfo, start: int, stop: int) -> bytes:
        """The bytes [start, stop) of an object.

        Raises:
            FileNotFoundError: it is not there any more.
            ChangedError: it has been replaced since it was found.
        """

    @abstractmethod
    def put(self, path: str, data: bytes, expected: str | None = None) -> None:
        """Write a whole object in one request.

        Args:
            path: where.
            data: its content.
            expected: the version that must stand there, ABSENT for none, None for any.

        Raises:
            ChangedError: another version stands there. It may be this very content: an answer that
                was lost on its way makes the next try find what the one before has written.
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
    def delete(self, paths: list[str]) -> None:
        """Delete objects; one that is not there is fine."""

    @abstractmethod
    def below(self, prefix: str, limit: int | None = None) -> Iterator[ObjectInfo]:
        """The objects whose URI begins with a prefix, sorted by it, the first `limit` of them."""

    @abstractmethod
    def folders(self, path: str) -> list[str]:
        """The names right below a path that have further objects below them, sorted."""

    @abstractmethod
    def close(self) -> None:
        """Close the connections."""
