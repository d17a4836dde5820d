import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from heterrec_schemas import Generation, open_generation
from heterrec_schemas.drift import DRIFT_NAME, DriftReport, worst
from heterrec_schemas.errors import CorruptGenerationError
from heterrec_schemas.manifest import FileEntry


def feature(
    name: str, status: str, psi: float | None, psi_fit: float | None = None
) -> dict[str, Any]:
    return {
        "name": name,
        "side": "item",
        "psi": psi,
        "psi_fit": psi_fit,
        "status": status,
        "missing": [0.0, 0.1],
        "oov": [None, 0.0],
        "baseline": [3, [[1, 2], [2, 1]]],
        "parent": None,
        "present": [1, 2, 3],
    }


BODY = {
    "parent": "p",
    "status": "fail",
    "allowed": False,
    "rows": {"items": [4, 2, 0.5], "users": [0, 3, 0.0], "interactions": [1, 1, 0.0]},
    "features": [
        feature("a", "pass", None, 0.3),
        feature("b", "warn", 0.2),
        feature("c", "fail", 0.3),
        feature("d", "pass", None, 0.4),
        feature("e", "fail", 0.4),
    ],
}


def test_a_report_comes_back_from_its_json() -> None:
    report = DriftReport.model_validate(BODY)
    text = report.to_json()
    assert DriftReport.model_validate_json(text) == report
    data = json.loads(text)
    assert {k: data[k] for k in BODY if k != "features"} == {
        k: BODY[k] for k in BODY if k != "features"
    }
    assert data["features"][0]["baseline"] == [3, [[1, 2], [2, 1]]]
    assert data["features"][0]["values"] is None
    assert len(text.splitlines()) < 40  # one line per feature


def test_the_worst_comes_first() -> None:
    report = DriftReport.model_validate(BODY)
    assert [f.name for f in report.worst_first()] == ["e", "c", "b", "d", "a"]
    assert worst(["pass", "warn", "pass"]) == "warn"
    assert worst([]) == "pass"


def test_later_releases_may_add_keys() -> None:
    assert DriftReport.model_validate(BODY | {"colour": "red"}) == DriftReport.model_validate(BODY)


def with_report(generation: Generation, text: str) -> Generation:
    """The generation with a `drift.json`."""
    (Path(generation.folder.path) / DRIFT_NAME).write_text(text)
    entry = FileEntry(path=DRIFT_NAME, rows=None, bytes=len(text), sha256="")
    manifest = generation.manifest.model_copy(update={"files": [*generation.manifest.files, entry]})
    return Generation(generation.folder, manifest, generation.spec)


def test_a_generation_reads_its_report(generation: Generation, copied: Callable[[], Path]) -> None:
    assert generation.drift() is None
    copy = open_generation(copied())
    report = DriftReport.model_validate(BODY)
    assert with_report(copy, report.to_json()).drift() == report


@pytest.mark.parametrize("text", ["{", "[]", '{"parent": 3}'])
def test_what_is_no_report_is_refused(text: str, copied: Callable[[], Path]) -> None:
    damaged = with_report(open_generation(copied()), text)
    with pytest.raises(CorruptGenerationError, match=r"drift\.json is not a drift report"):
        damaged.drift()
