"""Commands that run at the same time, in many orders of their accesses, and that are killed at any of them.

`make races` tries 100 orders of each pair, and every moment of a kill.
"""

import itertools
import json
import os
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from chains import add, check_only_generations, generation_id, named, point, standing
from steps import Steps, killed_at

from heterrec_pipeline.files import storage
from heterrec_pipeline.keeping import Purged, pin, publish, purge
from heterrec_pipeline.publishing import lease
from heterrec_pipeline.publishing.latest import publish_refresh, read_latest
from heterrec_schemas.errors import CallError, GenerationError, NotPublishedError
from heterrec_schemas.generation import open_generation
from heterrec_schemas.leases import reader, reader_lease
from heterrec_schemas.manifest import Manifest

ROUNDS = int(os.environ.get("HETERREC_RACES", "8"))
P, Q, LATEST = (generation_id(k) for k in (1, 2, 3))
NEW = [generation_id(k) for k in (11, 12)]


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "_PAUSE", 0.0)


@pytest.fixture
def rounds(source: Path, tmp_path: Path) -> Iterator[tuple[Steps, Path]]:
    """Yields a new order and a new chain of three generations, the last one published, for each round."""

    def every() -> Iterator[tuple[Steps, Path]]:
        for seed in range(ROUNDS):
            output = tmp_path / f"output-{seed}"
            for number in (1, 2, 3):
                add(source, output, number, number - 1 or None)
            point(output, LATEST)
            with Steps(seed).patched() as steps:
                yield steps, output
            # Whatever happened, the latest generation is whole, and the next purge works.
            assert open_generation(output, verify="hashes").root.endswith(named(output))
            purge_all(output)
            assert standing(output) == [named(output)]
            assert os.listdir(output / "generations") == [named(output)]
            shutil.rmtree(output)

    return every()


def purge_all(output: Path) -> Purged:
    return purge(str(output), 0, grace=timedelta(0))


def read(output: Path, name: str) -> str:
    """Read a whole generation under a lease, as training does; some accesses in between."""
    root = str(output / "generations" / name)
    open_generation(root, verify="sizes")
    with reader_lease(root, "train"):
        try:
            for _ in range(10):
                open_generation(root, verify="sizes")
        except GenerationError as error:
            raise AssertionError(f"it was let in, and then cheated: {error}") from error
    return "read"


def refresh(output: Path, parent: str, name: str, *, anyway: bool = False) -> str:
    """What a refresh does with its output and its parent."""
    found, above = read_latest(str(output)), output / "generations"
    root, source = above / name, above / parent
    with reader_lease(str(source), "refresh"):
        lease.begin(str(output), name, datetime.now(UTC))
        with lease.keep(str(root)):
            manifest = Manifest.model_validate_json((source / "manifest.json").read_text())
            for file in manifest.files:
                storage.write_bytes(
                    str(root / file.path), storage.read_bytes(f"{source}/{file.path}")
                )
            own = manifest.model_copy(update={"generation": name, "parent": parent})
            storage.create_bytes(f"{root}/manifest.json", own.to_json().encode(), name)
            try:
                publish_refresh(str(output), name, name, parent, found, anyway=anyway)
            finally:
                storage.delete_files([f"{root}/{lease.LEASE_NAME}"])
    return name


def one_of(results: list[Any], kind: type[BaseException]) -> tuple[int, int]:
    """The index of the only success, and that of the failure."""
    failed = [isinstance(r, BaseException) for r in results]
    assert sorted(failed) == [False, True], results
    assert isinstance(results[failed.index(True)], kind), results
    return failed.index(False), failed.index(True)


def test_a_purge_and_a_reader(rounds: Iterator[tuple[Steps, Path]]) -> None:
    """The reader reads the whole generation, or is refused; never is it cheated."""
    seen = set()
    for steps, output in rounds:
        done, got = steps.run(lambda o=output: purge_all(o), lambda o=output: read(o, Q))
        assert isinstance(done, Purged), done
        if got != "read":
            assert isinstance(got, GenerationError), got
            assert Q in [one.id for one, _ in done.deleted]
        seen.add(str(got)[-4:])
    assert "read" in seen


def test_a_purge_and_a_refresh(rounds: Iterator[tuple[Steps, Path]]) -> None:
    """The parent, which is not the latest, is there to the end, or the refresh is refused at its start."""
    for steps, output in rounds:
        done, got = steps.run(
            lambda o=output: purge_all(o), lambda o=output: refresh(o, Q, NEW[0], anyway=True)
        )
        assert isinstance(done, Purged), done
        if got == NEW[0]:
            assert named(output) == NEW[0]
        else:
            assert isinstance(got, GenerationError), got
            assert named(output) == LATEST


def test_a_purge_and_a_refresh_of_the_latest(rounds: Iterator[tuple[Steps, Path]]) -> None:
    for steps, output in rounds:
        done, got = steps.run(
            lambda o=output: purge_all(o), lambda o=output: refresh(o, LATEST, NEW[0])
        )
        assert isinstance(done, Purged), done
        assert got == named(output) == NEW[0]


def test_a_purge_and_a_publish(rounds: Iterator[tuple[Steps, Path]]) -> None:
    for steps, output in rounds:
        done, got = steps.run(lambda o=output: purge_all(o), lambda o=output: publish(str(o), Q))
        assert isinstance(done, Purged), done
        if got == LATEST:
            assert named(output) == Q
        else:
            assert isinstance(got, GenerationError | CallError), got
            assert named(output) == LATEST


