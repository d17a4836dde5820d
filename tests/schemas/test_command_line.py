"""What both command lines share, in processes of their own where signals and descriptors matter."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from typing import Any

import pytest

from heterrec_schemas import command_line
from heterrec_schemas.command_line import (
    FailureReport,
    failure_fields,
    print_json,
    text_argument,
    unexpected,
)
from heterrec_schemas.errors import DataError

FIELDS = ["error", "stage", "message", "exit_code"]


def test_the_fields_of_a_failure() -> None:
    error = DataError("bad")
    fields = failure_fields(error, "bad", 2, stage="Log")
    assert list(fields) == FIELDS
    assert fields == {"error": "DataError", "stage": "Log", "message": "bad", "exit_code": 2}
    assert list(failure_fields(error, "bad", 2, debug=True)) == [*FIELDS, "traceback"]


def test_a_failure_is_one_message_and_one_object(capsys: pytest.CaptureFixture[str]) -> None:
    FailureReport(as_json=True, found={"valid": False})(DataError("x"), "café\nline two", 2)
    out, err = capsys.readouterr()
    assert err == "error: café\nline two\n"
    assert out.isascii()
    assert out.count("\n") == 1
    assert json.loads(out) == {"valid": False} | failure_fields(DataError(""), "café\nline two", 2)


def test_a_full_disk_is_not_unexpected() -> None:
    error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/data/x")
    assert unexpected(error) == (
        "/data/x cannot be read or written: No space left on device. Fix it, then run the same command again."
    )
    assert unexpected(OSError(errno.EIO, "broken")).startswith("a file cannot be read or written")
    assert unexpected(OSError(errno.ENOTTY, "x")).startswith("an unexpected OSError")


def test_a_log_replaces_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    told: list[dict[str, Any]] = []

    class Log:
        def failed(self, fields: dict[str, Any]) -> None:
            told.append(fields)

    FailureReport(log=Log())(DataError("x"), "x", 2)
    assert capsys.readouterr() == ("", "")
    assert told == [failure_fields(DataError(""), "x", 2)]


def test_json_is_valid_in_any_encoding(capsys: pytest.CaptureFixture[str]) -> None:
    body = {"é": "日本 \U0001f600 \ud800"}
    print_json(body)
    out = capsys.readouterr().out
    assert out.isascii()
    assert json.loads(out) == body


def test_ids_of_an_ascii_locale_are_utf8() -> None:
    assert text_argument("caf\udcc3\udca9") == "café"
    assert text_argument("café") == "café"
    assert text_argument("a") == "a"


# --- a process ----------------------------------------------------------------------------------

PROGRAM = """
import os, sys, time
from heterrec_schemas import command_line as c
report = c.FailureReport(c.asked("--json"))
def app(standalone_mode, obj):
    {body}
def load():
    {loading}
    return app
sys.exit(c.run(load, report))
"""


def start(
    body: str, *arguments: str, loading: str = "pass", ignored: bool = False, **env: str
) -> Any:
    program = PROGRAM.format(body=body.replace("\n", "\n    "), loading=loading)
    number = signal.SIG_IGN if ignored else signal.SIG_DFL
    return subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | env,
        preexec_fn=lambda: signal.signal(signal.SIGINT, number),
    )


READY = "print('ready', flush=True); time.sleep(60)"


@pytest.mark.parametrize("number", command_line.SIGNALS)
def test_a_signal_during_imports_ends_at_once(number: signal.Signals) -> None:
    # Whatever is imported may catch an exception.
    swallowed = f"try: {READY}\n    except BaseException: pass"
    process = start(
        "pass", "--json", loading=swallowed.replace("print(", "os.write(2, b'') or print(")
    )
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 1
    assert err == "error: stopped; nothing was changed\n"
    assert json.loads(out)["error"] == "KeyboardInterrupt"


@pytest.mark.parametrize("number", command_line.SIGNALS)
def test_a_command_cleans_up_and_then_ignores_signals(number: signal.Signals) -> None:
    body = f"""
try:
    with c.interruptible():
        {READY}
except KeyboardInterrupt:
    os.kill(os.getpid(), {number:d})
    print("cleaned")
return 1"""
    process = start(body)
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    assert process.communicate(timeout=30) == ("cleaned\n", "")
    assert process.returncode == 1


def test_a_background_job_keeps_ignoring_the_interrupt() -> None:
    body = "with c.interruptible():\n    print('ready', flush=True); time.sleep(0.5)\nprint('done')"
    process = start(body, ignored=True)
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=30) == ("done\n", "")
    assert process.returncode == 0


def test_only_the_object_goes_to_standard_output() -> None:
    body = """
c.reserve_stdout()
print("python")
os.write(1, b"descriptor\\n")
os.system("echo child")
c.print_json({"a": 1})"""
    out, err = start(body).communicate(timeout=30)
    assert out == '{"a": 1}\n'
    assert sorted(err.split()) == ["child", "descriptor", "python"]


@pytest.mark.parametrize(
    "env",
    [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}],
)
def test_output_is_escaped_where_the_encoding_lacks_it(env: dict[str, str]) -> None:
    body = r'print("\u00e9 \U0001f600", flush=True); raise ValueError("\u00e9")'
    out, err = start(body, **env).communicate(timeout=30)
    assert out == "\\xe9 \\U0001f600\n"
    assert err.startswith("error: an unexpected ValueError: \\xe9. ")


def test_a_reader_that_goes_away_changes_no_code() -> None:
    process = start("time.sleep(0.5); raise ValueError", "--json")
    process.stdout.close()
    process.stderr.close()
    until = time.monotonic() + 30
    while process.poll() is None and time.monotonic() < until:
        time.sleep(0.05)
    assert process.returncode == 1
