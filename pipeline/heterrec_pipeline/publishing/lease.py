"""A lease in each unfinished generation names its builder, so that only leftovers of dead builds are deleted.

No clock decides whether a builder lives. Where its process can be seen, the process does: it is identified by the boot of the
machine, the namespace of process ids, the id, and the start in ticks since the boot. Elsewhere the builder has to keep
increasing a counter in its lease, and whoever wants to delete its folder watches the counter for a while.
"""

import errno
import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from heterrec_pipeline.files import storage
from heterrec_pipeline.telemetry.background import in_background
from heterrec_pipeline.telemetry.recorder import phase
from heterrec_schemas.documents import parse_json
from heterrec_schemas.errors import CallError, HeterrecError, RunError
from heterrec_schemas.generation.find_generation import GENERATIONS
from heterrec_schemas.manifest import GENERATION_ID, MANIFEST_NAME

LEASE_NAME = "building.json"
DEAD_AFTER = timedelta(days=14)
"""Age from which a builder that cannot be seen may be dead: longer than a run without a counter can last."""
BEAT_SECONDS = 30.0
"""Time between two increments of the counter."""
WATCH_SECONDS = 120.0
"""Time for which a counter must stand still."""
_TAKEN = "taken"
"""Key of a lease whose folder another build is deleting."""


class Leftover(NamedTuple):
    """A folder below generations/ that may be a leftover, and the content of its lease; None if it cannot be read."""

    folder: str
    held: bytes | None

    @property
    def path(self) -> str:
        """The lease."""
        return storage.join(self.folder, LEASE_NAME)

    @property
    def lease(self) -> dict[str, Any]:
        """The lease; empty if it is absent or damaged."""
        return _parsed(self.held)


def new_generation_id(now: datetime) -> str:
    """UTC time to the millisecond and 8 random hex digits: ids sort by time and are unique."""
    return f"{now:%Y%m%dT%H%M%S}{now.microsecond // 1000:03d}Z-{secrets.token_hex(4)}"


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
    lease: dict[str, Any] = {"host": engine or socket.gethostname(), "started": now.isoformat()}
    if engine is None:
        pid = os.getpid()
        lease |= {"namespace": _namespace(), "pid": pid, "ticks": _start(pid), "beats": 0}
    path = storage.join(output, GENERATIONS, generation, LEASE_NAME)
    try:
        storage.write_bytes(path, _text(lease))
    except (RunError, OSError) as error:
        cause = error.__cause__ if isinstance(error, RunError) else error
        reason = getattr(cause, "strerror", None) or cause
        full = getattr(cause, "errno", None) in (errno.ENOSPC, errno.EDQUOT)
        discard(storage.join(output, GENERATIONS, generation))
        raise (RunError if full else CallError)(
            f"the output {output} cannot be written: {reason}",
            todo="Name a writable folder with enough disk space (--output).",
        ) from None


@contextmanager
def keep(folder: str) -> Iterator[None]:
    """Show during the block that the builder of a generation lives."""
    with in_background(partial(_beat, storage.join(folder, LEASE_NAME)), "lease"):
        yield


def _beat(path: str, ended: threading.Event) -> None:
    """Increase the counter of a lease until the event is set."""
    while not ended.wait(BEAT_SECONDS):
        with suppress(HeterrecError, OSError):  # the next beat may succeed
            storage.update_bytes(path, _beaten, "beat")


def _beaten(held: bytes | None) -> bytes | None:
    lease = _parsed(held)
    if not lease or _TAKEN in lease:
        return None
    return _text(lease | {"beats": lease["beats"] + 1})


def is_lost(folder: str) -> bool:
    """Whether a build has lost its lease: another build has deleted its folder, or is deleting it."""
    lease = _parsed(_read(folder))
    return not lease or _TAKEN in lease


def is_taken(folder: str) -> bool:
    """Whether another build is deleting the folder of a build."""
    return _TAKEN in _parsed(_read(folder))


def lost(folder: str) -> RunError:
    """The error for a build that has lost its lease, or files."""
    return RunError(
        f"the folder of this build, {folder}, was deleted while it ran, wholly or in part",
        todo="Nothing was published. Run the same command again, and let nothing else delete folders of running builds.",
    )


def discard(folder: str) -> None:
    """Delete an unfinished generation, its lease last, so that an interrupted deletion can be completed by `sweep`."""
    lease = storage.join(folder, LEASE_NAME)
    with suppress(HeterrecError):
        storage.delete_files(path for path in storage.files_below(folder) if path != lease)
        storage.delete_tree(folder)


