"""A new bundle is opened beside the one in use; a bad one is refused."""

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest
from running_service import Running, run_service
from stub_bundle import StubRecommender, write_bundle

from heterrec_model.service import reload
from heterrec_model.service.reload import bundle_folder, write_pointer
from heterrec_schemas.errors import BundleError, RunError


@pytest.fixture
def pointer(tmp_path: Path) -> Path:
    for seed in (1, 2):
        write_bundle(tmp_path / "bundles" / str(seed), seed)
    file = tmp_path / "current.json"
    write_pointer(tmp_path / "bundles" / "1", file)
    return file


@pytest.fixture
def following(pointer: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    monkeypatch.setattr(reload, "POLL_SECONDS", 0.02)
    running = run_service(pointer)
    yield running
    running.service.stop()
    running.thread.join(10)


def wait(running: Running, outcome: str, count: int) -> None:
    name = f'heterrec_reloads_total{{outcome="{outcome}"}}'
    deadline = time.monotonic() + 5
    while running.metric(name) < count:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_new_bundle_replaces_the_old_one(following: Running, pointer: Path) -> None:
    folder = pointer.parent / "bundles"
    assert following.post("/recommend", {"user": 1})[1]["checkpoint"] == "step-1"
    write_pointer(folder / "2", pointer)
    wait(following, "loaded", 1)
    _, reply = following.post("/recommend", {"user": 1})
    assert reply["checkpoint"] == "step-2"
    [wanted] = StubRecommender(folder / "2").recommend([1])
    assert [i["item_id"] for i in reply["answers"][0]["items"]] == wanted.item_ids
    assert following.headers["x-heterrec-bundle"] == reply["fingerprint"]
    info = f'checkpoint="step-2",fingerprint="{reply["fingerprint"]}",generation="g",model="stub"'
    assert following.metric(f"heterrec_bundle_info{{{info}}}") == 1


def test_a_bad_bundle_is_refused_and_the_old_one_goes_on(
    following: Running, pointer: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = pointer.parent / "bundles"
    damaged = folder / "damaged"
    shutil.copytree(folder / "2", damaged)
    vectors = bytearray((damaged / "item_vectors.npy").read_bytes())
    vectors[-1] ^= 1
    (damaged / "item_vectors.npy").write_bytes(vectors)
    unfinished = folder / "unfinished"
    shutil.copytree(folder / "2", unfinished)
    (unfinished / "bundle.json").unlink()
    with caplog.at_level(logging.ERROR):
        for count, text in enumerate(
            [
                json.dumps({"bundle": str(damaged)}),
                json.dumps({"bundle": str(unfinished)}),
                json.dumps({"bundle": "nowhere"}),
                json.dumps({"bundel": "bundles/2"}),
                '{"bundle": ',
            ],
            1,
        ):
            draft = pointer.with_name("draft")
            draft.write_text(text)
            draft.replace(pointer)  # the service must not find it empty
            wait(following, "refused", count)
            status, reply = following.post("/recommend", {"user": 1})
            assert (status, reply["checkpoint"]) == (200, "step-1")
    for words in ("differs from bundle.json", "is not finished", "is no bundle", "cannot be read"):
        assert words in caplog.text
    pointer.unlink()
    time.sleep(0.1)
    assert following.post("/recommend", {"user": 1})[0] == 200
    write_pointer(folder / "2", pointer)
    wait(following, "loaded", 1)


def test_a_pointer_names_a_folder_relative_to_itself(pointer: Path, tmp_path: Path) -> None:
    assert json.loads(pointer.read_text()) == {"bundle": "bundles/1"}
    assert bundle_folder(pointer).resolve() == (tmp_path / "bundles" / "1").resolve()
    assert bundle_folder(tmp_path / "bundles" / "1") == tmp_path / "bundles" / "1"
    with pytest.raises(BundleError, match="a folder"):
        write_pointer(tmp_path / "bundles" / "1", tmp_path / "bundles")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bundles", "current.json"]


def test_a_pointer_that_cannot_be_written(pointer: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"cannot write .*current\.json/next\.json: File exists"):
        write_pointer(tmp_path / "bundles" / "1", pointer / "next.json")


def test_sighup_opens_again_and_sigterm_ends_without_a_word_about_users(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "b")
    program = Path(__file__).with_name("stub_bundle.py")
    with subprocess.Popen(
        [sys.executable, str(program), str(bundle)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        address = json.loads(process.stdout.readline())["address"]
        process.send_signal(signal.SIGHUP)
        deadline = time.monotonic() + 5
        text = ""
        while 'reloads_total{outcome="loaded"} 1.0' not in text and time.monotonic() < deadline:
            time.sleep(0.05)
            with urlopen(f"{address}/metrics") as answer:
                text = answer.read().decode()
        assert 'reloads_total{outcome="loaded"} 1.0' in text
        process.terminate()
        log = process.stderr.read()
    assert process.returncode == 0
    assert [line for line in log.splitlines() if "INFO answers now come from" not in line] == []
    assert os.listdir(bundle)
