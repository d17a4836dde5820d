import json
import os
import re
import subprocess
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest

from heterrec_pipeline.files import storage
from heterrec_pipeline.publishing import lease
from heterrec_schemas.errors import CallError
from heterrec_schemas.leases import lease as held
from heterrec_schemas.leases import process
from heterrec_schemas.manifest import MANIFEST_NAME
from heterrec_schemas.stores.local import LocalStore

NOW = datetime(2024, 3, 4, 5, 6, 7, 89_999, tzinfo=UTC)
LONG = lease.DEAD_AFTER + timedelta(seconds=1)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shows signs of life often, and watches for a short time."""
    monkeypatch.setattr(held, "BEAT_SECONDS", 0.01)
    monkeypatch.setattr(held, "WATCH_SECONDS", 0.2)


def test_ids_sort_by_time_and_differ() -> None:
    ids = [lease.new_generation_id(NOW) for _ in range(5)]
    assert all(re.fullmatch(r"20240304T050607089Z-[0-9a-f]{8}", i) for i in ids)
    assert len(set(ids)) == 5
    assert max(ids) < lease.new_generation_id(NOW + timedelta(milliseconds=1))


def begun(output: Path, **changes: Any) -> Path:
    """An unfinished generation of this process with a changed lease; None removes a key."""
    name = lease.new_generation_id(NOW)
    lease.begin(str(output), name, NOW)
    folder = output / "generations" / name
    path = folder / lease.LEASE_NAME
    body = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({k: v for k, v in body.items() if v is not None}))
    (folder / "items").mkdir()
    (folder / "items" / ".items.tmp").write_bytes(b"half")
    return folder


def sweep(output: Path, now: datetime = NOW) -> list[str]:
    return lease.sweep(str(output), now)


def dead() -> int:
    """The id of a process that has ended."""
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


def test_a_living_builder_keeps_its_generation_for_ever(tmp_path: Path) -> None:
    folder = begun(tmp_path)
    assert sweep(tmp_path, NOW + 10 * LONG) == []
    assert (folder / "items" / ".items.tmp").exists()


def test_the_leftovers_of_a_dead_builder_are_swept(tmp_path: Path) -> None:
    gone, beyond = begun(tmp_path, pid=dead()), begun(tmp_path, pid=2**80)
    reused = begun(tmp_path, ticks=1)
    living, without_ticks = begun(tmp_path), begun(tmp_path, ticks=None)
    assert sweep(tmp_path) == sorted([gone.name, beyond.name, reused.name])
    assert not gone.exists()
    assert not reused.exists()
    assert living.exists()
    assert without_ticks.exists()


def test_a_process_that_nobody_has_waited_for_is_dead(tmp_path: Path) -> None:
    process = subprocess.Popen(["true"])
    while psutil.Process(process.pid).status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)
    folder = begun(tmp_path, pid=process.pid, ticks=None)
    assert sweep(tmp_path) == [folder.name]
    process.wait()


@pytest.mark.parametrize("step", [-86_400.0, -2.0, 2.0, 86_400.0 * 365])
def test_no_clock_makes_a_living_builder_look_dead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: float
) -> None:
    """A step of the clock moves the boot time, and with it all starts of processes that are given as times."""
    folder = begun(tmp_path)
    boot, now = psutil.boot_time(), time.time
    monkeypatch.setattr(psutil, "boot_time", lambda: boot + step)
    monkeypatch.setattr(psutil._pslinux, "boot_time", lambda: boot + step)
    monkeypatch.setattr(time, "time", lambda: now() + step)
    assert sweep(tmp_path, NOW + timedelta(seconds=step)) == []
    assert folder.exists()


ELSEWHERE = {"host": "elsewhere", "namespace": "another container"}


def silent(folder: Path, seconds: float) -> Path:
    """Let the last heartbeat of a lease be some seconds ago, by the clock of its disk."""
    path = folder / lease.LEASE_NAME
    moment = time.time() - seconds
    os.utime(path, (moment, moment))
    return folder


def test_elsewhere_a_builder_is_dead_an_hour_after_its_last_heartbeat(tmp_path: Path) -> None:
    young = silent(begun(tmp_path, **ELSEWHERE), 3500)
    old = silent(begun(tmp_path, pid=dead(), **ELSEWHERE), 3700)
    assert sweep(tmp_path) == [old.name]
    assert young.exists()
    assert not old.exists()
    assert sweep(tmp_path) == []
    assert lease.sweep(str(tmp_path), NOW, timedelta(minutes=50)) == [young.name]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["generations"]


@pytest.mark.parametrize("years", [-20, 20])
def test_no_clock_of_another_machine_counts(tmp_path: Path, years: int) -> None:
    """Neither the start that a builder elsewhere has noted, nor the time of the machine that sweeps."""
    then = (NOW + timedelta(days=365 * years)).isoformat()
    beating = begun(tmp_path, started=then, **ELSEWHERE)
    old = silent(begun(tmp_path, started=then, **ELSEWHERE), 3700)
    assert sweep(tmp_path, NOW - timedelta(days=365 * years)) == [old.name]
    assert beating.exists()


def test_elsewhere_a_builder_shows_that_it_lives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a machine was suspended, or its clock set, every lease on its disk looks old, until the next heartbeat."""
    name = lease.new_generation_id(NOW)
    path = tmp_path / "generations" / name / lease.LEASE_NAME
    lease.begin(str(tmp_path), name, NOW)
    waited = list[float]()

    def wait(seconds: float) -> None:
        waited.append(seconds)
        time.sleep(seconds)

    hour = timedelta(hours=1)
    with lease.keep(str(tmp_path / "generations" / name)):
        monkeypatch.setattr(process, "namespace", lambda: "that of the observer")
        now = held.store_now(str(tmp_path)) + 2 * hour
        with monkeypatch.context() as patch:
            patch.setattr(held, "store_now", lambda _: now)
            assert lease.sweep(str(tmp_path), NOW, hour, wait) == []
        assert json.loads(path.read_text())["beats"] > 0
    assert waited == [held.WATCH_SECONDS]
    beats = path.read_bytes()
    time.sleep(0.05)
    assert path.read_bytes() == beats
    silent(path.parent, 3700)
    assert sweep(tmp_path) == [name]


