import os
import time
from datetime import timedelta
from pathlib import Path

import pytest
from chains import NOW, OLD, add, generation_id, point, put_lease, standing

from heterrec_pipeline.files import storage
from heterrec_pipeline.keeping import Purged, pin, purge, survey
from heterrec_pipeline.publishing import lease
from heterrec_schemas.errors import CallError, RunError
from heterrec_schemas.leases import lease as held
from heterrec_schemas.stores.local import LocalStore

HOUR = timedelta(hours=1)


@pytest.fixture
def chain(source: Path, output: Path) -> Path:
    """Six generations, each the child of the one before, the fifth published; and a build of its own."""
    for number in range(1, 7):
        add(source, output, number, number - 1 or None)
    add(source, output, 9)
    point(output, generation_id(5))
    return output


def numbers(names: list[str]) -> list[int]:
    return [int(name[9:18]) for name in names]


def deleted(done: Purged) -> list[int]:
    return numbers([one.id for one, _ in done.deleted])


def reasons(done: Purged) -> dict[int, str]:
    return {int(one.id[9:18]): why for one, why in done.kept}


def test_the_latest_and_its_newest_ancestors_stay(chain: Path) -> None:
    done = purge(str(chain), 2)
    assert deleted(done) == [1, 2, 6, 9]
    newest = "one of the 2 newest of the lineage"
    assert reasons(done) == {5: "latest", 4: newest, 3: newest}
    assert numbers(standing(chain)) == [3, 4, 5]
    assert len(os.listdir(chain / "generations")) == 3
    assert deleted(purge(str(chain), 0)) == [3, 4]
    assert numbers(standing(chain)) == [5]
    assert deleted(purge(str(chain), 0)) == []


def test_ancestors_that_are_gone_do_not_count(chain: Path) -> None:
    storage.delete_tree(str(chain / "generations" / generation_id(4)))
    assert deleted(purge(str(chain), 2)) == [1, 6, 9]


def test_a_dry_run_writes_nothing(chain: Path) -> None:
    put_lease(chain, generation_id(1), pid=2**80)
    before = sorted((p, p.stat().st_mtime_ns) for p in chain.rglob("*"))
    done = purge(str(chain), 2, dry_run=True)
    assert done.dry_run
    assert deleted(done) == [1, 2, 6, 9]
    assert done.bytes == 4 * (survey(str(chain)).listed[0].bytes or 0) > 0
    assert sorted((p, p.stat().st_mtime_ns) for p in chain.rglob("*")) == before


def test_pinned_and_leased_ones_stay(chain: Path) -> None:
    pin(str(chain), generation_id(1), "audit")
    put_lease(chain, generation_id(2))
    put_lease(chain, generation_id(6), pid=2**80)
    done = purge(str(chain), 0)
    assert reasons(done) == {5: "latest", 2: "leased", 1: "pinned"}
    assert deleted(done) == [3, 4, 6, 9]
    assert [p.parent.name for p in (chain / "leases").rglob("*.json")] == [generation_id(2)]


def test_young_ones_and_those_that_they_have_replaced_stay(source: Path, output: Path) -> None:
    for number, parent, age in (
        (1, None, OLD),
        (2, 1, timedelta(hours=30)),
        (3, 2, timedelta(hours=23)),
        (4, 3, timedelta(hours=1)),
        (5, 2, timedelta(hours=29)),
    ):
        add(source, output, number, parent, age)
    point(output, generation_id(4))
    done = purge(str(output), 0, dry_run=True)
    assert reasons(done) == {
        4: "latest",
        3: "younger than the grace time",
        2: "replaced within the grace time",
    }
    assert deleted(done) == [1, 5]
    assert deleted(purge(str(output), 0, dry_run=True, grace=timedelta(0))) == [1, 2, 3, 5]
    assert deleted(purge(str(output), 0, dry_run=True, grace=10 * OLD)) == []


def test_a_copy_of_today_is_young(chain: Path) -> None:
    os.utime(chain / "generations" / generation_id(1) / "manifest.json")
    assert reasons(purge(str(chain), 0))[1] == "younger than the grace time"


@pytest.mark.parametrize("latest", [None, "{", generation_id(8)])
def test_without_a_latest_nothing_is_purged(chain: Path, latest: str | None) -> None:
    path = chain / "latest.json"
    path.unlink()
    if latest == "{":
        path.write_text(latest)
    elif latest:
        point(chain, latest)
    with pytest.raises(RunError, match=r"nothing is purged: latest\.json "):
        purge(str(chain), 0)
    assert numbers(standing(chain)) == [1, 2, 3, 4, 5, 6, 9]


def test_a_negative_number_is_refused(chain: Path) -> None:
    with pytest.raises(CallError, match="--keep: got -1"):
        purge(str(chain), -1)


def test_damaged_ones_are_left_to_people(chain: Path) -> None:
    (chain / "generations" / generation_id(1) / "manifest.json").write_text("{")
    assert reasons(purge(str(chain), 0))[1] == "damaged"


# --- who is dead ------------------------------------------------------------------------------

ELSEWHERE = {"namespace": "another container", "host": "elsewhere"}


