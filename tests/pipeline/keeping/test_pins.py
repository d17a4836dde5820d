from pathlib import Path

import pytest
from chains import add, generation_id

from heterrec_pipeline.keeping import pin, survey, unpin
from heterrec_pipeline.publishing import lease
from heterrec_schemas import leases
from heterrec_schemas.errors import CallError, RunError, UnfinishedGenerationError


def test_a_pin_has_a_reason_and_a_time(source: Path, output: Path) -> None:
    name = add(source, output, 1)
    body = pin(str(output), name, "audit")
    (listed,) = survey(str(output)).listed
    assert listed.pin == body
    assert (body["generation"], body["reason"]) == (name, "audit")
    assert body["time"].endswith("Z")
    assert pin(str(output), name)["reason"] is None
    assert unpin(str(output), name)
    assert not unpin(str(output), name)
    assert survey(str(output)).listed[0].states == ()


def test_only_finished_generations_are_pinned(source: Path, output: Path) -> None:
    add(source, output, 1)
    (output / "generations" / generation_id(2)).mkdir()
    with pytest.raises(UnfinishedGenerationError, match="has no manifest"):
        pin(str(output), generation_id(2))
    with pytest.raises(CallError, match="Did you mean "):
        pin(str(output), generation_id(3))
    with pytest.raises(CallError, match="has no generation"):
        unpin(str(output), generation_id(3))
    assert not (output / "pins").exists()


def test_what_a_purge_is_about_to_delete_is_not_pinned(
    source: Path, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = add(source, output, 1)
    assert lease.mark(str(output / "generations" / name))
    monkeypatch.setattr(leases.reader, "PURGE_SECONDS", 0.2)
    with pytest.raises(RunError, match="is being deleted by a purge"):
        pin(str(output), name)
    assert survey(str(output)).listed[0].states == ("leased",)


def test_a_damaged_pin_still_protects(source: Path, output: Path) -> None:
    name = add(source, output, 1)
    pin(str(output), name)
    (output / "pins" / f"{name}.json").write_text("{")
    assert survey(str(output)).listed[0].states == ("pinned",)
