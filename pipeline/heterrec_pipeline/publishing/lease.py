"""Who is building: a lease in each unfinished generation, so that leftovers are swept only when surely dead."""

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
from heterrec_schemas.errors import CallError, HeterrecError, RunError
from heterrec_schemas.manifest import MANIFEST_NAME

LEASE_NAME = "building.json"
DEAD_AFTER = timedelta(days=14)
"""An unfinished generation of another machine is taken for dead when it was begun longer ago than any run may last."""


def new_generation_id(now: datetime) -> str:
    """UTC time to the millisecond and 8 random hex digits: ids sort by time and never meet."""
    return f"{now:%Y%m%dT%H%M%S}{now.microsecond // 1000:03d}Z-{secrets.token_hex(4)}"


def begin(output: str, generation: str, now: datetime, engine: str | None = None) -> None:
    """Make the generation's folder and write its lease.

    Args:
        output: the folder that generations go to.
        generation: its id.
        now: when the build began.
        engine: names a remote engine whose job outlives this process. The lease then holds no process that could die, and
            the build counts as dead by its age alone.

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
            todo="Name a folder that you may write to, with space on its disk (--output).",
        ) from None


def _namespace() -> str:
    """This boot of the machine and this container: outside of them a process id means another process, or none."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def discard(folder: str) -> None:
    """Delete an unfinished generation, its lease last: what a kill, or a store that is gone, leaves can still be swept."""
    lease = storage.join(folder, LEASE_NAME)
    with suppress(HeterrecError):
        storage.delete_files(path for path in storage.files_below(folder) if path != lease)
        storage.delete_tree(folder)


def sweep(output: str, now: datetime) -> list[str]:
    """Delete unfinished generations whose builder is surely dead; returns their ids."""
    swept = []
    for folder, lease in _leases(output):
        stands = storage.exists(storage.join(folder, MANIFEST_NAME))
        if (stands and not lease) or not _dead(lease, folder, now):
            continue
        if stands:  # killed between its manifest and its last step: only the lease goes
            storage.delete_tree(storage.join(folder, LEASE_NAME))
        else:
            discard(folder)
            swept.append(folder.rsplit("/", 1)[-1])
    return swept


def _leases(output: str) -> Iterator[tuple[str, dict[str, object]]]:
    """The folders below generations/ with their leases; an empty one where it is absent or cannot be read."""
    # Object stores list a thousand objects per request: no request per generation.
    for folder in storage.folders(storage.join(output, "generations"), holding=LEASE_NAME):
        try:
            lease = json.loads(storage.read_bytes(storage.join(folder, LEASE_NAME)))
        except (OSError, ValueError):
            lease = None  # being written, or gone meanwhile
        yield folder, lease if isinstance(lease, dict) else {}


def _dead(lease: dict[str, object], folder: str, now: datetime) -> bool:
    """Whether a builder is surely dead: its process is gone, or, where that cannot be told, all is too long ago."""
    try:
        if lease and lease["host"] == socket.gethostname() and lease["namespace"] == _namespace():
            process = psutil.Process(int(str(lease["pid"])))
            return abs(process.create_time() - float(str(lease["process_started"]))) > 1
        started = datetime.fromisoformat(str(lease["started"])) if lease else _changed(folder)
        return now - started.astimezone(UTC) > DEAD_AFTER
    except psutil.NoSuchProcess:
        return True
    except (KeyError, ValueError, OSError, psutil.Error):
        return False


def _changed(folder: str) -> datetime:
    """When a local folder without a lease changed last: it may be a generation that someone is copying."""
    paths = [folder, *storage.files_below(folder)]
    return datetime.fromtimestamp(max(os.stat(path).st_ctime for path in paths), UTC)
