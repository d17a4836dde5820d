"""What is published survives a power cut, at whatever moment: `latest.json` names a whole generation."""

import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from corner_shop import Shop
from power_cuts import Disk, whole

from heterrec_pipeline import keeping
from heterrec_pipeline.building import BuildConfig, build
from heterrec_schemas import open_generation
from heterrec_schemas.feature_spec import parse_spec

SEEDS = max(8, int(os.environ.get("HETERREC_RACES", "0")) // 4)
"""Number of choices, for each moment, of the folders whose names are on the disk already. `make races` tries 25."""
Event = tuple[str, int, str]
"""sync or rename, the inode, and the new path of a rename."""


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> list[Event]:
    """What this process flushes and renames, in order."""
    found = list[Event]()
    lock, fsync, replace = threading.Lock(), os.fsync, os.replace

    def record_sync(handle: int) -> None:
        fsync(handle)
        with lock:
            found.append(("sync", os.fstat(handle).st_ino, ""))

    def record_rename(old: str, new: str) -> None:
        inode = os.stat(old).st_ino
        replace(old, new)
        with lock:
            found.append(("rename", inode, os.fspath(new)))

    monkeypatch.setattr(os, "fsync", record_sync)
    monkeypatch.setattr(os, "replace", record_rename)
    return found


def test_contents_are_flushed_before_names_and_files_before_the_manifest(
    shop: Shop, events: list[Event]
) -> None:
    text = shop.spec_path.read_text()
    result = build(BuildConfig(parse_spec(text), text, str(shop.input), str(shop.output)))
    root, output = Path(result.path), shop.output

    def renamed(path: Path) -> int:
        return next(k for k, (_, _, new) in enumerate(events) if new == str(path))

    def flushed(path: Path) -> list[int]:
        return [k for k, (what, i, _) in enumerate(events) if (what, i) == ("sync", inode(path))]

    def inode(path: Path) -> int:
        return path.stat().st_ino

    manifest, latest = renamed(root / "manifest.json"), renamed(output / "latest.json")
    assert manifest < latest
    files = [root / f.path for f in result.manifest.files]
    for path in (*files, root / "manifest.json", output / "latest.json"):
        before = latest if path.parent == output else manifest
        assert min(flushed(path)) < renamed(path) <= before, path
    for folder in {path.parent for path in files}:
        last = max(renamed(path) for path in files if path.parent == folder)
        assert any(last < k < manifest for k in flushed(folder)), folder
        if folder != root:
            assert any(k < manifest for k in flushed(folder.parent)), "its own name"
    assert any(manifest < k < latest for k in flushed(root))
    assert any(k < manifest for k in flushed(root.parent))
    assert any(latest < k for k in flushed(output))


def work_of(shop: Shop, command: str) -> Callable[[], object]:
    """A command of an output with two generations, of which the second is published."""
    text, output = shop.spec_path.read_text(), str(shop.output)
    config = BuildConfig(parse_spec(text), text, str(shop.input), output, workers=1)
    if command == "build":
        shutil.rmtree(shop.output)
        shop.output.mkdir()
        return lambda: build(config)
    refresh, first = replace(config, base=output), shop.latest()
    build(refresh)
    shop.add("items.csv", [["i90", "Fig", "5"]])
    return {
        "refresh": lambda: build(refresh),
        "publish": lambda: keeping.publish(output, first),
        "pin": lambda: keeping.pin(output, first),
        "purge": lambda: keeping.purge(output, 0, grace=timedelta(0)),
    }[command]


@pytest.mark.parametrize("command", ["build", "refresh", "publish", "pin", "purge"])
def test_a_power_cut_at_any_moment_leaves_a_whole_generation(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    work = work_of(shop, command)
    with monkeypatch.context() as patch:
        disk = Disk(shop.output, patch)
        work()
    cuts = [whole(files) for files in disk.cuts(SEEDS)]
    before, after = cuts[0], cuts[-SEEDS]
    if command == "build":
        assert (before.latest, after.latest) == (None, shop.latest())
    else:
        # Never is there no latest generation, or another one than before and after.
        assert {cut.latest for cut in cuts} == {before.latest, after.latest}
        assert after.latest == shop.latest()
        assert all(cut.latest in cut.finished for cut in cuts)
    if command != "purge":
        assert all(before.finished <= cut.finished for cut in cuts)
    # When the command has ended, all that it did is on the disk.
    assert after.finished == set(shop.generations())


@contextmanager
def mounted(image: Path, at: Path) -> Iterator[None]:
    """An image of a file system as a folder; the test is skipped where that is not allowed."""
    at.mkdir()
    done = run("mount", "-o", "loop,commit=300", image, at)
    if done.returncode:
        pytest.skip(f"needs the right to mount an image: {done.stderr.strip()}")
    try:
        yield
    finally:
        assert run("umount", at).returncode == 0


def run(*command: object) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run([*map(str, command)], capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip(f"needs the command {command[0]}, which is absent")


@pytest.fixture
def after_a_power_cut(tmp_path: Path) -> Callable[[Callable[[Path], None]], Iterator[Path]]:
    """Runs something on a disk of its own, and yields the disk as a power cut at its end leaves it."""

    @contextmanager
    def cut(work: Callable[[Path], None]) -> Iterator[Path]:
        image, copy = tmp_path / "disk", tmp_path / "copy"
        with image.open("wb") as file:
            file.truncate(64 << 20)
        assert run("mkfs.ext4", "-q", image).returncode == 0
        with mounted(image, tmp_path / "on"):
            work(tmp_path / "on")
            shutil.copyfile(image, copy)  # what has reached the device, and nothing else
        with mounted(copy, tmp_path / "off"):
            yield tmp_path / "off"

    return cut


def test_a_published_generation_survives_a_power_cut(
    shop: Shop, after_a_power_cut: Callable[[Callable[[Path], None]], Iterator[Path]]
) -> None:
    def work(disk: Path) -> None:
        shop.output = disk / "output"
        done = shop.build("--quiet")
        assert done.code == 0, done.err

    with after_a_power_cut(work) as disk:
        assert open_generation(disk / "output", verify="hashes").manifest.counts.items.kept == 20
