"""Publishers, purges and new generations in loops, beside readers: a reader gets a whole one, or an error in words."""

import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest
from budget import Attack
from chains import add, check_only_generations, generation_id, named, point, standing

from heterrec_pipeline.keeping import pin, publish, purge, unpin
from heterrec_schemas.errors import HeterrecError
from heterrec_schemas.generation import open_generation
from heterrec_schemas.leases import reader_lease
from heterrec_schemas.testing.generation import small_generation

READS = 8
"""Number of times that a generation is opened in a case."""
GONE = ("purged", "is being deleted", "has no manifest", "has no generation", "is absent")
"""Words of the errors that a reader may get."""


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_generation(tmp_path_factory.mktemp("source"), 1)


@contextmanager
def looping(output: Path, works: list[Callable[[Random], Any]]) -> Iterator[None]:
    """Processes that do something again and again until the block ends. Any error but those of the project ends one."""
    children = []
    for number, work in enumerate(works):
        if (child := os.fork()) == 0:
            _loop(work, Random(number), output)
        children.append(child)
    try:
        yield
        ended = [child for child in children if os.waitpid(child, os.WNOHANG) != (0, 0)]
        children = [child for child in children if child not in ended]
        assert not ended, (output.parent / "failed").read_text()
    finally:
        for child in children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


def _loop(work: Callable[[Random], Any], dice: Random, output: Path) -> None:
    try:
        while True:
            try:
                work(dice)
            except HeterrecError:
                time.sleep(0.01)  # another one was faster
    except BaseException as error:
        (output.parent / "failed").write_text(f"{type(error).__name__}: {error}")
    finally:
        os._exit(1)


def read(output: Path, dice: Random, wanted: list[Any]) -> bool:
    """Open what the output names and read it; False if it was gone before it was held."""
    try:
        root = open_generation(output, verify="sizes").root
        with reader_lease(root, "train", required=True):
            generation = open_generation(root, verify="hashes")
            time.sleep(dice.random() * 0.02)
            assert rows(generation) == wanted, "other rows"
    except HeterrecError as error:
        if any(words in error.message for words in GONE):
            return False
        raise
    return True


def rows(generation: Any) -> list[Any]:
    return [generation.items(), *(generation.sequences(s) for s in ("train", "latest"))]


@pytest.mark.attack(cases=1, share=2, limit=120)
def test_readers_beside_publishers_and_purges(attack: Attack, source: Path, tmp_path: Path) -> None:
    wanted = rows(open_generation(source))

    def case(dice: Random) -> str:
        output = tmp_path / "output"
        shutil.rmtree(output, ignore_errors=True)  # of a case that failed
        for number in (1, 2, 3):
            add(source, output, number, number - 1 or None)
        point(output, generation_id(3))
        numbers = iter(range(4, 10**6))

        def grow(_: Random) -> None:
            """A new generation appears at once, as the last file of a build makes it, and is published."""
            number, latest = next(numbers), int(named(output)[-8:], 16)
            aside = tmp_path / "aside"
            shutil.rmtree(aside, ignore_errors=True)
            parent, name = generation_id(latest), generation_id(number)
            try:
                shutil.copytree(output / "generations" / parent, aside / "generations" / parent)
            except (OSError, shutil.Error):
                return  # it is being purged
            add(source, aside, number, latest)
            (aside / "generations" / name).rename(output / "generations" / name)
            publish(str(output), name, verify="sizes")

        def move(dice: Random) -> None:
            publish(str(output), dice.choice(standing(output)), verify="sizes")

        def hold(dice: Random) -> None:
            name = dice.choice(standing(output))
            pin(str(output), name)
            unpin(str(output), name)

        def clear(dice: Random) -> None:
            purge(str(output), dice.randint(0, 2), grace=timedelta(0))

        with looping(output, [grow, move, hold, clear]):
            done = [read(output, dice, wanted) for _ in range(READS)]
        for name in standing(output):
            open_generation(output / "generations" / name, verify="hashes")
        for path in output.glob("pins/*.json"):
            path.unlink()
        check_only_generations(output)
        shutil.rmtree(output)
        return f"with {sum(done)} whole reads"

    attack(case)
