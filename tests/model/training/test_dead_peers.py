"""Processes that die while others wait for them."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from warm_command import environment

from heterrec_model.training import dead_peers

pytestmark = pytest.mark.skipif(
    not hasattr(os, "pidfd_open"), reason="this system has no descriptors of processes"
)
TWO_PROCESSES = Path(__file__).with_name("two_processes.py")


@pytest.fixture
def sleeper() -> Iterator["subprocess.Popen[bytes]"]:
    """A process that lives until it is killed."""
    with subprocess.Popen(["sleep", "600"]) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture
def ends(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Whose death would have ended this process, and the fact that it did not."""
    found: list[str] = []
    monkeypatch.setattr(dead_peers, "_end", lambda name, rank: found.append(name))
    return found


def test_ids_mean_the_same_to_a_parent_and_its_child() -> None:
    command = (
        "from heterrec_model.training.dead_peers import process_namespace as scope; print(scope())"
    )
    child = subprocess.run([sys.executable, "-c", command], check=True, capture_output=True)
    assert child.stdout.decode().strip() == str(dead_peers.process_namespace())


def test_a_process_blocked_after_a_death_is_ended(
    sleeper: "subprocess.Popen[bytes]", ends: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dead_peers, "GRACE", 0.0)
    ended = threading.Event()
    monkeypatch.setattr(dead_peers, "_end", lambda name, rank: (ends.append(name), ended.set()))
    with dead_peers.watch({3: sleeper.pid}, rank=0):
        sleeper.kill()
        assert ended.wait(60)
    assert ends == [f"rank 3, process {sleeper.pid}"]


def test_a_process_that_leaves_in_time_is_not_ended(
    sleeper: "subprocess.Popen[bytes]", ends: list[str]
) -> None:
    with dead_peers.watch({1: sleeper.pid}, rank=0):
        sleeper.kill()
        sleeper.wait()
    assert not ends


def test_a_death_after_the_block_is_ignored(
    sleeper: "subprocess.Popen[bytes]", ends: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dead_peers, "GRACE", 0.0)
    before = len(os.listdir("/proc/self/fd"))
    with (
        pytest.raises(ValueError, match="of the block"),
        dead_peers.watch({1: sleeper.pid}, rank=0),
    ):
        raise ValueError("of the block")
    assert len(os.listdir("/proc/self/fd")) == before
    sleeper.kill()
    sleeper.wait()
    assert not ends


def run_two(way: str, folder: Path) -> list["subprocess.Popen[str]"]:
    """Two processes of a run, when both have ended; what each wrote to stderr is in the folder."""
    processes = []
    for rank in (0, 1):
        variables = environment(OMP_NUM_THREADS="1")
        command = [sys.executable, str(TWO_PROCESSES), way, str(rank), str(folder / "meeting")]
        with (folder / f"stderr{rank}").open("w") as file:
            processes.append(subprocess.Popen(command, env=variables, stderr=file, text=True))
    try:
        for process in processes:
            process.wait(timeout=120)
    finally:
        for process in processes:
            process.kill()
    return processes


@pytest.mark.slow
def test_a_send_that_gloo_forgets_ends_with_a_message(tmp_path: Path) -> None:
    waits, dies = run_two("sends_in_vain", tmp_path)
    err = (tmp_path / "stderr0").read_text()
    assert dies.returncode == -signal.SIGKILL
    assert waits.returncode == 1, err
    assert f"another process of this run has ended (rank 1, process {dies.pid})" in err


@pytest.mark.slow
def test_who_is_done_early_does_not_count_as_dead(tmp_path: Path) -> None:
    late, early = run_two("is_done_late", tmp_path)
    err = (tmp_path / "stderr0").read_text() + (tmp_path / "stderr1").read_text()
    assert (late.returncode, early.returncode) == (0, 0), err
