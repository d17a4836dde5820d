import gc
import subprocess
import sys

import pytest

from heterrec_pipeline.runtime.startup import fast_imports


def fail_while_importing() -> None:
    with fast_imports():
        assert not gc.isenabled()
        raise ImportError


def test_the_collector_rests_meanwhile_and_works_again_afterwards() -> None:
    before = gc.get_freeze_count()
    with pytest.raises(ImportError):
        fail_while_importing()
    assert gc.isenabled()
    assert gc.get_freeze_count() > before


@pytest.mark.parametrize(("arguments", "code"), [("'--help'", 0), ("'build', '--spec', 'none'", 2)])
def test_a_thread_that_waits_for_ever_does_not_keep_a_command(arguments: str, code: int) -> None:
    program = (
        "import sys, threading; from heterrec_pipeline.__main__ import main;"
        f"sys.argv = ['heterrec-pipeline', {arguments}];"
        "threading.Thread(target=threading.Event().wait).start(); print('first'); main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == code
    assert done.stdout.startswith("first")
    assert "Usage" in done.stdout + done.stderr


def test_python_does_not_finalize_under_threads_that_still_read() -> None:
    """Functions for the exit run; objects of modules, which finalizing would delete, stay."""
    program = (
        "import atexit, sys; from heterrec_pipeline.__main__ import main;"
        "sys.argv = ['heterrec-pipeline', '--help'];"
        "Last = type('Last', (), {'__del__': lambda self: print('finalized', flush=True)});"
        "sys.last = Last();"
        "from heterrec_pipeline.runtime import startup; run = startup.run;"
        "startup.run = lambda *a, **k: atexit.register(print, 'exit function') and run(*a, **k);"
        "main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Usage" in done.stdout
    assert "exit function" in done.stdout
    assert "finalized" not in done.stdout
