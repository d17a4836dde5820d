"""`--log-json`: the lines of builds that succeed, fail or are stopped."""

import json
import signal
import time
from datetime import datetime
from typing import Any

import pyarrow.parquet as pq
import pytest
from corner_shop import Finished, Shop, start

from heterrec_pipeline.building import BuildConfig, build
from heterrec_pipeline.sequences import split
from heterrec_schemas.errors import RejectRatioError, RunError
from heterrec_schemas.feature_spec import parse_spec

ALWAYS = ["time", "event", "generation", "runner"]
MOVED = [f"{w}_{k}" for k in ("read", "spilled", "fetched", "written") for w in ("rows", "bytes")]
STAGE = ["stage", "started", "ended", "seconds", "busy_seconds", *MOVED, "complete"]
KEYS = {
    "begin": ["name", "output"],
    "stage_began": ["stage"],
    "stage": STAGE,
    "warning": ["message"],
    "published": ["path", "content_sha256", "files", "bytes", "swept", "seconds"],
    "log": ["level", "logger", "message"],
    "failed": ["error", "stage", "message", "exit_code"],
    "stopped": ["error", "stage", "message", "exit_code"],
}
"""The keys of each event, on which log collectors rely."""
Line = dict[str, Any]


def lines(done: Finished) -> list[Line]:
    """Every line of stderr; each has exactly the keys of its event, and a log record may have a traceback."""
    found = [json.loads(line) for line in done.err.splitlines()]
    for line in found:
        keys = [key for key in line if (line["event"], key) != ("log", "traceback")]
        assert keys == ALWAYS + KEYS[line["event"]]
        assert datetime.fromisoformat(line["time"]).utcoffset() is not None
    return found


def events(found: list[Line], event: str) -> list[Line]:
    return [line for line in found if line["event"] == event]


def test_a_good_run(shop: Shop) -> None:
    shop.feature("look").update(groups=1, quantiles=9)
    done = shop.build("--log-json")
    assert done.code == 0
    found = lines(done)
    (warning,) = events(found, "warning")
    assert "6561 codes per group" in warning["message"]
    assert (warning["generation"], warning["runner"]) == (None, None)
    told = found[1:]
    assert events(told, "log") == []
    assert {line["generation"] for line in told} == {shop.latest()}
    assert {line["runner"] for line in told} == {"FnApiRunner"}
    assert told[0]["event"] == "begin"
    assert told[0]["output"] == str(shop.output)
    began = [line["stage"] for line in events(told, "stage_began")]
    stages = events(told, "stage")
    assert sorted(began) == sorted(line["stage"] for line in stages)
    assert len(set(began)) == len(began) == 11
    assert all(line["complete"] for line in stages)
    assert all(line["started"] <= line["ended"] for line in stages)
    assert stages == sorted(stages, key=lambda line: line["started"])
    log = next(line for line in stages if line["stage"] == "Log")
    assert log["rows_read"] == 200
    manifest = shop.manifest()
    last = told[-1]
    assert (last["event"], last["path"]) == (
        "published",
        f"{shop.output}/generations/{shop.latest()}",
    )
    assert last["content_sha256"] == manifest["content_sha256"]
    assert last["files"] == len(manifest["files"])
    assert last["bytes"] == sum(f["bytes"] for f in manifest["files"])


def test_a_mistake_in_the_spec(shop: Shop) -> None:
    shop.feature("price")["column"] = "prize"
    done = shop.build("--log-json")
    assert done.code == 2
    (line,) = lines(done)
    assert line["event"] == "failed"
    assert (line["error"], line["exit_code"], line["stage"]) == ("SchemaMismatchError", 2, None)
    assert "no column 'prize'" in line["message"]


