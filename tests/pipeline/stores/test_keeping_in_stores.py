"""Keeping generations in both stores: the commands, their races, and readers on other machines."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from emulators import Emulator, Fault

from heterrec_pipeline.files import storage
from heterrec_pipeline.keeping import Purged, pin, publish, purge, survey, unpin
from heterrec_pipeline.publishing import lease
from heterrec_pipeline.publishing.latest import publish_refresh, read_latest
from heterrec_schemas.errors import CallError, GenerationError, NotPublishedError, RunError
from heterrec_schemas.generation import open_generation
from heterrec_schemas.leases import lease as held
from heterrec_schemas.leases import process, reader, reader_lease
from heterrec_schemas.manifest import Ancestor, Manifest
from heterrec_schemas.testing.generation import small_generation
from heterrec_schemas.testing.shop import Settings

ROUNDS = max(1, int(os.environ.get("HETERREC_RACES", "1")) // 5)
IDS = [f"20260101T00000000{k}Z-0000000{k}" for k in range(1, 5)]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    few = Settings(item_shards=1, sequence_shards=1)
    return small_generation(tmp_path_factory.mktemp("source"), 1, settings=few)


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "_PAUSE", 0.01)


def stock(folder: str, source: Path, latest: str) -> None:
    """A chain of four generations in a store; those that are there already stay."""
    manifest = Manifest.model_validate_json((source / "manifest.json").read_text())
    for k, name in enumerate(IDS):
        root = f"{folder}/generations/{name}"
        if storage.exists(f"{root}/manifest.json"):
            continue
        with ThreadPoolExecutor(8) as pool:
            list(
                pool.map(
                    lambda path, root=root: storage.write_bytes(
                        f"{root}/{path}", (source / path).read_bytes()
                    ),
                    [f.path for f in manifest.files],
                )
            )
        own = manifest.model_copy(
            update={
                "generation": name,
                "parent": IDS[k - 1] if k else None,
                "lineage": [Ancestor(generation=a, content_sha256="0" * 64) for a in IDS[:k]],
            }
        )
        storage.write_bytes(f"{root}/manifest.json", own.to_json().encode())
    storage.write_bytes(f"{folder}/latest.json", b'{"generation": "%s"}' % latest.encode())


def purge_all(folder: str, keep: int = 0) -> Purged:
    return purge(folder, keep, grace=timedelta(0))


def test_the_commands_in_a_store(store: Emulator, folder: str, source: Path) -> None:
    stock(folder, source, IDS[3])
    assert publish(folder, IDS[2]) == IDS[3]
    with pytest.raises(NotPublishedError, match=f"names {IDS[2]}, not {IDS[3]}"):
        publish(folder, IDS[1], expect=IDS[3])
    pin(folder, IDS[0], "audit")
    assert purge(folder, 0).deleted == []  # all are young
    with reader_lease(f"{folder}/generations/{IDS[3]}", "train"):
        states = {one.id: ", ".join(one.states) for one in survey(folder).listed}
        assert states == {IDS[3]: "leased", IDS[2]: "latest", IDS[1]: "", IDS[0]: "pinned"}
        assert [one.id for one, _ in purge_all(folder).deleted] == [IDS[1]]
    assert unpin(folder, IDS[0])
    assert [one.id for one, _ in purge_all(folder, 1).deleted] == [IDS[3]]
    assert [one.id for one in survey(folder).listed] == [IDS[2], IDS[0]]
    open_generation(folder, verify="hashes")
    outside = [p for p in storage.files_below(folder) if "/generations/" not in p]
    assert outside == [f"{folder}/latest.json"]


@pytest.mark.parametrize("store", ["s3"], indirect=True)
def test_a_reader_elsewhere_is_dead_when_it_is_silent(
    store: Emulator, folder: str, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stock(folder, source, IDS[3])
    monkeypatch.setattr(process, "namespace", lambda: "")
    monkeypatch.setattr(held, "BEAT_SECONDS", 0.2)
    monkeypatch.setattr(held, "WATCH_SECONDS", 1)
    after = timedelta(seconds=3)
    silent = f"{folder}/leases/{IDS[1]}/0123.json"
    storage.write_bytes(silent, held.as_text({"pid": 1, "beats": 0}))
    with reader_lease(f"{folder}/generations/{IDS[2]}", "train"):
        threading.Event().wait(4.2)
        done = purge(folder, 0, grace=timedelta(0), after=after, wait=pytest.fail)
    assert {one.id: why for one, why in done.kept} == {IDS[3]: "latest", IDS[2]: "leased"}
    assert not storage.exists(silent)


@pytest.mark.parametrize("store", ["s3"], indirect=True)
def test_a_half_deleted_generation_is_finished(store: Emulator, folder: str, source: Path) -> None:
    stock(folder, source, IDS[3])
    store.proxy.faults = [Fault(403, lambda a: a.method == "DELETE" and "items-" in a.path, 99)]
    with pytest.raises(RunError, match="is no generation any more, but "):
        purge_all(folder)
    store.proxy.calm()
    states = [", ".join(one.states) for one in survey(folder).listed]
    assert states == ["latest", "", "", "unfinished"]
    path = f"{folder}/generations/{IDS[0]}/{lease.LEASE_NAME}"
    dead = held.parsed(storage.read_bytes(path)) | {"pid": 2**80}
    storage.write_bytes(path, held.as_text(dead))
    done = purge_all(folder)
    assert done.swept == [IDS[0]]
    assert [one.id for one, _ in done.deleted] == IDS[1:3]
    assert storage.folders(f"{folder}/generations") == [f"{folder}/generations/{IDS[3]}"]


# --- races -------------------------------------------------------------------------------------


def at_once(*works: Any) -> list[Any]:
    """The results, or exceptions, of functions that begin at the same moment."""
    gate = threading.Barrier(len(works))

    def one(work: Any) -> Any:
        gate.wait()
        try:
            return work()
        except Exception as error:
            return error

    with ThreadPoolExecutor(len(works)) as pool:
        return list(pool.map(one, works))


def read(folder: str, name: str) -> str:
    root = f"{folder}/generations/{name}"
    open_generation(root, verify="sizes")
    with reader_lease(root, "train"):
        for _ in range(3):
            open_generation(root, verify="sizes")
    return "read"


@pytest.mark.slow
def test_races_in_a_store(store: Emulator, folder: str, source: Path) -> None:
    for _ in range(ROUNDS):
        stock(folder, source, IDS[3])
        done, got = at_once(lambda: purge_all(folder, 1), lambda: read(folder, IDS[1]))
        assert isinstance(done, Purged), done
        assert got == "read" or isinstance(got, GenerationError), got

        stock(folder, source, IDS[3])
        done, got = at_once(lambda: purge_all(folder, 1), lambda: publish(folder, IDS[1]))
        assert isinstance(done, Purged), done
        expected = IDS[1] if got == IDS[3] else IDS[3]
        assert got == IDS[3] or isinstance(got, GenerationError | CallError), got
        assert read_latest(folder).names == expected
        open_generation(folder, verify="sizes")

        stock(folder, source, IDS[3])
        both = at_once(*(lambda n=n: publish(folder, n, verify="sizes") for n in IDS[1:3]))
        now = read_latest(folder).names
        if any(isinstance(got, Exception) for got in both):
            (won,) = [n for n, got in zip(IDS[1:3], both, strict=True) if got == IDS[3]]
            assert any(isinstance(got, NotPublishedError) for got in both), both
            assert now == won
        else:
            assert (*both, now) in ((IDS[3], IDS[1], IDS[2]), (IDS[2], IDS[3], IDS[1]))

        stock(folder, source, IDS[3])
        found = read_latest(folder)
        results = at_once(
            lambda found=found: publish_refresh(folder, IDS[2], "a", IDS[3], found),
            lambda found=found: publish_refresh(folder, IDS[1], "b", IDS[3], found),
            lambda: publish(folder, IDS[0], verify="sizes"),
        )
        assert sum(isinstance(got, NotPublishedError) for got in results[:2]) >= 1, results
        if not isinstance(results[2], Exception):  # the rollback was the last word
            assert read_latest(folder).names == IDS[0]
