"""The trial build of a plan leaves nothing behind, and refuses nothing that a plan warns of."""

import shutil
import tempfile
from collections import namedtuple
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from heterrec_pipeline.planning import trial
from heterrec_pipeline.planning.plan import Plan, PlanConfig, plan
from heterrec_schemas.errors import RunError
from heterrec_schemas.feature_spec import parse_spec

SPEC = """version: 1
name: small
items:
  source: {path: items.parquet}
  key: item
  features:
    - {name: brand, kind: categorical, column: brand}
    - {name: size, kind: categorical, column: size}
interactions:
  source: {path: log.parquet}
  user: user
  item: item
  timestamp: {column: time, unit: s}
sequences: {max_length: 5}
split: {method: leave_one_out}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An input folder beside the only place for temporary files."""
    (tmp_path / "temporary").mkdir()
    (tmp_path / "input").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    items = {"item": ["a", "b"], "brand": ["x", "y"], "size": pa.nulls(2, pa.string())}
    pq.write_table(pa.table(items), tmp_path / "input" / "items.parquet")
    write_log(tmp_path / "input", "a")
    return tmp_path / "input"


def write_log(folder: Path, item: str) -> None:
    log = {"user": ["u", "u", "v"], "item": [item] * 3, "time": [1, 2, 3]}
    pq.write_table(pa.table(log), folder / "log.parquet")


def planned(folder: Path, **more: bool) -> Plan:
    return plan(PlanConfig(parse_spec(SPEC), SPEC, str(folder), **more))


def left(folder: Path) -> list[str]:
    """What lies in the input folder and in the place for temporary files."""
    return sorted(
        p.name for place in (folder, folder.parent / "temporary") for p in place.iterdir()
    )


def test_a_plan_leaves_nothing_behind(folder: Path) -> None:
    before = left(folder)
    found = planned(folder)
    assert found.figures.log["kept"].value == 3
    assert any("feature 'size' is missing in all 2 rows read" in w for w in found.warnings)
    assert left(folder) == before


def test_a_stopped_plan_leaves_nothing_behind(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = left(folder)

    def stopped(config: object) -> None:
        assert left(folder) != before
        raise KeyboardInterrupt

    monkeypatch.setattr(trial, "build", stopped)
    with pytest.raises(KeyboardInterrupt):
        planned(folder)
    assert left(folder) == before


def test_a_log_of_which_nothing_is_left_is_a_warning(folder: Path) -> None:
    write_log(folder, "unknown")
    found = planned(folder)
    assert found.figures.log["unknown_item"].value == 3
    assert found.figures.user_count.value == 0
    assert any("no interaction is left after the checks" in w for w in found.warnings)


def test_a_full_scan_needs_space_for_a_build(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(free=10))
    with pytest.raises(RunError, match="too little space"):
        planned(folder, full_scan=True)