def test_bad_input(shop: Shop) -> None:
    names, *rows = shop.rows("items.csv")
    shop.put("items.csv", [names, *([key, brand, ""] for key, brand, _ in rows)])
    done = shop.build("--log-json", "--json")
    assert done.code == 2
    found = lines(done)
    assert events(found, "published") == []
    assert found[0]["event"] == "begin"
    last = found[-1]
    assert last["event"] == "failed"
    assert (last["error"], last["stage"], last["exit_code"]) == ("DataError", "Catalogue", 2)
    assert "every value of column 'price' in items is missing" in last["message"]
    assert last["generation"] == found[0]["generation"] not in shop.generations()
    assert done.out.count("\n") == 1
    assert json.loads(done.out) == {key: last[key] for key in KEYS["failed"]}
    assert "Catalogue" in [line["stage"] for line in events(found, "stage")]
    assert not any(line["complete"] for line in events(found, "stage"))


def test_debug_adds_lines_and_never_text(shop: Shop) -> None:
    shop.put("items.csv", [["item_id", "brand", "price"], ["i00", "Kiwi", ""]])
    done = shop.build("--log-json", "--debug")
    found = [json.loads(line) for line in done.err.splitlines()]
    assert {"level", "logger", "message"} <= set(events(found, "log")[0])
    assert found[-1]["event"] == "failed"
    assert found[-1]["traceback"].startswith("Traceback")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_interrupted_run(shop: Shop, number: signal.Signals) -> None:
    before = shop.generations()
    process = start("build", *shop.arguments(), "--log-json")
    while process.told().count("\n") < 2 and process.poll() is None:
        time.sleep(0.005)
    read = process.told().splitlines()[:2]
    assert [json.loads(line)["event"] for line in read] == ["begin", "stage_began"]
    time.sleep(0.05)
    process.send_signal(number)
    out, err = process.communicate(timeout=120)
    found = lines(Finished(process.wait(), out, err))
    assert process.returncode == 1
    last = found[-1]
    assert (last["event"], last["error"], last["exit_code"]) == ("stopped", "KeyboardInterrupt", 1)
    assert last["message"] == "stopped; nothing was published"
    assert not any(line["complete"] for line in events(found, "stage"))
    assert shop.generations() == before


def test_too_many_rejects_end_a_build_once_the_tables_are_read(shop: Shop) -> None:
    """The sample cannot tell: rows of a joined table are rejected only if an item has their key."""
    ids, vectors = shop.vectors()
    shop.put_vectors(ids, [*vectors[:-3], [1.0], [2.0], [3.0]])
    text = shop.spec_path.read_text()
    config = BuildConfig(parse_spec(text), text, str(shop.input), str(shop.output))
    began: list[str] = []
    with pytest.raises(RejectRatioError, match=r"^items.joins\[0\]: 3 of 20 rows \(15.0%\)"):
        build(config, on_event=lambda event, **fields: began.append(fields.get("stage", event)))
    assert {"Catalogue", "Log", "Rejects"} <= set(began)
    assert not {"Splits", "Sequences"} & set(began)


def test_a_sample_ends_a_build_before_it_begins(shop: Shop) -> None:
    shop.add("log.csv", [["u1", "i01", "soon", "view", "900"]] * 9)
    done = shop.build("--log-json")
    assert done.code == 2
    (line,) = lines(done)
    assert (line["event"], line["error"], line["stage"]) == ("failed", "RejectRatioError", None)
    assert "interactions: 9 of 209 rows (4.3%)" in line["message"]


# --- failures name their stage ------------------------------------------------------------------


def test_a_failure_of_the_code_names_its_stage(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("oh dear")

    monkeypatch.setattr(split, "split_ranges", broken)
    text = shop.spec_path.read_text()
    config = BuildConfig(parse_spec(text), text, str(shop.input), str(shop.output))
    told: list[tuple[str, str]] = []
    with pytest.raises(RunError, match=r"^the run failed in the stage Splits: .*oh dear"):
        build(
            config, on_event=lambda event, **fields: told.append((event, fields.get("stage", "")))
        )
    assert ("stage_began", "Splits") in told
    assert ("stage", "Histories") in told


def test_a_failure_of_the_store_names_its_stage(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device", "x")

    monkeypatch.setattr(pq, "ParquetWriter", full)
    text = shop.spec_path.read_text()
    config = BuildConfig(parse_spec(text), text, str(shop.input), str(shop.output))
    with pytest.raises(RunError, match=r"^the run failed in the stage \w+: .*cannot be written"):
        build(config)
