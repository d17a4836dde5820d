"""Runs actors in chosen orders, one access to the disk at a time, and kills a process at any of its accesses."""

import os
import random
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from heterrec_schemas.stores.local import LocalStore

ACCESSES = (
    "create",
    "delete",
    "delete_now",
    "delete_tree",
    "exists",
    "files_below",
    "files_in",
    "folders",
    "modified",
    "open",
    "open_arrow",
    "rename",
    "replace",
    "sizes",
    "update",
)
"""The methods of the store before which an actor may be held up."""
CHANGES = ("open", "replace", "remove", "unlink", "rmdir", "mkdir", "fsync")
"""The functions of `os` before which a process may be killed."""


@dataclass
class _Actor:
    work: Callable[[], Any]
    go: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    ended: bool = False
    result: Any = None


class Steps:
    """Lets one of several threads make its next access, in an order that a seed decides."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.here = threading.local()
        self.back = threading.Semaphore(0)

    def pause(self) -> None:
        """Hold up the calling actor until it is chosen; other threads go on."""
        actor = getattr(self.here, "actor", None)
        if actor is not None and not self.here.inside:
            self.back.release()
            actor.go.acquire()

    def run(self, *works: Callable[[], Any]) -> list[Any]:
        """Run all to their ends; returns the result, or the exception, of each."""
        actors = [_Actor(work) for work in works]
        threads = [threading.Thread(target=self._act, args=(a,), daemon=True) for a in actors]
        for thread in threads:
            thread.start()
            assert self.back.acquire(timeout=60)
        while alive := [a for a in actors if not a.ended]:
            # Often the same one several times in a row: long runs meet other states than single steps.
            chosen = self.dice.choice(alive)
            for _ in range(self.dice.choice((1, 1, 2, 5, 20))):
                if not chosen.ended:
                    chosen.go.release()
                    assert self.back.acquire(timeout=60)
        return [a.result for a in actors]

    def _act(self, actor: _Actor) -> None:
        self.here.actor, self.here.inside = actor, False
        self.pause()
        try:
            actor.result = actor.work()
        except BaseException as error:
            actor.result = error
        actor.ended = True
        self.back.release()

    @contextmanager
    def patched(self) -> Iterator["Steps"]:
        """Let every access to a local disk be a step."""

        def stepped(name: str) -> Callable[..., Any]:
            method = getattr(LocalStore, name)

            def access(*arguments: Any, **named: Any) -> Any:
                self.pause()
                inside, self.here.inside = getattr(self.here, "inside", False), True
                try:
                    return method(*arguments, **named)
                finally:
                    self.here.inside = inside

            return access

        with pytest.MonkeyPatch.context() as patch:
            for name in ACCESSES:
                patch.setattr(LocalStore, name, stepped(name))
            yield self


def killed_at(number: int, work: Callable[[], Any]) -> bool:
    """Run something in a child that is killed before its n-th change of the disk; False if it ends before."""
    child = os.fork()
    if child == 0:
        try:
            left = [number]
            for name in CHANGES:
                setattr(os, name, _deadly(getattr(os, name), left))
            work()
        except BaseException:
            os._exit(3)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.WEXITSTATUS(status) == 0
    return False


def _deadly(function: Callable[..., Any], left: list[int]) -> Callable[..., Any]:
    def counted(*arguments: Any, **named: Any) -> Any:
        left[0] -= 1
        if left[0] < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments, **named)

    return counted
