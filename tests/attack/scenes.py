"""Commands to spoil: where each begins, how it is called, and what has to be true however it ends."""

import errno
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from random import Random
from typing import Any

import pytest
from budget import ONLY, SECONDS
from faults import KILLS, NO_FAULT, Ended, Fault, Kind, run

ERRORS = (errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EROFS)
HARMLESS = (Kind.SHORT, Kind.SLOW)
"""What a system may do to any call without an error."""
MOST_KILLS = 4
"""Number of times that one command is killed before it may end."""


LONG = pytest.mark.skipif(not (SECONDS or ONLY), reason="takes long: only in make attack")


@dataclass(frozen=True)
class Scene:
    """A command, and the folder that it begins with.

    Attributes:
        name: for messages.
        package: heterrec_pipeline or heterrec_model.
        start: a folder that is copied for every case.
        call: the arguments, by the copy. Called again for a repeated command.
        check: fails unless all that readers may see in the folder is whole, given what the command was begun with.
        result: what a finished command has made, without what differs between two runs.
        clean: fails if something of a killed command is left after a finished one.
        prefix: the part of the folder below which calls are counted.
    """

    name: str
    package: str
    start: Path
    call: Callable[[Path], list[str]]
    check: Callable[[Path], None]
    result: Callable[[Path], Any]
    clean: Callable[[Path], None] = lambda folder: None
    prefix: str = "."

    @contextmanager
    def copy(self) -> Iterator[Path]:
        """A copy of the folder that it begins with."""
        with tempfile.TemporaryDirectory(prefix="heterrec-attack-") as place:
            folder = Path(place).resolve() / "place"
            shutil.copytree(self.start, folder, symlinks=True)
            yield folder

    def run(self, folder: Path, fault: Fault = NO_FAULT, *, log: bool = False) -> Ended:
        """Run the command, one of whose calls is spoilt."""
        watched = folder / self.prefix if self.prefix != "." else folder
        return run(self.package, self.call(folder), watched, fault, log=log)

    def finish(self, folder: Path) -> None:
        """Run the command undisturbed: it has to make what it always makes, and to leave nothing else."""
        ended = self.run(folder)
        assert ended.done.code == 0, f"{self.name}, again: {ended.done.err}"
        self.check(folder)
        self.same(folder)
        self.clean(folder)

    def same(self, folder: Path) -> None:
        """Fail unless the result is that of an undisturbed run."""
        got, wanted = self.result(folder), self.whole[1]
        assert got == wanted, f"another result: got {got}, expected {wanted}"

    @cached_property
    def whole(self) -> tuple[int, Any]:
        """The number of calls of an undisturbed run, and its result."""
        with self.copy() as folder:
            ended = self.run(folder)
            assert ended.done.code == 0, f"{self.name}: {ended.done.err}"
            self.check(folder)
            return ended.calls, self.result(folder)


def kill(scene: Scene, dice: Random) -> str:
    """Kill a command at calls of its files, a few times, then let it end; the number of kills in words."""
    calls, kills = scene.whole[0], 0
    with scene.copy() as folder:
        for _ in range(dice.randint(1, MOST_KILLS)):
            fault = Fault(dice.choice(KILLS), dice.randint(1, calls))
            ended = scene.run(folder, fault)
            assert ended.done.code == (-9 if ended.happened else 0), (
                f"{scene.name}, {fault}: exit code {ended.done.code}: {ended.done.err}"
            )
            kills += ended.happened
            with telling(scene, fault):
                scene.check(folder)
        with telling(scene, fault):
            scene.finish(folder)
    return f"with {kills} kills"


def spoil(scene: Scene, dice: Random) -> str:
    """Let a call of a command fail, or all from one on; how the command ended, in a word."""
    fault = drawn_error(scene, dice)
    with scene.copy() as folder, telling(scene, fault):
        ended = scene.run(folder, fault)
        scene.check(folder)
        if ended.done.code == 0:
            scene.same(folder)
        else:
            assert ended.happened, ended.done.err
            assert fault.kind not in HARMLESS, ended.done.err
            assert fault.error != errno.EINTR, ended.done.err
            check_message(ended, folder, fault)
        scene.finish(folder)
    if not ended.happened:
        return "undisturbed"
    return "failed in words" if ended.done.code else "succeeded"


def drawn_error(scene: Scene, dice: Random) -> Fault:
    """A fault of the storage at some call."""
    at = dice.randint(1, scene.whole[0])
    kind = dice.choice([Kind.FAIL_ONCE, Kind.FAIL_ON, Kind.SHORT, Kind.SLOW, Kind.FAIL_ONCE])
    if kind in HARMLESS:
        return Fault(kind, at)
    return Fault(kind, at, dice.choice([*ERRORS, errno.EINTR][: 4 + (kind == Kind.FAIL_ONCE)]))


def check_message(ended: Ended, folder: Path, fault: Fault) -> None:
    """A failure of the storage is told in words: where, and what the system says."""
    told = ended.done.err
    assert ended.done.code in (1, 2), told
    assert "Traceback" not in told, told
    assert "unexpected" not in told, told
    assert os.strerror(fault.error) in told, told
    assert str(folder) in told, told


@contextmanager
def telling(scene: Scene, fault: Fault) -> Iterator[None]:
    """Name the scene and the fault in an AssertionError of the block, and in any other exception."""
    try:
        yield
    except Exception as error:
        error.add_note(f"{scene.name}, {fault}")
        if isinstance(error, AssertionError):
            raise AssertionError(f"{scene.name}, {fault}: {error}") from error
        raise
