from pathlib import Path

import pytest
from chains import add, generation_id, named, point

from heterrec_pipeline.keeping import publish, survey
from heterrec_schemas.errors import (
    CallError,
    CorruptGenerationError,
    NotPublishedError,
    UnfinishedGenerationError,
)


@pytest.fixture
def chain(source: Path, output: Path) -> Path:
    """Three generations, the last one published."""
    for number, parent in ((1, None), (2, 1), (3, 2)):
        add(source, output, number, parent)
    point(output, generation_id(3))
    return output


def test_a_rollback_and_back(chain: Path) -> None:
    assert publish(str(chain), generation_id(1)) == generation_id(3)
    assert named(chain) == generation_id(1)
    assert publish(str(chain), generation_id(1)) == generation_id(1)
    assert publish(str(chain), generation_id(3), expect=generation_id(1)) == generation_id(1)
    assert named(chain) == generation_id(3)
    assert [p.name for p in (chain / "leases").rglob("*.json")] == []


def test_another_latest_than_expected_is_kept(chain: Path) -> None:
    with pytest.raises(NotPublishedError) as raised:
        publish(str(chain), generation_id(1), expect=generation_id(2))
    assert raised.value.exit_code == 1
    assert raised.value.message.startswith(
        f"not published: latest.json names {generation_id(3)}, not {generation_id(2)}"
    )
    (chain / "latest.json").unlink()
    with pytest.raises(NotPublishedError, match=r"latest\.json is absent, not"):
        publish(str(chain), generation_id(1), expect=generation_id(3))
    assert publish(str(chain), generation_id(1)) is None
    assert named(chain) == generation_id(1)


def test_a_change_while_it_verifies_is_noticed(
    chain: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "heterrec_pipeline.keeping.repoint.open_generation",
        lambda *_, **__: point(chain, generation_id(2)),
    )
    with pytest.raises(NotPublishedError, match=f"names {generation_id(2)}, not"):
        publish(str(chain), generation_id(1))
    assert named(chain) == generation_id(2)


def test_only_whole_generations_are_published(chain: Path) -> None:
    first = chain / "generations" / generation_id(1)
    next(first.glob("items/*")).write_bytes(b"x")
    with pytest.raises(CorruptGenerationError, match="1 of"):
        publish(str(chain), generation_id(1))
    (first / "manifest.json").unlink()
    with pytest.raises(UnfinishedGenerationError, match="has no manifest"):
        publish(str(chain), generation_id(1))
    with pytest.raises(CallError, match="has no generation"):
        publish(str(chain), "x")
    with pytest.raises(CallError, match="--expect"):
        publish(str(chain), generation_id(2), expect="yesterday")
    assert named(chain) == generation_id(3)
    assert len(survey(str(chain)).listed) == 3
