"""Builds that are killed, stopped, concurrent or out of space: readers never notice."""

import functools
import json
import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from corner_shop import Finished, Running, Shop, heterrec, start

from heterrec_pipeline.building import BuildConfig, build
from heterrec_pipeline.files import storage
from heterrec_pipeline.files.shards import write_shard
from heterrec_pipeline.job import Job
from heterrec_pipeline.publishing import lease, publish_graph
from heterrec_pipeline.publishing.publish import publish_generation
from heterrec_schemas import open_generation
from heterrec_schemas.errors import CallError, GenerationError, RunError
from heterrec_schemas.feature_spec import parse_spec

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def until(condition: Callable[[], Any], process: Running, seconds: float = 60) -> Any:
    """Wait until a condition holds; returns its value, or None if the process ended first."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := condition():
            return found
        if process.poll() is not None:
            return None
        time.sleep(0.002)
    raise AssertionError("waited in vain")


def begun(shop: Shop, before: list[str]) -> list[Path]:
    """The folders of generations that have begun since, with a lease."""
    folders = [shop.output / "generations" / g for g in shop.generations() if g not in before]
    return [f for f in folders if (f / lease.LEASE_NAME).exists()]


def ended(process: Running) -> Finished:
    out, err = process.communicate(timeout=120)
    return Finished(process.returncode, out, err)


def whole(shop: Shop) -> str:
    """The id of the latest generation, after comparing all its hashes."""
    return open_generation(shop.output, verify="hashes").manifest.generation


# --- killed and stopped ----------------------------------------------------------------------------


def _has(*pattern: str) -> Callable[[Path], bool]:
    return lambda folder: any(any(folder.glob(p)) for p in pattern)


MOMENTS: list[tuple[Callable[[Path], bool], float]] = [
    (_has(lease.LEASE_NAME), 0.0),
    (_has(lease.LEASE_NAME), 1.0),
    (_has("vocabularies/*"), 0.1),
    (_has("parts/*", "items/*"), 0.1),
    (_has("sequences/*"), 0.05),
    (_has("statistics.json", "manifest.json*"), 0.0),
]
"""The state at which the build is killed, and the range of a random delay in seconds."""


def _killed(shop: Shop, stands: Callable[[Path], bool], wait: float) -> None:
    before = shop.generations()
    process = start("build", *shop.arguments())
    found = until(lambda: begun(shop, before), process)
    until(lambda: stands(found[0]), process)
    time.sleep(wait)
    process.kill()
    ended(process)


def test_a_killed_build_leaves_the_earlier_generation_whole(shop: Shop) -> None:
    first = shop.latest()
    dice = random.Random(3)
    for stands, more in MOMENTS:
        _killed(shop, stands, dice.random() * more)
        finished = [g for g in shop.generations() if (_folder(shop, g) / "manifest.json").exists()]
        assert first in finished
        assert shop.latest() in finished
        assert whole(shop)
        assert open_generation(_folder(shop, first), verify="hashes")
    left = [g for g in _with_files(shop) if g not in finished]
    done = shop.build()
    assert done.code == 0, done.err
    assert whole(shop) == shop.latest() not in finished
    assert _with_files(shop) == sorted([*finished, shop.latest()])
    for generation in left:
        assert f"Deleted the leftovers of the dead build {generation}" in done.out
    # Whatever was killed, a finished generation has only files that its manifest lists.
    listed = {f["path"] for f in shop.manifest()["files"]} | {"manifest.json"}
    root = _folder(shop, shop.latest())
    assert {str(p.relative_to(root)) for p in root.rglob("*") if p.is_file()} == listed


def _with_files(shop: Shop) -> list[str]:
    """The generations whose folders have files: a build that is killed while it deletes another may leave the folder."""
    return [g for g in shop.generations() if any(_folder(shop, g).iterdir())]


def _folder(shop: Shop, generation: str) -> Path:
    return shop.output / "generations" / generation


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_build_cleans_up(shop: Shop, number: signal.Signals) -> None:
    before, state = shop.generations(), shop.state()
    process = start("build", *shop.arguments())
    until(lambda: begun(shop, before), process)
    time.sleep(0.3)
    process.send_signal(number)
    done = ended(process)
    assert done.code == 1
    assert done.message == "error: stopped; nothing was published"
    assert shop.state() == state
    assert shop.generations() == before


# --- concurrent ------------------------------------------------------------------------------


def test_two_builds_into_one_output_do_not_meet(shop: Shop) -> None:
    before = shop.generations()
    both = [start("build", *shop.arguments(), "--json") for _ in range(2)]
    done = [ended(process) for process in both]
    assert [d.code for d in done] == [0, 0], [d.err for d in done]
    made = [json.loads(d.out)["manifest"]["generation"] for d in done]
    assert shop.generations() == sorted([*before, *made])
    assert whole(shop) == max(made)
    for generation in made:
        assert open_generation(_folder(shop, generation), verify="hashes")
    contents = [json.loads(d.out)["manifest"]["content_sha256"] for d in done]
    assert contents[0] == contents[1]


def test_a_live_build_is_not_swept(shop: Shop) -> None:
    before = shop.generations()
    slow = start("build", *shop.arguments(), "--quiet")
    found = until(lambda: begun(shop, before), slow)
    os.kill(slow.pid, signal.SIGSTOP)
    try:
        done = shop.build()
        assert done.code == 0, done.err
        assert "Swept" not in done.out
        assert found[0].is_dir()
        quick = whole(shop)
        with pytest.raises(GenerationError, match=r"has no manifest\.json"):
            open_generation(found[0])
    finally:
        os.kill(slow.pid, signal.SIGCONT)
    done = ended(slow)
    assert done.code == 0, done.err
    # It began earlier, and remains beside the newer one.
    assert open_generation(found[0]).root == str(found[0])
    assert whole(shop) == quick != found[0].name


# --- where it cannot be written ---------------------------------------------------------------------


def test_an_output_below_a_file_is_refused(shop: Shop) -> None:
    file = shop.folder / "a-file"
    file.write_text("mine")
    for output in (file, file / "below"):
        done = heterrec("build", *shop.arguments()[:-1], output)
        assert done.code == 2
        assert done.message.startswith(f"error: the output {output} cannot be written: ")
        assert "Name a writable folder" in done.message
        assert "Traceback" not in done.err
    assert file.read_text() == "mine"


def test_a_latest_that_cannot_be_replaced_is_told(shop: Shop) -> None:
    latest = shop.output / "latest.json"
    latest.unlink()
    latest.mkdir()
    (latest / "mine").touch()
    before = shop.generations()
    done = shop.build()
    (made,) = set(shop.generations()) - set(before)
    assert done.code == 1
    assert f"its generation {_folder(shop, made)} is complete" in done.message
    assert "latest.json cannot be written: Is a directory" in done.message
    assert "Traceback" not in done.err
    assert open_generation(_folder(shop, made), verify="hashes")
    assert [p.name for p in shop.output.iterdir() if p.name.endswith(".tmp")] == []


@pytest.fixture
def small_disk(shop: Shop) -> Iterator[Callable[[int], None]]:
    """Puts the output on a separate disk with the given number of free bytes."""
    shop.output.rename(shop.folder / "before")
    shop.output.mkdir()
    size = 4 << 20
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(shop.output)]
    try:
        done = subprocess.run(mount, capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("a small disk needs the command mount, which is absent")
    if done.returncode:
        pytest.skip(f"a small disk needs the right to mount one: {done.stderr.strip()}")
    try:
        subprocess.run(["cp", "-a", f"{shop.folder}/before/.", str(shop.output)], check=True)

        def leave(free: int) -> None:
            disk = os.statvfs(shop.output)
            (shop.output / "filler").write_bytes(bytes(disk.f_bavail * disk.f_bsize - free))

        yield leave
    finally:
        subprocess.run(["umount", str(shop.output)], check=True)


@pytest.mark.parametrize("free", [0, 8 << 10, 100 << 10])
def test_a_full_disk_is_a_failure_of_the_run(
    shop: Shop, small_disk: Callable[[int], None], free: int
) -> None:
    small_disk(free)
    before, state = shop.generations(), shop.state()
    done = shop.build()
    print(done.err)
    assert done.code == 1
    assert done.err.count("error: ") == 1
    assert "cannot be written: No space left on device" in done.message
    assert "same command again" in done.message or "(--output)" in done.message
    assert "Traceback" not in done.err
    assert shop.state() == state
    assert shop.generations() == before


# --- retries -----------------------------------------------------------------------------------


def test_a_shard_that_is_written_twice_has_two_names(tmp_path: Path) -> None:
    table = pa.table({"x": [1, 2, 3]})
    one, two = (write_shard(str(tmp_path), "items/items-0.parquet", table) for _ in range(2))
    assert one.temporary != two.temporary
    assert one[1:] == two[1:]
    final = str(tmp_path / one.path)
    for _ in range(2):
        storage.rename([(one.temporary, final)])
    storage.rename([(two.temporary, final)])
    assert storage.sha256_of(final) == one.sha256
    assert storage.files_below(str(tmp_path)) == [final]


@contextmanager
def _failing(patch: pytest.MonkeyPatch, name: str, fails: Callable[..., bool]) -> Iterator[None]:
    """Let a function of `storage` fail for some calls."""
    works = getattr(storage, name)

    def broken(*arguments: Any) -> Any:
        if fails(*arguments):
            raise OSError(5, "the store has gone")
        return works(*arguments)

    with patch.context() as inner:
        inner.setattr(storage, name, broken)
        yield


def test_publishing_goes_on_where_an_earlier_try_stopped(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish, rename = publish_generation, storage.rename
    (shop.output / "latest.json").unlink()

    def half(pairs: list[tuple[str, str]]) -> bool:
        rename(pairs[: len(pairs) // 2])
        return True

    tries = [
        ("rename", half),
        ("create_bytes", lambda path, *_: path.endswith("manifest.json")),
        ("update_bytes", lambda path, *_: path.endswith("latest.json")),
    ]

    @functools.wraps(publish)
    def process(job: Job, *arguments: Any) -> Iterator[Any]:
        orphan = Path(job.root, "items", ".items-0.parquet.0000.tmp")
        orphan.write_text("of an attempt that failed")
        for name, fails in tries:
            with _failing(monkeypatch, name, fails), pytest.raises(OSError, match="has gone"):
                list(publish(job, *arguments))
        yield from publish(job, *arguments)

    monkeypatch.setattr(publish_graph, "publish_generation", process)
    text = shop.spec_path.read_text()
    result = build(BuildConfig(parse_spec(text), text, str(shop.input), str(shop.output)))
    assert whole(shop) == result.manifest.generation
    below = {os.path.relpath(p, result.path) for p in storage.files_below(result.path)}
    assert below == {f.path for f in result.manifest.files} | {"manifest.json"}


# --- who is dead ------------------------------------------------------------------------------------


@pytest.fixture
def leftover(tmp_path: Path) -> Callable[..., Path]:
    """Creates an unfinished generation; its lease is that of this process, except for the given keys."""

    def make(**changes: object) -> Path:
        generation = lease.new_generation_id(NOW)
        lease.begin(str(tmp_path), generation, NOW)
        folder = tmp_path / "generations" / generation
        (folder / "items").mkdir()
        (folder / "items" / ".items-0.tmp").touch()
        path = folder / lease.LEASE_NAME
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))
        return folder

    return make


def gone() -> int:
    """The id of a process that has ended."""
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


def test_an_output_that_is_not_there_has_no_leftovers(tmp_path: Path) -> None:
    assert lease.sweep(str(tmp_path / "nothing"), NOW) == []


def test_what_is_no_folder_is_left_alone(leftover: Any, tmp_path: Path) -> None:
    (tmp_path / "generations").mkdir()
    (tmp_path / "generations" / "README").touch()
    assert lease.sweep(str(tmp_path), NOW + timedelta(days=999)) == []
    assert os.listdir(tmp_path / "generations") == ["README"]


def test_the_lease_goes_last(leftover: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = leftover()

    def killed(_path: str) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(storage, "delete_tree", killed)
        with pytest.raises(KeyboardInterrupt):
            lease.discard(str(folder))
    assert [p.name for p in folder.rglob("*") if p.is_file()] == [lease.LEASE_NAME]


def test_a_path_in_brackets_is_no_pattern(tmp_path: Path) -> None:
    output, name = tmp_path / "[ab]*", lease.new_generation_id(NOW)
    lease.begin(str(output), name, NOW)
    path = output / "generations" / name / lease.LEASE_NAME
    path.write_text(json.dumps(json.loads(path.read_text()) | {"pid": gone()}))
    beside = tmp_path / "a" / "generations" / name
    beside.mkdir(parents=True)
    assert lease.sweep(str(output), NOW) == [name]
    assert beside.is_dir()


@pytest.mark.parametrize(
    ("number", "kind"), [(28, RunError), (122, RunError), (13, CallError), (30, CallError)]
)
def test_a_lease_tells_a_full_disk_from_a_mistake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, kind: type[Exception]
) -> None:
    def full(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(storage, "write_bytes", full)
    with pytest.raises(kind, match=os.strerror(number)) as raised:
        lease.begin(str(tmp_path), "g1", NOW)
    assert raised.type is kind


def test_the_lease_names_who_builds(tmp_path: Path) -> None:
    lease.begin(str(tmp_path), "g1", NOW)
    found = json.loads((tmp_path / "generations" / "g1" / lease.LEASE_NAME).read_text())
    assert found["host"] == socket.gethostname()
    assert found["pid"] == os.getpid()
    assert found["started"] == NOW.isoformat()