def test_readers_elsewhere_are_dead_when_they_are_silent(
    chain: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_lease(chain, generation_id(1), silent=3500, **ELSEWHERE)
    put_lease(chain, generation_id(2), silent=3700, **ELSEWHERE)
    beating = put_lease(chain, generation_id(3), silent=3700, **ELSEWHERE)
    damaged = put_lease(chain, generation_id(4), silent=3500)
    damaged.write_bytes(b"{")

    def wait(seconds: float) -> None:
        assert seconds == held.WATCH_SECONDS
        LocalStore().update(str(beating), held.beaten, "beat")

    done = purge(str(chain), 0, wait=wait)
    assert deleted(done) == [2, 6, 9]
    assert reasons(done) == {5: "latest", 4: "leased", 3: "leased", 1: "leased"}


def test_leftovers_and_half_purged_folders_are_finished(
    chain: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    above = chain / "generations"
    half, living = generation_id(1), generation_id(8)
    assert lease.mark(str(above / half))
    (above / half / "manifest.json").unlink()
    lease.begin(str(chain), living, NOW)
    done = purge(str(chain), 5)
    assert reasons(done)[1] == "unfinished"  # by this process, which lives
    assert (above / half / "items").exists()
    monkeypatch.setattr(held, "WATCH_SECONDS", 0)
    for name in (half, living):
        path = above / name / lease.LEASE_NAME
        path.write_bytes(held.as_text(held.parsed(path.read_bytes()) | ELSEWHERE))
    os.utime(above / half / lease.LEASE_NAME, (time.time() - 3700,) * 2)
    done = purge(str(chain), 5)
    assert done.swept == [half]
    assert reasons(done)[8] == "unfinished"
    assert not (above / half).exists()


def test_a_dead_mark_does_not_protect(chain: Path) -> None:
    root = chain / "generations" / generation_id(1)
    assert lease.mark(str(root))
    assert not lease.mark(str(root))
    path = root / lease.LEASE_NAME
    path.write_bytes(held.as_text(held.parsed(path.read_bytes()) | {"pid": 2**80}))
    assert 1 in deleted(purge(str(chain), 0))
    assert not root.exists()


def test_files_that_cannot_be_deleted_are_told(
    chain: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = chain / "generations" / generation_id(1)
    delete = LocalStore.delete_now

    def kept_files(store: LocalStore, path: str) -> None:
        if not path.endswith("manifest.json"):
            raise RunError(f"{path} cannot be deleted: Read-only file system")
        delete(store, path)

    with monkeypatch.context() as patch:
        patch.setattr(LocalStore, "delete", lambda *_: None)
        patch.setattr(LocalStore, "delete_tree", lambda *_: None)
        patch.setattr(LocalStore, "delete_now", kept_files)
        with pytest.raises(
            RunError, match=r"is no generation any more, but .*: Read-only file sys"
        ):
            purge(str(chain), 0)
    assert not (root / "manifest.json").exists()
    path = root / lease.LEASE_NAME
    path.write_bytes(held.as_text(held.parsed(path.read_bytes()) | {"pid": 2**80}))
    assert purge(str(chain), 0).swept == [root.name]
    assert not root.exists()


def test_a_manifest_that_cannot_be_deleted_leaves_all_as_it_was(
    chain: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(*_: object) -> None:
        raise OSError(13, "Permission denied")

    before = sorted(p for p in (chain / "generations").rglob("*"))
    monkeypatch.setattr("heterrec_schemas.stores.local.os.remove", denied)
    with pytest.raises(RunError, match=r"manifest\.json cannot be deleted: Permission denied"):
        purge(str(chain), 0)
    monkeypatch.undo()
    left = sorted(p for p in (chain / "generations").rglob("*"))
    assert [p.name for p in left if p not in before] in ([], [lease.LEASE_NAME])
    assert len(standing(chain)) == 7


def test_a_lease_that_cannot_be_deleted_once_goes_at_the_second_try(
    chain: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("heterrec_schemas.stores.local.shutil.rmtree", lambda *_, **__: None)
    purge(str(chain), 0)
    assert list(chain.glob(f"generations/*/{lease.LEASE_NAME}")) == []


def test_files_of_killed_writers_go_when_they_are_old(chain: Path) -> None:
    """Temporary names of this package's small files, outside of unfinished generations; nothing else."""
    one, latest = generation_id(1), generation_id(5)
    left = ("latest.json.0a1b.tmp", ".now-01234567.tmp", f"pins/{one}.json.0a1b.tmp")
    left = (*left, f"generations/{latest}/building.json.purge-0a1b.tmp")
    kept = ("notes.json.tmp", ".latest.json.0a1b.tmp", f"generations/{latest}/.drift.json.0a1b.tmp")
    (chain / "pins").mkdir()
    for name in (*left, *kept):
        (chain / name).write_text("{}")
        os.utime(chain / name, (time.time() - 7000, time.time() - 7000))
    purge(str(chain), 9, after=2 * HOUR)
    assert [n for n in left if not (chain / n).exists()] == []
    purge(str(chain), 9, after=HOUR)
    assert [n for n in left if (chain / n).exists()] == []
    assert [n for n in kept if not (chain / n).exists()] == []