def sweep(output: str, now: datetime) -> list[str]:
    """Delete unfinished generations whose builder is certainly dead; returns their ids.

    Only folders with the name of a generation are considered. Links are not followed, and a folder with a manifest in it
    loses no more than its lease.
    """
    dead: list[Leftover] = []
    doubtful: list[Leftover] = []
    for leftover in _leftovers(output):
        lives = _lives(leftover.lease)
        if lives is False:
            dead.append(leftover)
        elif lives is None and _is_old(leftover, now):
            (doubtful if "beats" in leftover.lease else dead).append(leftover)
    return [_id(leftover.folder) for leftover in [*dead, *_still(doubtful)] if _delete(leftover)]


def _leftovers(output: str) -> Iterator[Leftover]:
    generations = storage.join(output, GENERATIONS)
    if storage.is_link(generations):
        return
    # Object stores list a thousand objects per request: no request per generation.
    for folder in storage.folders(generations, holding=LEASE_NAME):
        if not GENERATION_ID.fullmatch(_id(folder)) or storage.is_link(folder):
            continue
        leftover = Leftover(folder, _read(folder))
        if leftover.held is not None or not storage.exists(storage.join(folder, MANIFEST_NAME)):
            yield leftover


def _id(folder: str) -> str:
    return folder.rpartition("/")[2]


def _still(leftovers: list[Leftover]) -> list[Leftover]:
    """Those whose lease does not change for a while, which this process's monotonic clock measures."""
    if not leftovers:
        return []
    with phase("watch old leftovers for a sign of life"):
        time.sleep(WATCH_SECONDS)
    return [leftover for leftover in leftovers if _read(leftover.folder) == leftover.held]


def _delete(leftover: Leftover) -> bool:
    """Delete a leftover, unless its builder has just changed its lease or written a manifest; whether it is gone.

    The lease is marked first, and the manifest looked for then. A builder that lives after all writes its manifest first and
    then looks at its lease: at least one of the two notices the other.
    """
    if leftover.held is not None:
        taken = [False]

        def take(held: bytes | None) -> bytes | None:
            taken[:] = [held == leftover.held]
            return _text({**leftover.lease, _TAKEN: True}) if taken[0] else None

        storage.update_bytes(leftover.path, take, f"take-{secrets.token_hex(4)}")
        if not taken[0]:
            return False
    files = storage.files_below(leftover.folder)
    if any(path.rpartition("/")[2] == MANIFEST_NAME for path in files):
        storage.delete_files([leftover.path])
        return False
    discard(leftover.folder)
    return True


def _read(folder: str) -> bytes | None:
    """The content of a folder's lease; None if it is absent or cannot be read."""
    path = storage.join(folder, LEASE_NAME)
    for again in (True, True, True, False):
        try:
            return None if storage.is_link(path) else storage.read_bytes(path)
        except OSError:
            return None
        except RunError:
            if not again:
                raise  # otherwise an object that its builder has just replaced
    return None


def _parsed(held: bytes | None) -> dict[str, Any]:
    try:
        lease = parse_json(held or b"")
    except ValueError:
        return {}
    return lease if isinstance(lease, dict) else {}


def _text(lease: dict[str, Any]) -> bytes:
    return json.dumps(lease, indent=1).encode()


def _lives(lease: dict[str, Any]) -> bool | None:
    """Whether the process of a lease lives; None if it cannot be seen from here."""
    if _TAKEN in lease:
        return False
    pid, ticks = lease.get("pid"), lease.get("ticks")
    if not _namespace() or lease.get("namespace") != _namespace():
        return None
    if not isinstance(pid, int) or pid < 1:
        return None
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        pass  # of another user
    started = _start(pid)
    # A process that hides its state (None) exists, after all.
    return started is None or (started >= 0 and ticks in (None, started))


def _namespace() -> str:
    """Identifies this boot of the machine and this container, outside of which a process id is meaningless.

    Empty on systems without /proc, such as macOS: there every builder shows by its counter that it lives.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _start(pid: int) -> int | None:
    """When a process started, in ticks since the boot; -1 if it has ended, None if that cannot be seen."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    state, *fields = text.rpartition(")")[2].split()  # its name may contain anything
    return -1 if state in "ZX" else int(fields[18])


def _is_old(leftover: Leftover, now: datetime) -> bool:
    """Whether a build began long ago, or, if it does not say when, no file of its local folder has changed for long."""
    try:
        started = datetime.fromisoformat(str(leftover.lease.get("started"))).astimezone(UTC)
    except (ValueError, OverflowError):
        started = None
    try:
        return now - (started or _last_change(leftover.folder)) > DEAD_AFTER
    except (OSError, ValueError, OverflowError):
        return False


def _last_change(folder: str) -> datetime:
    """Last change of a local folder without a lease, which may be a generation that is being copied."""
    paths = [folder, *storage.files_below(folder)]
    return datetime.fromtimestamp(max(os.lstat(path).st_ctime for path in paths), UTC)