def test_where_processes_cannot_be_seen_the_counter_tells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "namespace", lambda: "")
    folder = begun(tmp_path, pid=dead())
    assert sweep(tmp_path) == []
    silent(folder, 3700)
    assert sweep(tmp_path) == [folder.name]


def test_a_remote_job_without_a_counter_is_judged_by_its_age(tmp_path: Path) -> None:
    name = lease.new_generation_id(NOW)
    lease.begin(str(tmp_path), name, NOW, engine="dataflow x")
    assert sweep(tmp_path, NOW + lease.DEAD_AFTER) == []
    assert sweep(tmp_path, NOW + LONG) == [name]


@pytest.mark.parametrize(
    "changes",
    [{"pid": "x"}, {"pid": -1}, {"pid": None}, {"started": "x"}, {"started": "9999-12-31"}],
)
def test_a_lease_that_says_too_little_is_left_alone_while_it_is_young(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    begun(tmp_path, **{**ELSEWHERE, **changes})
    assert sweep(tmp_path, NOW + timedelta(days=1)) == []


DAMAGED = [
    b"",
    b"{",
    b"[]",
    b"null",
    b'"x"',
    b"\xff\xfe",
    b"[" * 100_000,
    b'{"pid": ' + b"9" * 5000,
]


@pytest.mark.parametrize("data", DAMAGED, ids=range(len(DAMAGED)))
def test_without_a_lease_the_files_own_times_tell(tmp_path: Path, data: bytes) -> None:
    folder = begun(tmp_path)
    (folder / lease.LEASE_NAME).write_bytes(data)
    changed = datetime.fromtimestamp(os.stat(folder / lease.LEASE_NAME).st_ctime, UTC)
    assert sweep(tmp_path, changed + timedelta(days=1)) == []
    assert sweep(tmp_path, changed + LONG + timedelta(minutes=1)) == [folder.name]
    assert not folder.exists()


def test_a_published_generation_only_loses_a_dead_lease(tmp_path: Path) -> None:
    gone, living, bare = begun(tmp_path, pid=dead()), begun(tmp_path), begun(tmp_path)
    (bare / lease.LEASE_NAME).unlink()
    for folder in (gone, living, bare):
        (folder / MANIFEST_NAME).write_text("{}")
    assert sweep(tmp_path, NOW + 100 * LONG) == []
    assert [(f / lease.LEASE_NAME).exists() for f in (gone, living)] == [False, True]
    assert all((f / MANIFEST_NAME).exists() for f in (gone, living, bare))
    assert all((f / "items" / ".items.tmp").exists() for f in (gone, living, bare))


def test_a_folder_with_a_manifest_anywhere_in_it_stays(tmp_path: Path) -> None:
    folder = begun(tmp_path, pid=dead())
    (folder / "copies" / "one").mkdir(parents=True)
    (folder / "copies" / "one" / MANIFEST_NAME).write_text("{}")
    assert sweep(tmp_path, NOW + 100 * LONG) == []
    assert (folder / "items" / ".items.tmp").exists()


@pytest.mark.parametrize("name", ["backup", "20240304T050607089Z-0123abcd.old", "x-0123abcd"])
def test_folders_of_other_names_stay(tmp_path: Path, name: str) -> None:
    folder = begun(tmp_path, pid=dead())
    other = folder.rename(folder.with_name(name))
    assert sweep(tmp_path, NOW + 100 * LONG) == []
    (other / lease.LEASE_NAME).unlink()
    assert sweep(tmp_path, datetime.now(UTC) + 100 * LONG) == []
    assert (other / "items" / ".items.tmp").exists()


def test_links_are_not_followed(tmp_path: Path) -> None:
    output, elsewhere = tmp_path / "output", tmp_path / "elsewhere"
    outside = begun(elsewhere, pid=dead())
    (output / "generations").mkdir(parents=True)
    (output / "generations" / outside.name).symlink_to(outside)
    assert sweep(output, NOW + 100 * LONG) == []
    linked = tmp_path / "linked"
    linked.mkdir()
    (linked / "generations").symlink_to(elsewhere / "generations")
    assert sweep(linked, NOW + 100 * LONG) == []
    assert (outside / "items" / ".items.tmp").exists()

    inside = begun(output, pid=dead())
    for place in ("parts", "items/shards"):
        (inside / place).symlink_to(outside)
    (inside / "items" / "one").symlink_to(outside / lease.LEASE_NAME)
    assert sweep(output) == [inside.name]
    assert not inside.exists()
    assert (outside / "items" / ".items.tmp").exists()
    assert (outside / lease.LEASE_NAME).exists()


def test_a_lease_behind_a_link_is_not_read(tmp_path: Path) -> None:
    folder = begun(tmp_path)
    (folder / lease.LEASE_NAME).unlink()
    (folder / lease.LEASE_NAME).symlink_to("/dev/zero")
    assert sweep(tmp_path) == []
    assert lease.is_lost(str(folder))


def test_a_builder_that_moves_at_the_last_moment_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = silent(begun(tmp_path, pid=dead(), **ELSEWHERE), 3700)
    update = storage.update_bytes

    def late(path: str, change: Callable[[bytes | None], bytes | None], attempt: str) -> None:
        update(path, held.beaten, "beat")
        update(path, change, attempt)

    monkeypatch.setattr(storage, "update_bytes", late)
    assert sweep(tmp_path) == []
    assert (folder / "items" / ".items.tmp").exists()
    assert not lease.is_lost(str(folder))


def test_a_folder_that_is_being_deleted_is_not_revived(tmp_path: Path) -> None:
    name = lease.new_generation_id(NOW)
    folder = tmp_path / "generations" / name
    lease.begin(str(tmp_path), name, NOW)
    with lease.keep(str(tmp_path / "generations" / name)):
        taken = json.dumps({"taken": True}).encode()
        storage.update_bytes(str(folder / lease.LEASE_NAME), lambda _: taken, "sweeper")
        time.sleep(0.05)
        assert (folder / lease.LEASE_NAME).read_bytes() == taken
        assert lease.is_taken(str(folder))
        assert lease.is_lost(str(folder))
        assert sweep(tmp_path) == [name]
        time.sleep(0.05)
        assert not folder.exists()
    assert lease.is_lost(str(folder))
    assert not lease.is_taken(str(folder))


def test_a_beat_that_fails_is_followed_by_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = lease.new_generation_id(NOW)
    update, failed = LocalStore.update, threading.Event()

    def once(*arguments: Any) -> None:
        if not failed.is_set():
            failed.set()
            raise OSError(5, "the store has gone")
        update(*arguments)

    monkeypatch.setattr(LocalStore, "update", once)
    path = tmp_path / "generations" / name / lease.LEASE_NAME
    lease.begin(str(tmp_path), name, NOW)
    with lease.keep(str(tmp_path / "generations" / name)):
        end = time.monotonic() + 20
        while json.loads(path.read_text())["beats"] == 0 and time.monotonic() < end:
            time.sleep(0.01)
    assert failed.is_set()
    assert json.loads(path.read_text())["beats"] > 0


def test_an_empty_folder_is_the_rest_of_a_deletion(tmp_path: Path) -> None:
    folder = begun(tmp_path)
    lease.empty(str(folder))
    assert sorted(p.name for p in folder.iterdir()) == [lease.LEASE_NAME]
    (folder / lease.LEASE_NAME).unlink()
    changed = datetime.fromtimestamp(os.stat(folder).st_ctime, UTC)
    assert sweep(tmp_path, changed + timedelta(minutes=59)) == []
    assert sweep(tmp_path, changed + timedelta(minutes=61)) == [folder.name]
    assert not folder.exists()


def test_an_output_without_generations_needs_no_sweeping(tmp_path: Path) -> None:
    assert sweep(tmp_path / "absent") == []
    (tmp_path / "generations").mkdir()
    (tmp_path / "generations" / "a file").write_text("x")
    (tmp_path / "generations" / lease.new_generation_id(NOW)).write_text("x")
    assert sweep(tmp_path) == []


def test_discarding_takes_all_of_it(tmp_path: Path) -> None:
    folder = begun(tmp_path)
    lease.discard(str(folder))
    assert not folder.exists()
    lease.discard(str(folder))


def test_an_output_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "generations").write_text("a file")
    with pytest.raises(CallError, match=f"the output {tmp_path} cannot be written: "):
        lease.begin(str(tmp_path), "g", NOW)
