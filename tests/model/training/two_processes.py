"""One of two processes of a run that ends in an odd way.

Called with the way (a function's name), its rank and the name of a file to meet by.
"""

import os
import signal
import sys
import threading
import time

import torch
import torch.distributed as dist

from heterrec_model.training import dead_peers
from heterrec_model.training.processes import World, joined_processes

BYTES = 1 << 26
"""More than a connection buffers, so that a part of it is still to be sent when the receiver dies."""


def sends_in_vain(world: World) -> None:
    """Pass a large tensor on, again and again; the second process kills itself in the middle of one."""
    x = torch.zeros(BYTES, dtype=torch.uint8)
    if not world.main:
        threading.Thread(target=_die_in_the_middle, args=(x,), daemon=True).start()
    for count in range(1 << 30):
        if world.main:
            x.fill_(count % 2)
        dist.broadcast(x, src=0)


def _die_in_the_middle(x: torch.Tensor) -> None:
    """Wait until only the tensor's beginning is of another round than its end."""
    while x[0] == x[-1]:
        pass
    os.kill(os.getpid(), signal.SIGKILL)


def is_done_late(world: World) -> None:
    """The first process has something left to do when the second is done."""
    if world.main:
        time.sleep(4 * dead_peers.GRACE)


if __name__ == "__main__":
    way, rank, meeting = sys.argv[1:]
    dead_peers.GRACE = 0.5
    dist.init_process_group("gloo", f"file://{meeting}", rank=int(rank), world_size=2)
    with joined_processes("cpu") as world:
        {"sends_in_vain": sends_in_vain, "is_done_late": is_done_late}[way](world)
    os._exit(0)  # at once: the interpreter's own end may take seconds
