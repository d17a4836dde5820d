"""Who may let `latest.json` name another generation."""

import json
from contextlib import suppress
from pathlib import Path

import pytest

from heterrec_pipeline.publishing.latest import Latest, publish_refresh, read_latest
from heterrec_schemas.errors import NotPublishedError, RunError, from_wire

P, R, SIBLING, OLD = (f"20260101T00000000{k}Z-0000000{k}" for k in (2, 4, 3, 1))


def say(output: Path, name: str | None) -> Latest:
    path = output / "latest.json"
    if name is None:
        path.unlink(missing_ok=True)
    else:
        path.write_text(json.dumps({"generation": name}))
    return read_latest(str(output))


def refused(output: Path, found: Latest, *, anyway: bool = False) -> str | None:
    """Publish R as a refresh of P; the first sentence of the error, or None."""
    before = read_latest(str(output))
    with suppress(NotPublishedError):
        publish_refresh(str(output), R, "a", P, found, anyway=anyway)
        assert read_latest(str(output)).names == R
        return None
    assert read_latest(str(output)) == before
    with pytest.raises(NotPublishedError) as raised:
        publish_refresh(str(output), R, "a", P, found, anyway=anyway)
    assert str(output / "generations" / R) in raised.value.message
    return raised.value.message.partition(". ")[0].removeprefix("not published: ")


def test_a_refresh_follows_its_parent(tmp_path: Path) -> None:
    assert refused(tmp_path, say(tmp_path, P)) is None
    assert refused(tmp_path, say(tmp_path, None)) is None


def test_of_two_refreshes_of_a_parent_one_is_published(tmp_path: Path) -> None:
    found = say(tmp_path, P)
    say(tmp_path, SIBLING)
    assert refused(tmp_path, found) == f"latest.json names {SIBLING}, not {P}"
    assert refused(tmp_path, found, anyway=True) == f"latest.json names {SIBLING}, not {P}"


def test_a_rollback_is_not_undone(tmp_path: Path) -> None:
    found = say(tmp_path, P)
    say(tmp_path, OLD)
    for anyway in (False, True):
        assert refused(tmp_path, found, anyway=anyway) == f"latest.json names {OLD}, not {P}"
    say(tmp_path, None)
    assert refused(tmp_path, found) == f"latest.json is absent, not {P}"


def test_a_refresh_of_another_generation_is_published_on_demand(tmp_path: Path) -> None:
    found = say(tmp_path, OLD)
    assert refused(tmp_path, found) == f"latest.json names {OLD}, not {P}"
    assert refused(tmp_path, found, anyway=True) is None
    found = say(tmp_path, OLD)
    say(tmp_path, SIBLING)
    assert refused(tmp_path, found, anyway=True) == f"latest.json names {SIBLING}, not {OLD}"


def test_a_latest_that_appears_meanwhile_is_kept(tmp_path: Path) -> None:
    found = say(tmp_path, None)
    say(tmp_path, OLD)
    assert refused(tmp_path, found) == f"latest.json names {OLD}, not {P}"
    say(tmp_path, P)
    assert refused(tmp_path, found) == f"latest.json names {P}, not none"


def test_a_damaged_latest_is_kept_unless_asked(tmp_path: Path) -> None:
    (tmp_path / "latest.json").write_text("{")
    found = read_latest(str(tmp_path))
    assert refused(tmp_path, found) == f"latest.json names no generation, not {P}"
    assert refused(tmp_path, found, anyway=True) is None


def test_a_retry_changes_nothing(tmp_path: Path) -> None:
    found = say(tmp_path, P)
    for _ in range(2):
        assert refused(tmp_path, found) is None


def test_white_space_is_no_decision(tmp_path: Path) -> None:
    found = say(tmp_path, P)
    (tmp_path / "latest.json").write_text(f' {{"generation":\n"{P}"}}')
    assert refused(tmp_path, found) is None


def test_the_error_survives_an_engine() -> None:
    error = NotPublishedError("not published: x")
    assert isinstance(error, RunError)
    assert type(from_wire(error.to_wire())) is NotPublishedError
