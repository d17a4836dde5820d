"""Leases, and input that changes, in both stores."""

import json
import time
from datetime import UTC, datetime, timedelta

import pytest
from emulators import Emulator

from heterrec_pipeline.files import storage
from heterrec_pipeline.publishing import lease
from heterrec_pipeline.reading.files import changed_input, input_files
from heterrec_pipeline.reading.formats.text import TextStream
from heterrec_schemas.errors import RunError
from heterrec_schemas.feature_spec import Source
from heterrec_schemas.leases import lease as held
from heterrec_schemas.leases import process

NOW = datetime(2024, 3, 4, tzinfo=UTC)
LATER = NOW + lease.DEAD_AFTER + timedelta(seconds=1)


@pytest.mark.parametrize("store", ["s3"], indirect=True)
def test_a_builder_elsewhere_is_swept_only_when_it_is_silent(
    store: Emulator, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(held, "BEAT_SECONDS", 0.05)
    monkeypatch.setattr(process, "namespace", lambda: "")
    name, after = lease.new_generation_id(NOW), timedelta(seconds=2)
    root = f"{folder}/generations/{name}"
    lease.begin(folder, name, NOW)
    storage.write_bytes(f"{folder}/generations/backup/building.json", b"{}")
    with lease.keep(root):
        time.sleep(3)
        assert lease.sweep(folder, LATER, after, wait=pytest.fail) == []
    assert json.loads(storage.read_bytes(f"{root}/building.json"))["beats"] > 0
    assert not lease.is_lost(root)
    assert lease.sweep(folder, LATER) == []
    time.sleep(3.1)

    def beat(seconds: float) -> None:
        assert seconds == held.WATCH_SECONDS
        storage.update_bytes(f"{root}/building.json", held.beaten, "beat")

    # A time shorter than some heartbeats proves nothing.
    assert lease.sweep(folder, LATER, after, wait=beat) == []
    monkeypatch.setattr(held, "WATCH_SECONDS", 1)
    time.sleep(3.1)
    assert lease.sweep(folder, LATER, after, wait=pytest.fail) == [name]
    assert lease.is_lost(root)
    assert storage.files_below(folder) == [f"{folder}/generations/backup/building.json"]


def test_the_time_of_an_object_is_that_of_its_last_content(store: Emulator, folder: str) -> None:
    path = f"{folder}/a.json"
    assert storage.modified(path) is None
    storage.write_bytes(path, b"1")
    first = storage.modified(path)
    assert first is not None
    assert abs(datetime.now(UTC) - first) < timedelta(minutes=1)
    assert timedelta(0) <= held.store_now(folder) - first < timedelta(minutes=1)
    time.sleep(1.1)
    storage.update_bytes(path, lambda _: b"2", "x")
    second = storage.modified(path)
    assert second is not None
    assert second > first
    assert storage.files_below(folder) == [path]
    for _ in range(2):
        storage.delete_now(path)
    assert storage.modified(path) is None


def test_a_lease_that_is_gone_is_not_revived(
    store: Emulator, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(held, "BEAT_SECONDS", 0.02)
    name = lease.new_generation_id(NOW)
    root = f"{folder}/generations/{name}"
    lease.begin(folder, name, NOW)
    with lease.keep(root):
        time.sleep(0.2)
        storage.delete_tree(root)
        time.sleep(0.2)
    assert storage.files_below(root) == []


def test_a_replaced_object_is_told(store: Emulator, folder: str) -> None:
    storage.write_bytes(f"{folder}/log.csv", b"a\n1\n2")
    (file,) = input_files(Source(path="*.csv"), folder, "interactions")
    (growing,) = input_files(Source(path="*.csv", append_only=True), folder, "interactions")
    assert (file.bytes, growing.bytes) == (5, 4)
    sha256 = storage.sha256_of(growing.path, growing.stop)
    storage.write_bytes(f"{folder}/log.csv", b"a\n1\n23\n")
    with TextStream(growing) as stream:
        assert stream.read(100) == b"a\n1\n"
    assert changed_input([growing], {"log.csv": sha256}) is None
    assert "log.csv: got 7 bytes of " in str(changed_input([file]))
    storage.write_bytes(f"{folder}/log.csv", b"b\n1\n23\n")
    assert "its first 4 bytes are others now" in str(changed_input([growing], {"log.csv": sha256}))
    storage.write_bytes(f"{folder}/log.csv", b"b\n")
    assert "expected at least 4" in str(changed_input([growing], {"log.csv": sha256}))
    with pytest.raises(RunError, match="became shorter"), TextStream(growing) as stream:
        stream.read(100)
    storage.delete_files([f"{folder}/log.csv"])
    assert "log.csv is gone" in str(changed_input([growing]))
