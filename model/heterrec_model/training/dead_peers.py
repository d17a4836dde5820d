"""Ends this process when another one of the run has died and this one still waits for it.

When a process dies, its connections close, and gloo raises an error in those that wait for it; but not for a send that
was under way just then: gloo forgets to tell it, and it waits until the time limit of its group, half an hour or half a
day. Nothing in Python runs in a process that waits like that, not even its answer to SIGTERM. So a thread watches the
other processes themselves, those on this machine; the launcher looks after the other machines.
"""

import os
import select
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from heterrec_schemas.errors import RunError

GRACE = 10.0
"""Seconds that a process has to end by itself, with a message that knows more; torchrun kills it after 30."""


def place() -> tuple[str, int] | None:
    """Where this process's id means something: the boot of a machine, and the namespace; None where neither is told."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return boot, Path("/proc/self/ns/pid").stat().st_ino
    except OSError:
        return None


@contextmanager
def watching(peers: Mapping[int, int], *, rank: int) -> Iterator[None]:
    """End this process, with a message and code 1, if a peer ends while the block runs, and it still runs `GRACE` later.

    A checkpoint that is being written then is lost; the one before it stands.

    Args:
        peers: rank to process id of those on this machine that should outlive the block.
        rank: this process's own.
    """
    with ExitStack() as opened:
        handles: dict[int, int] = {}
        for peer, process in peers.items():
            handle = _handle(process)
            if handle is not None:
                opened.callback(os.close, handle)
                handles[handle] = peer
        if not handles:
            yield
            return
        until, leave = os.pipe()
        opened.callback(os.close, until)
        names = {handle: f"rank {peer}, process {peers[peer]}" for handle, peer in handles.items()}
        watch = threading.Thread(target=_watch, args=(names, until, rank), daemon=True)
        watch.start()
        try:
            yield
        finally:
            os.close(leave)
            watch.join()


def _handle(process: int) -> int | None:
    """A file descriptor that can be read once the process has ended; None where the system has no such thing."""
    try:
        return os.pidfd_open(process)
    except (AttributeError, OSError):
        return None


def _watch(names: Mapping[int, str], until: int, rank: int) -> None:
    """Wait for the end of a process or of the block, whichever is first."""
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
    """What an error would do, if the main thread could raise one."""
    error = RunError(
        f"another process of this run has ended ({name}), and this one waited for it in vain for {GRACE:g} s",
        todo="Its own message says why; mend that and go on with --resume.",
    )
    os.write(2, f"error (rank {rank}): {error.message}\n".encode())
    os._exit(error.exit_code)
