"""The commands publish and purge as processes, killed at random moments of their work."""

import os
import random
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from chains import add, generation_id, named, point, standing
from corner_shop import COMMAND, environment

from heterrec_schemas.generation import open_generation

ROUNDS = int(os.environ.get("HETERREC_RACES", "4"))
OTHER, LATEST = generation_id(1), generation_id(3)

Command = Callable[[Path], list[str]]


def publish(output: Path) -> list[str]:
    return ["publish", str(output), "--generation", OTHER if named(output) == LATEST else LATEST]


def purge(output: Path) -> list[str]:
    return ["purge", str(output), "--keep", "0", "--grace", "0"]


def killed(arguments: list[str], output: Path, wait: float) -> bool:
    """Kill a command some time after its first change of the output; whether it was still running."""
    before = seen(output)
    process = subprocess.Popen(
        [*COMMAND, *arguments], env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    while process.poll() is None and seen(output) == before:
        time.sleep(0.001)
    time.sleep(wait)
    process.kill()
    _, told = process.communicate()
    assert process.returncode in (0, -9), told
    return process.returncode == -9


def seen(output: Path) -> list[str]:
    return sorted(os.path.join(top, name) for top, _, names in os.walk(output) for name in names)


@pytest.mark.slow
@pytest.mark.parametrize("command", [publish, purge])
def test_a_killed_command_leaves_a_whole_generation(
    source: Path, tmp_path: Path, command: Command
) -> None:
    dice, stopped = random.Random(5), 0
    for k in range(ROUNDS):
        output = tmp_path / f"output-{k}"
        for number in (1, 2, 3):
            add(source, output, number, number - 1 or None)
        point(output, LATEST)
        stopped += killed(command(output), output, dice.random() * 0.05)
        assert open_generation(output, verify="hashes").root.endswith(named(output))
        for name in standing(output):
            open_generation(output / "generations" / name, verify="sizes")
        for again in (publish, purge):
            call = [*COMMAND, *again(output)]
            done = subprocess.run(call, env=environment(), capture_output=True, text=True)
            if again is publish and done.returncode == 2:  # the other one is purged
                assert "has no generation" in done.stderr or "has no manifest" in done.stderr
            else:
                assert done.returncode == 0, done.stderr
        assert standing(output) == [named(output)]
    assert stopped
