"""The commands refresh, publish and purge as processes, killed at random moments of their work.

`make races` kills publish and purge 100 times each, and refresh 50 times.
"""

import hashlib
import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from chains import add, check_only_generations, generation_id, named, point, standing
from corner_shop import START, Running, Shop, start
from warm_command import warm_commands

from heterrec_schemas.generation import open_generation

ROUNDS = int(os.environ.get("HETERREC_RACES", "4"))
OTHER, LATEST = generation_id(1), generation_id(3)

Command = Callable[[Path], list[str]]


def publish(output: Path) -> list[str]:
    return ["publish", str(output), "--generation", OTHER if named(output) == LATEST else LATEST]


def purge(output: Path) -> list[str]:
    return ["purge", str(output), "--keep", "0", "--grace", "0"]


def killed(arguments: list[str], output: Path, wait: float) -> bool:
    """Kill a command some time after its first change of the output; whether it was still running.

    Its worker processes, which have sessions of their own, have to end by themselves.
    """
    process = begun(arguments, output)
    time.sleep(wait)
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    _, told = process.communicate()
    assert process.returncode in (0, -9), told
    return process.returncode == -9


def begun(arguments: list[str], output: Path) -> Running:
    """A command that has just made its first change of the output."""
    before = seen(output)
    process = start(*arguments)
    while process.poll() is None and seen(output) == before:
        time.sleep(0.001)
    return process


def seen(output: Path) -> list[str]:
    return sorted(os.path.join(top, name) for top, _, names in os.walk(output) for name in names)


def hashes(folder: Path) -> dict[str, str]:
    """The SHA-256 of every file below a folder."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.slow
@pytest.mark.parametrize("work", [publish, purge])
def test_a_killed_command_leaves_a_whole_generation(
    source: Path, tmp_path: Path, work: Command
) -> None:
    dice, stopped = random.Random(5), 0
    for k in range(ROUNDS):
        output = tmp_path / f"output-{k}"
        for number in (1, 2, 3):
            add(source, output, number, number - 1 or None)
        point(output, LATEST)
        stopped += killed(work(output), output, dice.random() * 0.05)
        assert open_generation(output, verify="hashes").root.endswith(named(output))
        for name in standing(output):
            open_generation(output / "generations" / name, verify="sizes")
        for again in (publish, purge):
            done = warm_commands()(*again(output))
            if again is publish and done.code == 2:  # the other one is purged
                assert "has no generation" in done.err or "has no manifest" in done.err
            else:
                assert done.code == 0, done.err
        assert standing(output) == [named(output)]
        check_only_generations(output)
        shutil.rmtree(output)
    assert stopped


class Refresh:
    """A refresh of the corner shop with changed input: its call, its content, and how long it takes from its first change."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        shop.add("items.csv", [["i90", "Fig", "5"]])
        shop.add("log.csv", [["u1", "i90", str(START + 10**6), "view", "900"]])
        self.content, self.seconds = "", dict[int, float]()
        for workers in (1, 2):
            output = shop.folder / f"whole-{workers}"
            shutil.copytree(shop.output, output)
            process, began = begun(self.call(output, workers), output), time.monotonic()
            _, told = process.communicate()
            assert process.returncode == 0, told
            self.seconds[workers] = time.monotonic() - began
            self.content = open_generation(output, verify="sizes").manifest.content_sha256

    def call(self, output: Path, workers: int) -> list[str]:
        """The command's arguments."""
        spec = ["--spec", str(self.shop.spec_path), *self.shop.reading()]
        return ["refresh", "--base", str(output), *spec, "--workers", str(workers)]


@pytest.mark.slow
def test_a_killed_refresh_leaves_its_parent_and_the_next_one_works(
    shop: Shop, tmp_path: Path
) -> None:
    """Half as many kills as of the others, at any moment of the run, with and without worker processes."""
    dice, refresh, stopped = random.Random(7), Refresh(shop), 0
    parent, before = shop.latest(), hashes(shop.output / "generations" / shop.latest())
    for k in range(ROUNDS * 4):
        if stopped == max(2, ROUNDS // 2):
            break
        output, workers = tmp_path / f"output-{k}", 1 + k % 2
        shutil.copytree(shop.output, output)
        wait = dice.random() * refresh.seconds[workers]
        stopped += killed(refresh.call(output, workers), output, wait)
        assert hashes(output / "generations" / parent) == before
        latest = open_generation(output, verify="hashes")
        assert named(output) == parent or latest.manifest.content_sha256 == refresh.content
        for name in standing(output):
            open_generation(output / "generations" / name, verify="hashes")
        done = warm_commands()(*refresh.call(output, 1))
        assert done.code == 0, done.err
        assert open_generation(output, verify="hashes").manifest.content_sha256 == refresh.content
        assert hashes(output / "generations" / parent) == before
        check_only_generations(output)
        shutil.rmtree(output)
    assert stopped == max(2, ROUNDS // 2)
