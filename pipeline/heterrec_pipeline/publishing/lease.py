"""The lease in each unfinished generation names its builder, so that only leftovers of dead builders are deleted.

No clock of another machine decides whether a builder lives: see `heterrec_schemas.leases`.
"""

import errno
import os
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, suppress
from datetime import UTC, datetime, timedelta

from heterrec_pipeline.files import storage
from heterrec_pipeline.telemetry.recorder import phase
from heterrec_schemas import leases
from heterrec_schemas.errors import CallError, HeterrecError, RunError
from heterrec_schemas.leases import LEASE_NAME, PURGING, SWEEP_AFTER, TAKEN, Lease
from heterrec_schemas.manifest import GENERATION_ID, GENERATIONS, MANIFEST_NAME

DEAD_AFTER = timedelta(days=14)
"""Age from which a builder without a counter may be dead: longer than such a run can last."""


def new_generation_id(now: datetime) -> str:
    """UTC time to the millisecond and 8 random hex digits: ids sort by time and are unique."""
    return f"{now:%Y%m%dT%H%M%S}{now.microsecond // 1000:03d}Z-{secrets.token_hex(4)}"


def lease_of(folder: str) -> Lease:
    """The lease in a generation's folder."""
    return leases.read_lease(storage.join(folder, LEASE_NAME))


def begin(output: str, generation: str, now: datetime, engine: str | None = None) -> None:
    """Create the generation's folder and write its lease; if that fails, nothing of it is left.

    Args:
        output: the folder for generations.
        generation: its id.
        now: when the build began.
        engine: a remote engine whose job outlives this process. The lease then names no process and has no counter: the
            build counts as dead by its age alone.

    Raises:
        CallError: the output cannot be written.
        RunError: its disk is full.
    """
    holder = {"host": engine} if engine else leases.this_process()
    path = storage.join(output, GENERATIONS, generation, LEASE_NAME)
    try:
        storage.write_bytes(path, leases.as_text(holder | {"started": now.isoformat()}))
    except (RunError, OSError) as error:
        cause = error.__cause__ if isinstance(error, RunError) else error
        reason = getattr(cause, "strerror", None) or cause
        full = getattr(cause, "errno", None) in (errno.ENOSPC, errno.EDQUOT)
        discard(storage.join(output, GENERATIONS, generation))
        raise (RunError if full else CallError)(
            f"the output {output} cannot be written: {reason}",
            todo="Name a writable folder with enough disk space (--output).",
        ) from None


def keep(folder: str) -> AbstractContextManager[None]:
    """Show during the block that the holder of the lease in a generation's folder lives."""
    return leases.heartbeat(storage.join(folder, LEASE_NAME))


def is_lost(folder: str) -> bool:
    """Whether a build has lost its lease: another build has deleted its folder, or is deleting it."""
    body = lease_of(folder).body
    return not body or TAKEN in body


def is_taken(folder: str) -> bool:
    """Whether another build is deleting the folder of a build."""
    return TAKEN in lease_of(folder).body


def lost(folder: str) -> RunError:
    """The error for a build that has lost its lease, or files."""
    return RunError(
        f"the folder of this build, {folder}, was deleted while it ran, wholly or in part",
        todo="Nothing was published. Run the same command again, and let nothing else delete folders of running builds.",
    )


def discard(folder: str) -> None:
    """Delete an unfinished generation, its lease last, so that an interrupted deletion can be completed by `sweep`.

    The lease stays if any other file cannot be deleted: without it, the rest would not be found in an object store.
    """
    with suppress(HeterrecError):
        empty(folder)
        if storage.files_below(folder) in ([], [storage.join(folder, LEASE_NAME)]):
            storage.delete_tree(folder)


def empty(folder: str) -> None:
    """Delete all of an unfinished generation except its lease; what cannot be deleted stays."""
    lease = storage.join(folder, LEASE_NAME)
    storage.delete_files(path for path in storage.files_below(folder) if path != lease)
    for below in storage.folders(folder):  # empty ones, on local disks; of a link, the link
        storage.delete_tree(below)


