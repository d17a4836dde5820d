import json
import os
import re
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest

from heterrec_pipeline.publishing import lease
from heterrec_schemas.errors import CallError
from heterrec_schemas.manifest import MANIFEST_NAME

NOW = datetime(2024, 3, 4, 5, 6, 7, 89_999, tzinfo=UTC)
LONG = lease.DEAD_AFTER + timedelta(seconds=1)


def test_ids_sort_by_time_and_differ() -> None:
    ids = [lease.new_generation_id(NOW) for _ in range(5)]
    assert all(re.fullmatch(r"20240304T050607089Z-[0-9a-f]{8}", i) for i in ids)
    assert len(set(ids)) == 5
    assert max(ids) < lease.new_generation_id(NOW + timedelta(milliseconds=1))


def begun(output: Path, name: str, **changes: Any) -> Path:
    """An unfinished generation of this process with a changed lease; None removes a key."""
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


def test_a_living_builder_keeps_its_generation_for_ever(tmp_path: Path) -> None:
    folder = begun(tmp_path, "g")
    assert sweep(tmp_path, NOW + 10 * LONG) == []
    assert (folder / "items" / ".items.tmp").exists()


def test_the_leftovers_of_a_dead_builder_are_swept(tmp_path: Path) -> None:
    started = psutil.Process().create_time()
    gone = begun(tmp_path, "gone", pid=2**31 - 1)
    reused = begun(tmp_path, "reused", process_started=started - 5)
    living = begun(tmp_path, "living", process_started=started)
    assert sorted(sweep(tmp_path)) == ["gone", "reused"]
    assert not gone.exists()
    assert not reused.exists()
    assert living.exists()


@pytest.mark.parametrize("changes", [{"host": "elsewhere"}, {"namespace": "another container"}])
def test_elsewhere_only_time_tells(tmp_path: Path, changes: dict[str, str]) -> None:
    folder = begun(tmp_path, "g", pid=2**31 - 1, **changes)
    assert sweep(tmp_path, NOW + lease.DEAD_AFTER) == []
    assert folder.exists()
    assert sweep(tmp_path, NOW + LONG) == ["g"]
    assert not folder.exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"host": None},
        {"pid": "x", "host": socket.gethostname()},
        {"host": "elsewhere", "started": "x"},
    ],
)
def test_a_lease_that_says_too_little_is_left_alone(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    begun(tmp_path, "g", **changes)
    assert sweep(tmp_path, NOW + LONG) == []


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '"x"'])
def test_without_a_lease_the_files_own_times_tell(tmp_path: Path, text: str) -> None:
    folder = begun(tmp_path, "g")
    (folder / lease.LEASE_NAME).write_text(text)
    changed = datetime.fromtimestamp(os.stat(folder / lease.LEASE_NAME).st_ctime, UTC)
    assert sweep(tmp_path, changed + timedelta(days=1)) == []
    assert sweep(tmp_path, changed + LONG + timedelta(minutes=1)) == ["g"]
    assert not folder.exists()


def test_a_published_generation_only_loses_a_dead_lease(tmp_path: Path) -> None:
    dead = begun(tmp_path, "dead", pid=2**31 - 1)
    living = begun(tmp_path, "living")
    bare = begun(tmp_path, "bare")
    (bare / lease.LEASE_NAME).unlink()
    for folder in (dead, living, bare):
        (folder / MANIFEST_NAME).write_text("{}")
    assert sweep(tmp_path, NOW + 100 * LONG) == []
    assert [(f / lease.LEASE_NAME).exists() for f in (dead, living)] == [False, True]
    assert all((f / MANIFEST_NAME).exists() for f in (dead, living, bare))


def test_an_output_without_generations_needs_no_sweeping(tmp_path: Path) -> None:
    assert sweep(tmp_path / "absent") == []
    (tmp_path / "generations").mkdir()
    (tmp_path / "generations" / "a file").write_text("x")
    assert sweep(tmp_path) == []


def test_discarding_takes_all_of_it(tmp_path: Path) -> None:
    folder = begun(tmp_path, "g")
    lease.discard(str(folder))
    assert not folder.exists()
    lease.discard(str(folder))


def test_an_output_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "generations").write_text("a file")
    with pytest.raises(CallError, match=f"the output {tmp_path} cannot be written: "):
        lease.begin(str(tmp_path), "g", NOW)
