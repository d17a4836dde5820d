"""Identify a process such that another one can see whether it still lives, without any clock."""

import os
import socket
from pathlib import Path
from typing import Any


def this_process() -> dict[str, Any]:
    """The fields of a lease that identify this process; `beats` is the counter that it keeps increasing.

    A process is identified by the boot of its machine, the namespace of process ids, the id, and the start in ticks since the
    boot.
    """
    pid = os.getpid()
    return {
        "host": socket.gethostname(),
        "namespace": namespace(),
        "pid": pid,
        "ticks": _start(pid),
        "beats": 0,
    }


def lives(lease: dict[str, Any]) -> bool | None:
    """Whether the process of a lease lives; None if it cannot be seen from here."""
    pid, ticks = lease.get("pid"), lease.get("ticks")
    if not namespace() or lease.get("namespace") != namespace():
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


def namespace() -> str:
    """Identifies this boot of the machine and this container, outside of which a process id is meaningless.

    Empty on systems without /proc, such as macOS: there every process shows by its counter that it lives.
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
