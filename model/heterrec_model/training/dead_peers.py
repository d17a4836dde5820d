"""Ends this process if another process of the run has died and this one is blocked waiting for it.

When a process dies, its connections close and gloo raises an error in the processes that wait for it, except in a send
that is already in progress: that one blocks until the timeout of the group, half an hour or half a day, and not even a
handler of SIGTERM runs meanwhile. So a thread watches the other processes on this machine; the launcher handles the other
machines.
"""

import os
import select
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from heterrec_schemas.errors import RunError

GRACE = 10.0
"""Seconds a process has to end by itself, with a more specific message; torchrun kills it after 30."""


def process_namespace() -> tuple[str, int] | None:
    """Scope in which process ids are unique: boot id and pid namespace; None if the system does not expose them."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return boot, Path("/proc/self/ns/pid").stat().st_ino
    except OSError:
        return None


@contextmanager
def watch(peers: Mapping[int, int], *, rank: int) -> Iterator[None]:
    """End this process with a message and code 1 if a peer ends during the block and the block runs for `GRACE` more.

    A checkpoint that is being written is then lost; the previous one remains.

    Args:
        peers: rank to process id of the processes on this machine that should outlive the block.
        rank: of this process.
    """
    with ExitStack() as cleanup:
        handles: dict[int, int] = {}
        for peer, process in peers.items():
            handle = _open(process)
            if handle is not None:
                cleanup.callback(os.close, handle)
                handles[handle] = peer
        if not handles:
            yield
            return
        until, leave = os.pipe()
        cleanup.callback(os.close, until)
        names = {handle: f"rank {peer}, process {peers[peer]}" for handle, peer in handles.items()}
        thread = threading.Thread(target=_wait, args=(names, until, rank), daemon=True)
        thread.start()
        try:
            yield
        finally:
            os.close(leave)
            thread.join()


def _open(process: int) -> int | None:
    """A descriptor that becomes readable when the process ends; None if the system does not support it."""
    try:
        return os.pidfd_open(process)
    except (AttributeError, OSError):
        return None


def _wait(names: Mapping[int, str], until: int, rank: int) -> None:
    """Wait for the end of a process or of the block."""
    events = select.poll()
    for handle in (*names, until):
        events.register(handle, select.POLLIN)
    ready = [handle for handle, _ in events.poll()]
    if until in ready:
        return
    for handle in names:
        events.unregister(handle)
    if not events.poll(1000 * GRACE):
        _end(names[ready[0]], rank)


def _end(name: str, rank: int) -> None:
    """End this process as an error in the main thread would, which is blocked."""
    error = RunError(
        f"another process of this run has ended ({name}), and this one was blocked waiting for it for {GRACE:g} s",
        todo="Its own message states the reason; fix that and continue with --resume.",
    )
    os.write(2, f"error (rank {rank}): {error.message}\n".encode())
    os._exit(error.exit_code)
