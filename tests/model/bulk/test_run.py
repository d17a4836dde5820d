import fcntl
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from bulk_calls import USERS, Call
from made_bundle import clustered, made_bundle, made_histories

from heterrec_model.bulk.job import BulkManifest, shard_rows
from heterrec_model.bulk.run import BulkProgress
from heterrec_model.bundle.reader import Bundle
from heterrec_schemas.errors import BundleError, CallError, DataError
from heterrec_schemas.hashing import file_sha256


def files(folder: Path) -> dict[str, bytes]:
    """All files of an output but locks."""
    found = (p for p in folder.rglob("*") if p.is_file() and not p.name.startswith("_lock"))
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in found}


def test_bytes_do_not_depend_on_workers_and_parts(
    call: Call, bundle: Bundle, tmp_path: Path
) -> None:
    reports: list[BulkProgress] = []
    result = call(output=tmp_path / "one", workers=2, on_progress=reports.append)
    assert (result.written, result.kept) == (5, 0)
    assert (reports[-1].users, reports[-1].of_users) == (USERS, USERS)
    manifest = result.manifest
    assert manifest is not None
    assert manifest.rows == USERS
    assert manifest.fallbacks == {"popular": USERS // 10}
    assert manifest.job.identity.fingerprint == bundle.fingerprint
    stored = BulkManifest.model_validate_json((tmp_path / "one/manifest.json").read_bytes())
    assert stored == manifest
    for file in manifest.files:
        assert file_sha256(tmp_path / "one" / file.path) == file.sha256
    table = pq.read_table([tmp_path / "one" / file.path for file in manifest.files])
    assert table["user_id"].to_pylist() == made_histories(USERS, 500)["user_id"].to_pylist()

    first = call(output=tmp_path / "parts", part="1/2")
    assert (first.written, first.manifest) == (3, None)
    assert not (tmp_path / "parts/manifest.json").exists()
    second = call(output=tmp_path / "parts", part="2/2")
    assert second.manifest == manifest
    assert files(tmp_path / "parts") == files(tmp_path / "one")


def test_other_jobs_and_folders_are_refused(call: Call, tmp_path: Path) -> None:
    with pytest.raises(CallError, match="where: there is no feature 'color'"):
        call(where={"color": ["red"]})
    assert not files(tmp_path / "out")  # a wrong call leaves no job behind
    call(where={"colour": "red"})
    before = files(tmp_path / "out")
    with pytest.raises(
        CallError, match=r"another bulk job: k 7 there, 8 now; where .*red.* there, \{\} now"
    ):
        call(k=8)
    other = made_bundle(
        tmp_path / "other",
        clustered(500, 8, 1),
        clustered(9, 8, 2),
        name="two",
        users=made_histories(USERS, 500),
    )
    with pytest.raises(CallError) as error:
        call(bundle=other.folder, where={"colour": ["red"]})
    assert other.fingerprint in str(error.value)
    assert json.loads(before["job.json"])["identity"]["fingerprint"] in str(error.value)
    with open(tmp_path / "out/_lock") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(CallError, match="another process writes to"):
            call(where={"colour": ["red"]})
    assert files(tmp_path / "out") == before
    (tmp_path / "full").mkdir()
    (tmp_path / "full/mine.txt").touch()
    with pytest.raises(CallError, match=r"got mine\.txt, expected an empty"):
        call(output=tmp_path / "full")


def test_calls_that_are_refused(call: Call, tmp_path: Path) -> None:
    for arguments, words in (
        ({"k": 0}, "k: got 0"),
        ({"workers": 0}, "workers: got 0"),
        ({"part": "3/2"}, "part: got '3/2'"),
        ({"search": "fast"}, "exact or index"),
        ({"users": tmp_path / "none.txt"}, "there is no file"),
    ):
        with pytest.raises(CallError, match=words):
            call(**arguments)
    with pytest.raises(BundleError, match="has no index"):
        call(search="index")
    bare = made_bundle(tmp_path / "bare", clustered(9, 8, 1), clustered(9, 8, 2))
    with pytest.raises(BundleError, match="has no histories"):
        call(bundle=bare.folder)


def test_a_file_of_users_with_histories(call: Call, tmp_path: Path) -> None:
    users = tmp_path / "users.jsonl"
    lines: list[dict[str, Any]] = [
        {"user": "u5"},
        {"user": "nobody"},
        {"history": {"items": ["i20", "i99999"]}},
        {"user": "me", "history": {"items": ["i20"]}},
    ]
    users.write_text("\n".join(map(json.dumps, lines)))
    result = call(users=users, shards=1)
    rows = pq.read_table(tmp_path / "out/recommendations-00000-of-00001.parquet").to_pylist()
    assert [row["user_id"] for row in rows] == ["u5", "nobody", None, "me"]
    assert [row["fallback"] for row in rows] == [None, "popular", None, None]
    assert rows[2]["item_id"] == rows[3]["item_id"]
    assert result.manifest is not None
    assert result.manifest.job.users == file_sha256(users)
    users.write_text('{"user": "u5"}\n{"history": {"items": ["i20"], "times": [3, 4]}}')
    with pytest.raises(DataError, match="line 2: times: got 2, expected one for each of 1"):
        call(users=users, output=tmp_path / "bad")


def test_kills_change_nothing(call: Call, bundle: Bundle, tmp_path: Path) -> None:
    call(output=tmp_path / "whole", shards=60)
    code = (
        "from heterrec_model.bulk.run import recommend_all\n"
        f"recommend_all({str(bundle.folder)!r}, {str(tmp_path / 'out')!r}, k=7, workers=2, shards=60,"
        " recommender='made_bundle:open_stub')"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    for least in (1, 30):
        process = subprocess.Popen([sys.executable, "-c", code], env=environment)
        while len(list((tmp_path / "out").glob("rec*"))) < least and process.poll() is None:
            time.sleep(0.001)
        process.kill()
        process.wait()
        assert not (tmp_path / "out/manifest.json").exists()
    damaged = tmp_path / "out/recommendations-00000-of-00060.parquet"
    damaged.write_bytes(damaged.read_bytes()[:-9] + b"#" * 9)
    for draft in (
        ".recommendations-00059-of-00060.parquet.0123",
        "_shards/00003-of-00060.json.0123.tmp",
        "manifest.json.0123.tmp",
        "job.json.0123.tmp",
    ):
        (tmp_path / "out" / draft).touch()
    result = call(shards=60)
    assert result.kept >= 20
    assert result.written >= 1
    assert files(tmp_path / "out") == files(tmp_path / "whole")
    assert call(shards=60).written == 0


def test_shards_cover_all_rows() -> None:
    for rows in (0, 1, 10, 1234):
        parts = [shard_rows(shard, 7, rows) for shard in range(7)]
        assert [start for start, _ in parts] == [0, *(stop for _, stop in parts[:-1])]
        assert parts[-1][1] == rows
