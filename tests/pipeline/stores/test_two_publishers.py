"""Concurrent publishers: no manifest is overwritten, and `latest.json` only moves to newer generations."""

import json
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from corner_shop import Running, Shop, start
from emulators import Emulator
from shops import stock

from heterrec_pipeline.files import storage
from heterrec_pipeline.publishing.latest import point_latest
from heterrec_schemas.errors import RunError
from heterrec_schemas.generation import open_generation

AT_ONCE = 8


@pytest.fixture(params=["local", "gs", "s3"])
def output(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An output folder on a disk and in both stores."""
    if request.param == "local":
        return str(tmp_path / "output")
    request.getfixturevalue("store_named")(request.param)
    return f"{request.param}://shop/{tmp_path.name}-{random.randrange(2**32):08x}"


def generation(number: int) -> str:
    """Ids that sort by their number."""
    return f"20261122T{number:09d}Z-0000000a"


def stand(output: str, name: str) -> None:
    """Make a generation."""
    storage.write_bytes(f"{output}/generations/{name}/manifest.json", b"{}")


def latest(output: str) -> Any:
    return json.loads(storage.read_bytes(f"{output}/latest.json"))


def at_once(calls: list[Callable[[], object]]) -> list[BaseException | None]:
    """Run all calls at the same moment; returns the exception of each."""
    gate = threading.Barrier(len(calls))

    def one(call: Callable[[], object]) -> BaseException | None:
        gate.wait()
        try:
            call()
        except Exception as error:
            return error
        return None

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(one, calls))


def test_latest_names_the_newest_whoever_writes_last(output: str) -> None:
    names = [generation(k) for k in range(AT_ONCE)]
    for name in names:
        stand(output, name)
    order = random.Random(5).sample(names, AT_ONCE)
    raised = at_once([lambda n=n: point_latest(output, n, n) for n in order])  # type: ignore[misc]
    assert raised == [None] * AT_ONCE
    assert latest(output) == {"generation": names[-1]}
    assert [p for p in storage.files_below(output) if "manifest" not in p] == [
        storage.join(output, "latest.json")
    ]
    point_latest(output, names[0], "x")
    assert latest(output) == {"generation": names[-1]}
    stand(output, generation(100))
    point_latest(output, generation(100), "x")
    assert latest(output) == {"generation": generation(100)}


@pytest.mark.parametrize(
    "held", [b"", b"[]", b"{", b'{"generation": 7}', b'{"generation": "zzz/.."}']
)
def test_a_latest_that_names_nothing_is_replaced(output: str, held: bytes) -> None:
    storage.write_bytes(f"{output}/latest.json", held)
    point_latest(output, generation(1), "x")
    assert latest(output) == {"generation": generation(1)}


def test_a_newer_generation_that_is_gone_holds_nobody_up(output: str) -> None:
    storage.write_bytes(f"{output}/latest.json", json.dumps({"generation": generation(9)}).encode())
    point_latest(output, generation(1), "x")
    assert latest(output) == {"generation": generation(1)}


def test_a_manifest_is_written_once(output: str) -> None:
    path = f"{output}/generations/{generation(1)}/manifest.json"
    texts = [f"text {k}".encode() for k in range(AT_ONCE)]
    raised = at_once(
        [lambda k=k: storage.create_bytes(path, texts[k], f"a{k}") for k in range(AT_ONCE)]  # type: ignore[misc]
    )
    won = [k for k, error in enumerate(raised) if error is None]
    assert len(won) == 1
    assert storage.read_bytes(path) == texts[won[0]]
    for error in raised:
        if error is not None:
            assert isinstance(error, RunError)
            assert "manifest.json was written by another run" in str(error)
    storage.create_bytes(path, texts[won[0]], "again")
    assert storage.files_below(output) == [path]


def test_no_change_is_lost(output: str) -> None:
    path = f"{output}/lines"

    def add(name: str) -> None:
        storage.update_bytes(path, lambda held: (held or b"") + f"{name}\n".encode(), name)

    names = [f"n{k}" for k in range(AT_ONCE)]
    assert at_once([lambda n=n: add(n) for n in names]) == [None] * AT_ONCE  # type: ignore[misc]
    assert sorted(storage.read_bytes(path).decode().split()) == names


@pytest.mark.parametrize("store", ["gs"], indirect=True)
def test_two_builds_into_one_output_both_stand(store: Emulator, folder: str, shop: Shop) -> None:
    stock(shop, folder)
    arguments = ["--spec", shop.spec_path, "--input", f"{folder}/input", "--output", f"{folder}/o"]
    builds = []
    try:
        for _ in range(2):
            builds.append(start("build", *arguments))
            time.sleep(0.01)
        said = [build.communicate(timeout=240)[1] for build in builds]
    finally:
        _end(builds)
    assert [build.returncode for build in builds] == [0, 0], said
    names = sorted(
        {
            p.split("/generations/")[1].split("/")[0]
            for p in storage.files_below(f"{folder}/o/generations")
        }
    )
    assert len(names) == 2
    assert latest(f"{folder}/o") == {"generation": names[1]}
    one, two = (open_generation(f"{folder}/o/generations/{name}") for name in names)
    assert one.manifest.content_sha256 == two.manifest.content_sha256


def _end(builds: list[Running]) -> None:
    for build in builds:
        if build.poll() is None:
            build.kill()
        build.wait()