def sweep(
    output: str,
    now: datetime,
    after: timedelta = SWEEP_AFTER,
    wait: Callable[[float], None] = time.sleep,
) -> list[str]:
    """Delete unfinished generations whose holder is certainly dead; returns their ids.

    Only folders with the name of a generation are considered. Links are not followed, and a folder with a manifest in it
    loses no more than its lease.

    Args:
        output: the folder for generations.
        now: the present time.
        after: time without a heartbeat after which a holder that cannot be seen is dead.
        wait: waits for some seconds.
    """
    dead: list[Lease] = []
    doubtful: list[Lease] = []
    for leftover in _leftovers(output):
        body = leftover.body
        lives = False if TAKEN in body else leases.lives(body)
        if lives is None and "beats" in body:
            doubtful.append(leftover)
        elif lives is False or (lives is None and _is_old(leftover, now, after)):
            dead.append(leftover)

    def watch(seconds: float) -> None:
        with phase("watch old leftovers for a sign of life"):
            wait(seconds)

    dead += leases.silent(doubtful, after, output, watch)
    return [_id(leftover.folder) for leftover in dead if _delete(leftover)]


def mark(folder: str) -> bool:
    """Mark a finished generation as being deleted by this process, unless a lease in it protects it; whether it is marked."""
    taken = [False]

    def take(held: bytes | None) -> bytes | None:
        taken[:] = [held is None]
        return leases.as_text(leases.this_process() | {PURGING: True}) if held is None else None

    path = storage.join(folder, LEASE_NAME)
    storage.update_bytes(path, take, f"purge-{secrets.token_hex(4)}")
    return taken[0]


def _leftovers(output: str) -> Iterator[Lease]:
    generations = storage.join(output, GENERATIONS)
    if storage.is_link(generations):
        return
    # Object stores list a thousand objects per request: no request per generation.
    for folder in storage.folders(generations, holding=LEASE_NAME):
        if not GENERATION_ID.fullmatch(_id(folder)) or storage.is_link(folder):
            continue
        leftover = lease_of(folder)
        if leftover.held is not None or not storage.exists(storage.join(folder, MANIFEST_NAME)):
            yield leftover


def _id(folder: str) -> str:
    return folder.rpartition("/")[2]


def _delete(leftover: Lease) -> bool:
    """Delete a leftover, unless its builder has just changed its lease or written a manifest; whether it is gone.

    The lease is marked first, and the manifest looked for then. A builder that lives after all writes its manifest first and
    then looks at its lease: at least one of the two notices the other.
    """
    if leftover.held is not None:
        taken = [False]

        def take(held: bytes | None) -> bytes | None:
            taken[:] = [held == leftover.held]
            return leases.as_text({**leftover.body, TAKEN: True}) if taken[0] else None

        storage.update_bytes(leftover.path, take, f"take-{secrets.token_hex(4)}")
        if not taken[0]:
            return False
    files = storage.files_below(leftover.folder)
    if any(path.rpartition("/")[2] == MANIFEST_NAME for path in files):
        storage.delete_files([leftover.path])
        return False
    discard(leftover.folder)
    return True


def _is_old(leftover: Lease, now: datetime, after: timedelta) -> bool:
    """Whether a build without a counter began long ago, or, if it does not say when, its local folder is long unchanged."""
    try:
        started = datetime.fromisoformat(str(leftover.body.get("started"))).astimezone(UTC)
    except (ValueError, OverflowError):
        started = None
    try:
        if started is not None:
            return now - started > DEAD_AFTER
        files = storage.files_below(leftover.folder)
        # In an empty folder, such as the rest of an interrupted deletion, there is nothing to lose.
        return now - _last_change([leftover.folder, *files]) > (DEAD_AFTER if files else after)
    except (OSError, ValueError, OverflowError):
        return False


def _last_change(paths: list[str]) -> datetime:
    """Last change of a local folder without a lease, which may be a generation that is being copied."""
    return datetime.fromtimestamp(max(os.lstat(path).st_ctime for path in paths), UTC)