def test_a_purge_and_a_pin(rounds: Iterator[tuple[Steps, Path]]) -> None:
    for steps, output in rounds:
        done, got = steps.run(lambda o=output: purge_all(o), lambda o=output: pin(str(o), Q))
        assert isinstance(done, Purged), done
        if isinstance(got, dict):
            assert open_generation(output / "generations" / Q, verify="hashes")
            (output / "pins" / f"{Q}.json").unlink()
        else:
            assert isinstance(got, GenerationError | CallError), got
            assert Q not in standing(output)
            assert not (output / "pins" / f"{Q}.json").exists()


def test_two_purges(rounds: Iterator[tuple[Steps, Path]]) -> None:
    for steps, output in rounds:
        both = steps.run(lambda o=output: purge_all(o), lambda o=output: purge_all(o))
        assert all(isinstance(done, Purged) for done in both), both
        gone = [one.id for done in both for one, _ in done.deleted]
        assert sorted(gone) == [P, Q]
        assert standing(output) == [LATEST]


def test_two_publishes(rounds: Iterator[tuple[Steps, Path]]) -> None:
    """Both succeed one after the other, or one is refused: nobody replaces what he has not seen."""
    for steps, output in rounds:
        results = steps.run(
            lambda o=output: publish(str(o), P), lambda o=output: publish(str(o), Q)
        )
        if any(isinstance(r, BaseException) for r in results):
            won, _ = one_of(results, NotPublishedError)
            assert named(output) == (P, Q)[won]
            assert results[won] == LATEST
        else:
            assert (*results, named(output)) in ((LATEST, P, Q), (Q, LATEST, P))


def test_two_refreshes_of_one_parent(rounds: Iterator[tuple[Steps, Path]]) -> None:
    for steps, output in rounds:
        results = steps.run(
            lambda o=output: refresh(o, LATEST, NEW[0]), lambda o=output: refresh(o, LATEST, NEW[1])
        )
        won, lost = one_of(results, NotPublishedError)
        assert named(output) == NEW[won]
        sentence = f"not published: latest.json names {NEW[won]}, not {LATEST}. "
        assert str(results[lost]).startswith(sentence)
        assert open_generation(output / "generations" / NEW[lost], verify="hashes")


@pytest.mark.parametrize("anyway", [False, True])
def test_a_rollback_and_a_refresh(rounds: Iterator[tuple[Steps, Path]], anyway: bool) -> None:
    """A rollback is never undone by a refresh that was under way."""
    for steps, output in rounds:
        results = steps.run(
            lambda o=output: publish(str(o), P),
            lambda o=output: refresh(o, LATEST, NEW[0], anyway=anyway),
        )
        if not any(isinstance(r, BaseException) for r in results):
            # The refresh was published before, or, on demand, began after the rollback.
            if named(output) == P:
                assert results[0] == NEW[0]
            else:
                assert anyway
                assert results[0] == LATEST
        else:
            won, _ = one_of(results, NotPublishedError)
            assert named(output) == (P, NEW[0])[won]


# --- killed ------------------------------------------------------------------------------------


def _killed_everywhere(source: Path, tmp_path: Path, work: Callable[[Path], Any]) -> int:
    """Kill something before each of its changes of the disk, or some of them; returns about the number of changes."""
    for number in itertools.count(step=max(1, 40 // ROUNDS)):
        output = tmp_path / f"killed-{number}"
        for k in (1, 2, 3):
            add(source, output, k, k - 1 or None)
        point(output, LATEST)
        before = {name: _files(output / "generations" / name) for name in standing(output)}
        again = killed_at(number, lambda o=output: work(o))
        latest = open_generation(output, verify="hashes")
        for name in standing(output):  # what has a manifest has everything else as well
            open_generation(output / "generations" / name, verify="sizes")
            more = _files(output / "generations" / name) - before[name]
            assert all(file.startswith(lease.LEASE_NAME) for file in more)
        assert latest.root.endswith(named(output))
        work(output)
        purge_all(output)
        # An empty folder, of which nobody knows whether a build is about to begin in it, is swept later.
        assert {p.parent.name for p in (output / "generations").glob("*/*")} == {named(output)}
        check_only_generations(output)
        shutil.rmtree(output)
        if not again:
            return number
    raise AssertionError


def _files(root: Path) -> set[str]:
    """The files of a generation."""
    return {str(p.relative_to(root)) for p in root.rglob("*") if p.is_file()}


def test_a_publish_is_killed_at_every_moment(source: Path, tmp_path: Path) -> None:
    def work(output: Path) -> None:
        publish(str(output), P, verify="sizes")
        assert named(output) == P

    assert _killed_everywhere(source, tmp_path, work) > 4


@pytest.mark.slow
def test_a_purge_is_killed_at_every_moment(source: Path, tmp_path: Path) -> None:
    def work(output: Path) -> None:
        purge_all(output)
        assert standing(output) == [LATEST]

    assert _killed_everywhere(source, tmp_path, work) > 60


def test_a_killed_pin_pins_or_does_not(source: Path, tmp_path: Path) -> None:
    def work(output: Path) -> None:
        assert pin(str(output), P)["generation"] == P
        path = output / "pins" / f"{P}.json"
        assert json.loads(path.read_text())["generation"] == P
        path.unlink()

    assert _killed_everywhere(source, tmp_path, work) > 4
