"""Whatever a process prints becomes a line of the log."""

import io
import json
import subprocess
import sys

from heterrec_pipeline.telemetry.json_log import JsonLog

NOISE = """
import logging, os, subprocess, sys, threading, warnings
from heterrec_pipeline.runtime.startup import run_process

class Dies:
    def __del__(self):
        raise ValueError("in a destructor")

def app(standalone_mode, obj):
    warnings.warn("a warning")
    logging.getLogger("apitools").warning("a record with é")
    logging.getLogger("apitools").info("nothing")
    print("printed é", file=sys.stderr)
    os.write(2, b"from C\\xff, ")
    subprocess.run([sys.executable, "-c", "1/0"])
    thread = threading.Thread(target=lambda: [].pop(), name="worker")
    thread.start()
    thread.join()
    Dies()
    obj("published", path="x")
    os.write(2, b"late")
    return 0

sys.argv[1:] = ["build", "--log-json"]
run_process(lambda: app)
"""


def test_everything_on_standard_error_is_a_record() -> None:
    done = subprocess.run([sys.executable, "-c", NOISE], capture_output=True, text=True, check=True)
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert done.stdout == ""
    by_logger: dict[str, list[str]] = {}
    for line in lines:
        by_logger.setdefault(line.get("logger", line["event"]), []).append(line.get("message", ""))
    (warned,) = by_logger["py.warnings"]
    assert "UserWarning: a warning" in warned
    assert by_logger["apitools"] == ["a record with é"]
    printed = by_logger["stderr"]
    assert printed[:2] == ["printed é", "from C\\xff, Traceback (most recent call last):"]
    assert printed[-2:] == ["ZeroDivisionError: division by zero", "late"]
    thread, destructor = (line for line in lines if line.get("logger") == "python")
    assert "Thread(worker" in thread["message"]
    assert thread["traceback"].rstrip().endswith("IndexError: pop from empty list")
    assert "ValueError('in a destructor')" in destructor["message"]
    # What was printed before the last event is logged before it.
    events = [line["event"] for line in lines]
    assert events.index("published") == len(events) - 2


def test_a_line_is_valid_json_whatever_it_says() -> None:
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    log = JsonLog(out)
    log("warning", message="é \ud800", odd=object())
    log.failed({"error": "DataError", "stage": None, "message": "x", "exit_code": 2})
    log.failed({"error": "KeyboardInterrupt", "stage": None, "message": "x", "exit_code": 1})
    out.seek(0)
    found = [json.loads(line) for line in out]
    assert [line["event"] for line in found] == ["warning", "failed", "stopped"]
    assert found[0]["message"] == "é \ud800"
