"""`--profile`: the trace of a whole build, as a viewer reads it."""

import gzip
import itertools
import json
import os
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from corner_shop import Shop

STAGES = ["List the log", "List the items", "Catalogue", "Users", "Log", "Rejects"]
STAGES += ["Histories", "Splits", "Sequences", "Features", "Publish"]
PHASES = [
    "check the spec and the input",
    "check a sample of the input",
    "draw the graph",
    "run the graph",
]
Event = dict[str, Any]
TINY = 0.002
"""Tolerance in microseconds: times are rounded to thousandths."""


def spans(trace: Event) -> list[Event]:
    return [e for e in trace["traceEvents"] if e["ph"] == "X"]


def end(event: Event) -> float:
    return float(event["ts"] + event["dur"])


def check(trace: Event) -> None:
    """The trace is valid for viewers, and the spans of a thread nest and fit into each other."""
    names = {(e["pid"], e["tid"]) for e in trace["traceEvents"] if e["name"] == "thread_name"}
    lanes = defaultdict(list)
    for event in spans(trace):
        assert event["ts"] >= 0
        assert event["dur"] >= 0
        assert (event["pid"], event["tid"]) in names
        lanes[event["pid"], event["tid"]].append(event)
    for lane in lanes.values():
        lane.sort(key=lambda e: (e["ts"], -e["dur"]))
        open_: list[Event] = []
        for event in lane:
            while open_ and end(open_[-1]) <= event["ts"] + TINY:
                open_.pop()
            assert not open_ or end(event) <= end(open_[-1]) + TINY, (event, open_[-1])
            open_.append(event)
    whole = next(e for e in spans(trace) if e["name"] == "build")
    for event in spans(trace):
        assert end(event) <= end(whole) + TINY + 1000 * (event["cat"] == "stage"), event
    # The phases of the build follow each other, and no step works between them.
    phases = [next(e for e in spans(trace) if e["name"] == name) for name in PHASES]
    assert all(end(a) <= b["ts"] + TINY for a, b in itertools.pairwise(phases))
    assert sum(e["dur"] for e in phases) <= whole["dur"]
    running = phases[-1]
    for event in spans(trace):
        if event["cat"] in ("step", "read", "spilled", "fetched", "written"):
            assert running["ts"] - TINY <= event["ts"], event
            assert end(event) <= end(running) + TINY, event


def rows(trace: Event, kind: str) -> int:
    return sum(e["args"]["rows"] for e in spans(trace) if e["cat"] == kind)


def test_the_trace_of_a_build(shop: Shop) -> None:
    target = shop.folder / "trace.json"
    done = shop.build("--profile", target, "--json")
    assert done.code == 0, done.err
    body, trace = json.loads(done.out), json.loads(target.read_text())
    check(trace)
    assert trace["otherData"] == {
        "generation": shop.latest(),
        "name": "corner-shop",
        "runner": "FnApiRunner",
        "spans_left_out": 0,
    }
    drawn = {e["name"]: e for e in spans(trace) if e["cat"] == "stage"}
    assert sorted(drawn) == sorted(STAGES)
    steps = {e["name"] for e in spans(trace) if e["cat"] == "step"}
    assert {"Log/read", "Catalogue/write items/write shard", "Publish/commit"} <= steps
    assert "Histories/bucket rows: finish_bundle" in steps
    for kind in ("read", "spilled", "fetched", "written"):
        assert rows(trace, kind) == sum(s[f"rows_{kind}"] for s in body["stages"]) > 0
    written = {e["name"]: e["args"] for e in spans(trace) if e["cat"] == "written"}
    for file in body["manifest"]["files"]:
        found = written[f"write {file['path']}"]
        assert (found["rows"], found["bytes"]) == (file["rows"] or 0, file["bytes"])
    stages = {s["stage"]: s for s in body["stages"]}
    for event in spans(trace):  # a stage lasts from its first step to its last
        if event["cat"] == "step":
            stage = drawn[event["name"].split("/")[0]]
            assert stage["ts"] - 2000 <= event["ts"], event
            assert end(event) <= end(stage) + 2000, event
    assert drawn["Log"]["args"]["rows_read"] == stages["Log"]["rows_read"] == 200
    assert list(Path(shop.folder).glob("*.tmp")) == []


@pytest.mark.slow
def test_worker_processes_are_in_it(shop: Shop) -> None:
    target = shop.folder / "trace.json.gz"
    flags = ["--direct_num_workers=2", "--direct_running_mode=multi_processing"]
    done = shop.build("--profile", target, "--quiet", "--", *flags)
    assert done.code == 0, done.err
    trace = json.loads(gzip.decompress(target.read_bytes()))
    check(trace)
    named = {
        e["pid"]: e["args"]["name"] for e in trace["traceEvents"] if e["name"] == "process_name"
    }
    workers = {pid for pid, name in named.items() if name.startswith("worker")}
    assert 1 <= len(workers) <= 2
    assert {e["pid"] for e in spans(trace) if e["cat"] == "step"} == workers
    files = sum(e["cat"] == "written" for e in spans(trace))
    assert files == len(shop.manifest()["files"])


def test_the_trace_of_a_failed_build(shop: Shop) -> None:
    target = shop.folder / "trace.json"
    shop.spec["items"]["source"]["path"] = "users.csv"
    shop.spec["items"]["key"] = "user_id"
    shop.spec["items"]["features"] = [shop.feature("look")]
    done = shop.build("--profile", target)
    assert done.code == 2
    trace = json.loads(target.read_text())
    assert any(e["cat"] == "stage" for e in spans(trace))
    assert any(e["name"] == "build" for e in spans(trace))


@pytest.mark.parametrize("target", ["", "nowhere/trace.json", "gs://bucket/trace.json"])
def test_a_trace_that_cannot_be_written_is_refused_first(shop: Shop, target: str) -> None:
    before = shop.state()
    done = shop.build("--profile", shop.folder / target if "://" not in target else target)
    assert done.code == 2
    assert "expected a local file to write the trace to" in done.message
    assert shop.state() == before


def test_a_device_or_pipe_is_not_replaced_by_a_trace(shop: Shop) -> None:
    pipe = shop.folder / "pipe"
    os.mkfifo(pipe)
    done = shop.build("--profile", pipe)
    assert done.code == 2
    assert "expected a local file to write the trace to" in done.message
    assert pipe.is_fifo()
