"""How processes end, in words, and how to end them."""

import contextlib
import os
import signal
import subprocess

import psutil

STOP_SECONDS = 5.0
"""What a process gets to end by itself before it is killed."""


def ended(code: int | None) -> str:
    """What became of a process, by its return code as `subprocess` tells it; None where nobody can know."""
    if code is None:
        return "is gone"
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        name = f" ({signal.Signals(-code).name})"
    except ValueError:
        name = ""
    hint = ", which is also how a system out of memory ends one" if -code == signal.SIGKILL else ""
    return f"was killed by signal {-code}{name}{hint}"


def end(process: subprocess.Popen[bytes]) -> None:
    """End a child: politely, then for sure."""
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def alive(process: psutil.Process) -> bool:
    """Whether a process still runs; one that nobody has buried is dead."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def in_session(leader: int) -> list[psutil.Process]:
    """The living processes of a session but its leader, wherever their parents have gone."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(OSError, psutil.Error):
            if process.pid != leader and os.getsid(process.pid) == leader and alive(process):
                found.append(process)
    return found


def kill_session(leader: int) -> None:
    """Kill every process of a session but its leader, those too that are born meanwhile."""
    for _ in range(50):
        processes = in_session(leader)
        if not processes:
            return
        for process in processes:
            with contextlib.suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(processes, timeout=0.2)
