"""Who is building: a lease in each unfinished generation, so that leftovers are swept only when surely dead."""

import json
import os
import posixpath
import secrets
import socket
from datetime import UTC, datetime, timedelta

import psutil

from heterrec_pipeline import storage
from heterrec_schemas.errors import CallError, RunError
from heterrec_schemas.manifest import MANIFEST_NAME

LEASE_NAME = "building.json"
DEAD_AFTER = timedelta(days=14)
"""An unfinished generation of another machine is taken for dead when its lease is older than any run may last."""


def new_generation_id(now: datetime) -> str:
    """UTC time to the millisecond and 8 random hex digits: ids sort by time and never meet."""
    return f"{now:%Y%m%dT%H%M%S}{now.microsecond // 1000:03d}Z-{secrets.token_hex(4)}"


def begin(output: str, generation: str, now: datetime) -> None:
    """Make the generation's folder and write its lease.

    Raises:
        CallError: the output cannot be written.
    """
    process = psutil.Process()
    lease = {
        "host": socket.gethostname(),
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
        raise CallError(
            f"the output {output} cannot be written: {reason}",
            todo="Name a folder that you may write to, with space on its disk (--output).",
        ) from None


def sweep(output: str, now: datetime) -> list[str]:
    """Delete unfinished generations whose builder is surely dead; returns their ids."""
    swept = []
    for lease_path, lease in _leases(output):
        folder = (
            posixpath.dirname(lease_path)
            if storage.is_remote(output)
            else os.path.dirname(lease_path)
        )
        if storage.exists(storage.join(folder, MANIFEST_NAME)):
            # Killed between its manifest and its last step: the generation stands, only the lease goes.
            if _dead(lease, now):
                storage.delete_tree(lease_path)
            continue
        if _dead(lease, now):
            storage.delete_tree(folder)
            swept.append(folder.rstrip("/").rsplit("/", 1)[-1])
    return swept


def _leases(output: str) -> list[tuple[str, dict[str, object]]]:
    found = []
    for path, _ in storage.matched(storage.join(output, "generations", "*", LEASE_NAME)):
        try:
            found.append((path, json.loads(storage.read_bytes(path))))
        except (OSError, ValueError):
            continue  # being written, or gone meanwhile
    return found


def _dead(lease: dict[str, object], now: datetime) -> bool:
    try:
        if lease["host"] == socket.gethostname():
            process = psutil.Process(int(str(lease["pid"])))
            return abs(process.create_time() - float(str(lease["process_started"]))) > 1
        started = datetime.fromisoformat(str(lease["started"]))
        return now - started.astimezone(UTC) > DEAD_AFTER
    except psutil.NoSuchProcess:
        return True
    except (KeyError, ValueError, psutil.Error):
        return False
