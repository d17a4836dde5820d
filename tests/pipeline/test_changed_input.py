"""Input that changes while a build reads it, and the folder of a build that is deleted meanwhile."""

import functools
import hashlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from corner_shop import Shop, start

from heterrec_pipeline.building import BuildConfig, BuildResult, build
from heterrec_pipeline.files import storage
from heterrec_pipeline.job import Job
from heterrec_pipeline.publishing import lease, publish_graph
from heterrec_pipeline.publishing.publish import publish_generation
from heterrec_schemas import open_generation
from heterrec_schemas.errors import RunError
from heterrec_schemas.feature_spec import parse_spec

Before = Callable[[Job, Callable[[], None]], None]
"""Called before the last step, with the job and a function that tries the step."""


@pytest.fixture
def built(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> Callable[[Before], BuildResult]:
    """Builds the shop in this process."""

    def run(before: Before) -> BuildResult:
        @functools.wraps(publish_generation)
        def process(job: Job, *arguments: Any) -> Iterator[Any]:
            before(job, lambda: [*publish_generation(job, *arguments)] and None)
            yield from publish_generation(job, *arguments)

        monkeypatch.setattr(publish_graph, "publish_generation", process)
        shop.write_spec()
        text = shop.spec_path.read_text()
        return build(BuildConfig(parse_spec(text), text, str(shop.input), str(shop.output)))

    return run


def test_a_changed_input_is_not_published(
    shop: Shop, built: Callable[[Before], BuildResult]
) -> None:
    log, latest = shop.input / "log.csv", shop.latest()
    data, was = log.read_bytes(), os.stat(log)
    hour = 3_600 * 10**9

    def grow() -> None:
        shop.add("log.csv", [["u1", "i01", "1700000000", "view", "999"]])

    changes: list[tuple[Callable[[], object], str]] = [
        (grow, rf"log\.csv: got {len(data) + 27:,} bytes of .*, expected {len(data):,} bytes of "),
        (lambda: log.write_bytes(data[:-40]), r"log\.csv: got [\d,]+ bytes of "),
        (lambda: log.write_bytes(data.replace(b"view", b"buy_")), r"log\.csv: got "),
        (lambda: os.utime(log, ns=(was.st_atime_ns, was.st_mtime_ns - hour)), r"log\.csv: got "),
        (log.unlink, r"log\.csv is gone"),
    ]

    def before(job: Job, attempt: Callable[[], None]) -> None:
        for change, message in changes:
            change()
            with pytest.raises(RunError, match=f"the input changed while it was read: {message}"):
                attempt()
            log.write_bytes(data)
            os.utime(log, ns=(was.st_atime_ns, was.st_mtime_ns))
        assert shop.latest() == latest
        # A file that appears is for the next build.
        (shop.input / "log-2.csv").write_text("user_id,item_id,time,event,event_id\n")

    shop.spec["interactions"]["source"]["path"] = "log*.csv"
    result = built(before)
    assert shop.latest() == result.manifest.generation != latest
    assert [i.path for i in result.manifest.inputs if "log" in i.path] == ["log.csv"]


def test_a_log_that_grows_may_be_read_up_to_its_last_whole_line(
    shop: Shop, built: Callable[[Before], BuildResult]
) -> None:
    log = shop.input / "log.csv"
    whole = log.read_bytes()
    content = shop.manifest()["content_sha256"]
    log.write_bytes(whole + b"u1,i0")
    shop.spec["interactions"]["source"]["append_only"] = True

    def before(job: Job, attempt: Callable[[], None]) -> None:
        log.write_bytes(whole.replace(b"view", b"buy_", 1) + b"u1,i01,1700000000,view,999\n")
        with pytest.raises(RunError, match=rf"its first {len(whole):,} bytes are others now"):
            attempt()
        log.write_bytes(whole[:-1])
        with pytest.raises(RunError, match=rf"expected at least {len(whole):,}\. Run again"):
            attempt()
        log.write_bytes(whole + b"u1,i01,1700000000,view,999\n")

    result = built(before)
    (entry,) = [i for i in result.manifest.inputs if i.path == "log.csv"]
    assert (entry.bytes, entry.sha256) == (len(whole), hashlib.sha256(whole).hexdigest())
    assert result.manifest.content_sha256 == content


def test_a_file_that_cannot_be_cut_takes_no_appended_rows(shop: Shop) -> None:
    shop.spec["items"]["joins"][0]["source"]["append_only"] = True
    done = shop.validate()
    assert done.code == 2
    assert "vectors.parquet cannot be read while rows are appended to it" in done.err
    assert "Remove append_only from the source" in done.err


# --- a folder that is deleted ----------------------------------------------------------------------


def sweep_as_dead(shop: Shop, folder: Path) -> None:
    """Let another build believe that the builder of a generation has died."""
    path = folder / lease.LEASE_NAME
    dead = subprocess.Popen(["true"])
    dead.wait()
    path.write_text(json.dumps(json.loads(path.read_text()) | {"pid": dead.pid}))
    assert lease.sweep(str(shop.output), datetime.now(UTC)) == [folder.name]


def test_a_build_that_lost_its_folder_publishes_nothing(
    shop: Shop, built: Callable[[Before], BuildResult]
) -> None:
    state, generations = shop.state(), shop.generations()

    def before(job: Job, attempt: Callable[[], None]) -> None:
        sweep_as_dead(shop, Path(job.root))

    with pytest.raises(RunError, match="was deleted while it ran, wholly or in part") as error:
        built(before)
    assert error.value.exit_code == 1
    assert (shop.state(), shop.generations()) == (state, generations)


def test_a_generation_is_complete_when_its_manifest_is_written(
    shop: Shop, built: Callable[[Before], BuildResult]
) -> None:
    """Whatever happens to its files, or to its lease, in the last moment."""
    latest = shop.latest()
    changes: list[Callable[[Path], object]] = [
        lambda root: (root / "statistics.json").unlink(),
        lambda root: os.truncate(root / "statistics.json", 0),
        lambda root: (root / lease.LEASE_NAME).write_text('{"taken": true}'),
    ]

    def before(job: Job, attempt: Callable[[], None]) -> None:
        root, create = Path(job.root), storage.create_bytes
        held = (root / lease.LEASE_NAME).read_bytes()

        def spoiled(change: Callable[[Path], object], *arguments: Any) -> None:
            create(*arguments)
            change(root)

        for change in changes:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(storage, "create_bytes", functools.partial(spoiled, change))
                with pytest.raises(RunError, match="was deleted while it ran"):
                    attempt()
            assert not (root / "manifest.json").exists()
            (root / lease.LEASE_NAME).write_bytes(held)
        assert shop.latest() == latest

    result = built(before)
    assert shop.latest() == result.manifest.generation != latest
    assert open_generation(shop.output, verify="hashes")


def test_a_live_build_whose_folder_is_swept_fails(shop: Shop) -> None:
    state, before = shop.state(), shop.generations()
    process = start("build", *shop.arguments(), "--quiet")
    folders: list[Path] = []
    end = time.monotonic() + 60
    while not folders and time.monotonic() < end:
        time.sleep(0.01)
        folders = [p.parent for p in (shop.output / "generations").glob("*/vocabularies")]
        folders = [f for f in folders if f.name not in before]
    os.kill(process.pid, signal.SIGSTOP)
    sweep_as_dead(shop, folders[0])
    os.kill(process.pid, signal.SIGCONT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 1, errors
    assert "was deleted while it ran, wholly or in part. Nothing was published" in errors
    assert "Traceback" not in errors
    assert (shop.state(), shop.generations()) == (state, before)
