"""A lease in each unfinished generation names its builder, so that only leftovers of dead builds are deleted."""

import errno
import json
import os
import secrets
import socket
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil

from heterrec_pipeline.files import storage
from heterrec_schemas.documents import parse_json
from heterrec_schemas.errors import CallError, HeterrecError, RunError
from heterrec_schemas.manifest import MANIFEST_NAME

LEASE_NAME = "building.json"
DEAD_AFTER = timedelta(days=14)
"""Age after which an unfinished generation of another machine counts as dead: longer than any run can last."""


def new_generation_id(now: datetime) -> str:
    """UTC time to the millisecond and 8 random hex digits: ids sort by time and are unique."""
    return f"{now:%Y%m%dT%H%M%S}{now.microsecond // 1000:03d}Z-{secrets.token_hex(4)}"


def begin(output: str, generation: str, now: datetime, engine: str | None = None) -> None:
    """Create the generation's folder and write its lease.

    Args:
        output: the folder for generations.
        generation: its id.
        now: when the build began.
        engine: a remote engine whose job outlives this process. The lease then names no process, and the build counts as
            dead by its age alone.

    Raises:
        CallError: the output cannot be written.
        RunError: its disk is full.
    """
    process = psutil.Process()
    lease = {
        "host": engine or socket.gethostname(),
        "namespace": "" if engine else _namespace(),
        "pid": process.pid,
        "process_started": process.create_time(),
        "started": now.isoformat(),
    }
    path = storage.join(output, "generations", generation, LEASE_NAME)
    try:
        storage.write_bytes(path, json.dumps(lease, indent=1).encode())
    except (RunError, OSError) as error:
        cause = error.__cause__ if isinstance(error, RunError) else error
        reason = getattr(cause, "strerror", None) or cause
        full = getattr(cause, "errno", None) in (errno.ENOSPC, errno.EDQUOT)
        raise (RunError if full else CallError)(
            f"the output {output} cannot be written: {reason}",
            todo="Name a writable folder with enough disk space (--output).",
        ) from None


def _namespace() -> str:
    """Identifies this boot of the machine and this container, outside of which a process id is meaningless."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def discard(folder: str) -> None:
    """Delete an unfinished generation, its lease last, so that an interrupted deletion can be completed by `sweep`."""
    lease = storage.join(folder, LEASE_NAME)
    with suppress(HeterrecError):
        storage.delete_files(path for path in storage.files_below(folder) if path != lease)
        storage.delete_tree(folder)


def sweep(output: str, now: datetime) -> list[str]:
    """Delete unfinished generations whose builder is certainly dead; returns their ids."""
    swept = []
    for folder, lease in _leases(output):
        published = storage.exists(storage.join(folder, MANIFEST_NAME))
        if (published and not lease) or not _dead(lease, folder, now):
            continue
        if published:  # killed after its manifest was written: only the lease is left over
            storage.delete_tree(storage.join(folder, LEASE_NAME))
        else:
            discard(folder)
            swept.append(folder.rsplit("/", 1)[-1])
    return swept


def _leases(output: str) -> Iterator[tuple[str, dict[str, object]]]:
    """The folders below generations/ with their leases; an empty lease if it is missing or unreadable."""
    # Object stores list a thousand objects per request: no request per generation.
    for folder in storage.folders(storage.join(output, "generations"), holding=LEASE_NAME):
        try:
            lease = parse_json(storage.read_bytes(storage.join(folder, LEASE_NAME)))
        except (OSError, ValueError):
            lease = None  # being written, or just deleted
        yield folder, lease if isinstance(lease, dict) else {}


def _dead(lease: dict[str, object], folder: str, now: datetime) -> bool:
    """Whether a builder is certainly dead: its process has ended, or, if that is unknown, the lease is too old."""
    try:
        if lease and lease["host"] == socket.gethostname() and lease["namespace"] == _namespace():
            process = psutil.Process(int(str(lease["pid"])))
            return abs(process.create_time() - float(str(lease["process_started"]))) > 1
        started = datetime.fromisoformat(str(lease["started"])) if lease else _changed(folder)
        return now - started.astimezone(UTC) > DEAD_AFTER
    except psutil.NoSuchProcess:
        return True
    except (KeyError, ValueError, OverflowError, OSError, psutil.Error):
        return False


def _changed(folder: str) -> datetime:
    """Last change of a local folder without a lease, which may be a generation that is being copied."""
    paths = [folder, *storage.files_below(folder)]
    return datetime.fromtimestamp(max(os.stat(path).st_ctime for path in paths), UTC)
