"""A lease file: read it, keep it alive, and tell whether its holder is dead.

Where the holder's process can be seen, the process decides (see `process`). Elsewhere the holder has to keep rewriting its
lease. How long ago it did is the difference of two times of the same store: that of the lease, and that of a file written
just now. No machine's clock is compared with another's.
"""

import json
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from functools import partial
from typing import Any, NamedTuple

from heterrec_schemas.background import in_background
from heterrec_schemas.documents import parse_json
from heterrec_schemas.errors import HeterrecError, RunError
from heterrec_schemas.leases.process import lives
from heterrec_schemas.stores import store_of

LEASES = "leases"
"""The folder of the readers' leases in an output, with a folder per generation."""
LEASE_NAME = "building.json"
"""The lease inside the folder of a generation: of its builder, or of a purge that deletes it."""
PURGING = "purging"
"""Key of a lease whose holder deletes a finished generation."""
TAKEN = "taken"
"""Key of a lease whose folder, a leftover of a dead builder, is being deleted."""
SWEEP_AFTER = timedelta(hours=1)
"""Default time without a heartbeat after which a holder that cannot be seen is dead."""
BEAT_SECONDS = 30.0
"""Time between two increments of the counter."""
WATCH_SECONDS = 120.0
"""Time for which a lease is watched as well, if the store's clock may be set or stopped, or the caller's time is shorter."""


class Lease(NamedTuple):
    """A lease file and its content; None if it is absent or cannot be read."""

    path: str
    held: bytes | None

    @property
    def folder(self) -> str:
        """The folder that holds the file."""
        return self.path.rpartition("/")[0]

    @property
    def body(self) -> dict[str, Any]:
        """The content as an object; empty if it is absent or damaged."""
        return parsed(self.held)


def parsed(held: bytes | None) -> dict[str, Any]:
    """The content of a lease as an object; empty if it is absent or damaged."""
    try:
        body = parse_json(held or b"")
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def as_text(body: dict[str, Any]) -> bytes:
    """The content of a lease file."""
    return json.dumps(body, indent=1).encode()


def read_lease(path: str) -> Lease:
    """The lease at a path; links are not followed.

    Raises:
        RunError: the store does not respond.
    """
    store = store_of(path)
    try:
        return Lease(path, None if store.is_link(path) else store.content(path))
    except OSError:
        return Lease(path, None)


@contextmanager
def heartbeat(path: str) -> Iterator[None]:
    """Keep increasing the counter of a lease during the block; an absent or taken lease is left as it is."""
    with in_background(partial(_beat, path), "lease"):
        yield


def _beat(path: str, ended: threading.Event) -> None:
    while not ended.wait(BEAT_SECONDS):
        with suppress(HeterrecError, OSError):  # the next beat may succeed
            store_of(path).update(path, beaten, "beat")


def beaten(held: bytes | None) -> bytes | None:
    """The content of a lease after one more beat; None to leave it as it is."""
    body = parsed(held)
    if not body or TAKEN in body:
        return None
    return as_text(body | {"beats": body["beats"] + 1})


def store_now(folder: str) -> datetime:
    """The present time by the clock of a folder's store: that of a file written just now.

    Raises:
        CallError, RunError: the folder cannot be written.
    """
    path = f"{folder.rstrip('/')}/.now-{secrets.token_hex(4)}.tmp"
    store = store_of(path)
    try:
        with store.create(path) as file:
            file.write(b"")
        found = store.modified(path)
    finally:
        with suppress(HeterrecError):
            store.delete([path])
    if found is None:
        raise RunError(f"{path} was deleted by others", todo="Run again.")
    return found


def silent(
    found: Iterable[Lease],
    after: timedelta,
    folder: str,
    wait: Callable[[float], None] = time.sleep,
) -> list[Lease]:
    """Those of some leases, whose holders cannot be seen, that have had no heartbeat for a while.

    Args:
        found: leases in one store.
        after: the time without a heartbeat.
        folder: a folder in that store that can be written.
        wait: waits for some seconds.
    """
    every = list(found)
    if not every:
        return []
    now, store = store_now(folder), store_of(folder)
    old = [
        lease
        for lease in every
        if (written := store.modified(lease.path)) is not None and now - written > after
    ]
    # Some heartbeats have to be missing, however short the time that the caller gives.
    if not old or (store.steady_clock and after.total_seconds() >= WATCH_SECONDS):
        return old
    # The clock of one machine jumps when somebody sets it, or when the machine wakes up: its processes then beat again soon.
    wait(WATCH_SECONDS)
    return [lease for lease in old if read_lease(lease.path).held == lease.held]


def live_leases(folder: str, after: timedelta, now: datetime) -> list[Lease]:
    """The leases in a folder whose holders live, as far as can be seen at once: in doubt they do.

    Args:
        folder: the folder of a generation's readers.
        after: the time without a heartbeat after which a holder that cannot be seen is not listed.
        now: the present time, by the store's clock or a similar one.
    """
    store = store_of(folder)
    found = []
    for path in store.files_below(folder):
        if not path.endswith(".json"):
            continue
        lease = read_lease(path)
        if may_live(lease, after, now):
            found.append(lease)
    return found


def may_live(lease: Lease, after: timedelta, now: datetime) -> bool:
    """Whether the holder of a lease lives, as far as can be seen at once; arguments as in `live_leases`."""
    alive = lives(lease.body)
    if alive is None:
        written = store_of(lease.path).modified(lease.path)
        return written is not None and now - written <= after
    return alive
