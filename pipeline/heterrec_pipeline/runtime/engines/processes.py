"""Describe how a process ended; stop processes and sessions."""

import contextlib
import os
import signal
import subprocess

import psutil

STOP_SECONDS = 5.0
"""Time in seconds for a process to exit by itself before it is killed."""


def describe_exit(code: int | None) -> str:
    """The end of a process in words, from its `subprocess` return code; None if the code is unknown."""
    if code is None:
        return "is gone"
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        name = f" ({signal.Signals(-code).name})"
    except ValueError:
        name = ""
    hint = "; the system also does this when it is out of memory" if -code == signal.SIGKILL else ""
    return f"was killed by signal {-code}{name}{hint}"


def stop_process(process: subprocess.Popen[bytes]) -> None:
    """Terminate a child process; kill it after STOP_SECONDS."""
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def is_running(process: psutil.Process) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def session_processes(leader: int) -> list[psutil.Process]:
    """The running processes of a session except its leader, orphans included."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(OSError, psutil.Error):
            if process.pid != leader and os.getsid(process.pid) == leader and is_running(process):
                found.append(process)
    return found


def kill_session(leader: int) -> None:
    """Kill every process of a session except its leader, including those started meanwhile."""
    for _ in range(50):
        processes = session_processes(leader)
        if not processes:
            return
        for process in processes:
            with contextlib.suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(processes, timeout=0.2)
