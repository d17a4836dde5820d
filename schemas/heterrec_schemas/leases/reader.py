"""The lease of a process that reads a generation for a while: no purge deletes the generation meanwhile."""

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime

from heterrec_schemas.errors import HeterrecError, RunError, UnfinishedGenerationError
from heterrec_schemas.leases.lease import (
    LEASE_NAME,
    LEASES,
    PURGING,
    as_text,
    heartbeat,
    read_lease,
)
from heterrec_schemas.leases.process import lives, this_process
from heterrec_schemas.manifest import GENERATIONS, MANIFEST_NAME
from heterrec_schemas.stores import store_of

PURGE_SECONDS = 60.0
"""Time for which a reader waits for a purge that has marked its generation, until the purge has decided."""
_PAUSE = 0.1


@contextmanager
def reader_lease(root: str, purpose: str, *, required: bool = False) -> Iterator[None]:
    """Hold a lease on a finished generation during the block.

    A generation outside of an output folder has no lease, and neither has one whose output cannot be written, unless the
    lease is required.

    Args:
        root: the absolute path or URI of the generation's folder.
        purpose: what the lease is for, such as train.
        required: whether to fail if the lease cannot be written.

    Raises:
        UnfinishedGenerationError: the generation was purged before the lease was written.
        RunError: a purge is deleting it, or (if required) the lease cannot be written.
        CallError: the store denies access (if required).
    """
    path = _written(root, purpose, required=required)
    try:
        await_purge(root)
        if path is None:
            yield
        else:
            with heartbeat(path):
                yield
    finally:
        if path is not None:
            with suppress(HeterrecError):
                store_of(path).delete([path])


def _written(root: str, purpose: str, *, required: bool) -> str | None:
    """Write the lease; its path, or None if there is none."""
    above, _, generation = root.rstrip("/").rpartition("/")
    output, _, name = above.rpartition("/")
    if name != GENERATIONS:
        return None
    path = f"{output}/{LEASES}/{generation}/{secrets.token_hex(8)}.json"
    body = this_process() | {"purpose": purpose, "started": datetime.now(UTC).isoformat()}
    try:
        with store_of(path).create(path) as file:
            file.write(as_text(body))
    except (HeterrecError, OSError):
        if required:
            raise
        return None
    return path


def await_purge(root: str) -> None:
    """Return when no purge is about to delete a finished generation.

    A purge marks a generation, then looks for leases and pins, then deletes the manifest. Whoever has written a lease or a
    pin looks for the mark, then for the manifest: at least one of the two notices the other.

    Raises:
        UnfinishedGenerationError: the generation was purged.
        RunError: a purge is deleting it.
    """
    until = time.monotonic() + PURGE_SECONDS
    while True:
        mark = read_lease(f"{root}/{LEASE_NAME}").body
        if not store_of(root).exists(f"{root}/{MANIFEST_NAME}"):
            raise UnfinishedGenerationError(
                f"{root} has no {MANIFEST_NAME}: it was purged meanwhile",
                todo="Open the generation that the output names now.",
            )
        if PURGING not in mark or lives(mark) is False:
            return
        if time.monotonic() > until:
            raise RunError(
                f"{root} is being deleted by a purge on {mark.get('host')}",
                todo="Open another generation, or run again when the purge has ended.",
            )
        time.sleep(_PAUSE)
