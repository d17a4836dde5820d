"""How processes end in words, ending them, and the script that starts a worker."""

import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from services import wait_until

from heterrec_pipeline.runtime.engines import processes
from heterrec_pipeline.runtime.engines.prism import WORKER, Prism

REPOSITORY = Path(__file__).resolve().parents[2]
SLEEP = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(600)"]
DEAF = [sys.executable, "-c", "import signal; signal.signal(15, signal.SIG_IGN);" + SLEEP[2]]


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (0, "ended with exit code 0"),
        (3, "ended with exit code 3"),
        (-15, "was killed by signal 15 (SIGTERM)"),
        (
            -9,
            "was killed by signal 9 (SIGKILL); the system also does this when it is out of memory",
        ),
        (-99, "was killed by signal 99"),
        (None, "is gone"),
    ],
)
def test_how_it_ended(code: int | None, words: str) -> None:
    assert processes.describe_exit(code) == words


@pytest.mark.parametrize(("command", "code"), [(SLEEP, -signal.SIGTERM), (DEAF, -signal.SIGKILL)])
def test_the_deaf_are_killed(
    command: list[str], code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "STOP_SECONDS", 0.5)
    with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        processes.stop_process(child)
        assert child.returncode == code


def test_a_session_is_killed_with_its_orphans() -> None:
    # The leader ends at once; its child goes on, in a process group of its own, with another parent.
    script = (
        "import subprocess, sys;"
        f"child = subprocess.Popen({SLEEP!r}, stdout=subprocess.PIPE, process_group=0);"
        "child.stdout.readline(); print(child.pid, flush=True); sys.stdin.read(1)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    ) as leader:
        assert leader.stdout is not None
        orphan = psutil.Process(int(leader.stdout.readline()))
    assert processes.session_processes(leader.pid) == [orphan]
    processes.kill_session(leader.pid)
    assert not processes.is_running(orphan)
    processes.kill_session(leader.pid)


def test_the_script_that_starts_a_worker(tmp_path: Path) -> None:
    script = tmp_path / "boot.sh"
    script.write_bytes((REPOSITORY / "engines" / "boot.sh").read_bytes())
    boot = tmp_path / "boot"
    boot.write_text('#!/bin/sh\nprintf "%s\\n" "$PATH" "$@"\n')
    for program in (script, boot):
        program.chmod(0o755)
    done = subprocess.run(
        [script, "--id='job-001_go env'", "--provision_endpoint=localhost:1"],
        env={"PATH": "/usr/bin:/bin", "HETERREC_WORKER_PATH": "/some/bin"},
        cwd=tmp_path,
        capture_output=True,
        check=True,
        text=True,
    )
    assert done.stdout.splitlines() == [
        "/some/bin:/usr/bin:/bin",
        f"--semi_persist_dir={tmp_path}",
        "--id=job-001_go env",
        "--provision_endpoint=localhost:1",
    ]


def test_a_dead_worker_of_prism_stays_a_worker() -> None:
    """A process that has ended, and is not reaped yet, has no command line."""
    command = [sys.executable, "-c", "import time; time.sleep(60)", "sdk_worker_main"]
    with subprocess.Popen(command) as process:
        engine = Prism("prism", processes=True, allow_open_ports=False)
        seen = psutil.Process(process.pid)
        wait_until(lambda: "sdk_worker_main" in seen.cmdline())
        engine._see([seen])
        process.kill()
        wait_until(lambda: seen.status() == psutil.STATUS_ZOMBIE)
        engine._see([seen])
        assert engine._workers == {seen: WORKER}
