"""Objects of a store: their names, versions and uploads."""

from typing import Protocol

from heterrec_schemas.errors import CallError

ABSENT = ""
"""The version of an object that does not exist."""


class ChangedError(Exception):
    """A conditional write found another version than it expected, and wrote nothing."""


class Upload(Protocol):
    """A new object, sent in parts; it does not appear before it is finished."""

    def part(self, data: bytes) -> None:
        """Send the next part."""

    def finish(self) -> None:
        """Make the object appear."""

    def abort(self) -> None:
        """Discard the parts; never raises."""


def split(path: str) -> tuple[str, str]:
    """The bucket and the key of a URI.

    Raises:
        CallError: the URI names no bucket.
    """
    bucket, _, key = path.partition("://")[2].partition("/")
    if not bucket:
        raise CallError(f"{path} names no bucket", expected="scheme://bucket/path")
    return bucket, key


def no_bucket(path: str) -> CallError:
    """The error for a URI whose bucket does not exist."""
    return CallError(f"{path}: there is no bucket {split(path)[0]}", todo="Check the path.")
