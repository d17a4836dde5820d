"""Predictions beside real builds, each in a process of its own that is watched."""

from pathlib import Path

import pytest
from real_build import watched

from heterrec_pipeline.planning.plan import Plan, PlanConfig, plan
from heterrec_schemas.feature_spec import parse_spec

SHARED = Path(__file__).resolve().parents[3].parent / "shared"
DATA = {
    "amazon_beauty": "amazon_beauty",
    "amazon_beauty_temporal": "amazon_beauty",
    "movielens_latest_small": "movielens_latest_small",
    "rees46_2019_oct": "rees46_2019_oct",
}
NEAR = 0.25
OVERHEAD = 50_000
"""Bytes of framing that no table accounts for."""


def planned(spec: Path, source: Path) -> Plan:
    text = spec.read_text(encoding="utf-8")
    return plan(PlanConfig(parse_spec(text), text, str(source)))


@pytest.mark.slow
@pytest.mark.real_data
@pytest.mark.parametrize("name", DATA)
def test_predictions_are_within_a_quarter_of_a_build(name: str, tmp_path: Path) -> None:
    spec, source = SHARED / "specs" / f"{name}.yaml", SHARED / "data" / DATA[name]
    if not (spec.exists() and source.exists()):
        pytest.skip(f"needs {name}.yaml and its data in ../shared")
    found = planned(spec, source)
    real = watched(spec, source, tmp_path / "out")

    assert found.bytes_out == pytest.approx(real.bytes_out, rel=NEAR)
    log = real.manifest.counts.interactions
    for part in ("read", "kept", "duplicate", "short_user", "unknown_item", "rejected"):
        assert found.figures.log[part].value == getattr(log, part), part
    sequences = real.manifest.counts.sequences
    assert {s: e.value for s, e in found.figures.sequences.items()} == sequences
    assert found.figures.rejects == real.manifest.rejects
    for table, size in real.shuffle.items():
        assert found.shuffle.by_table[table] == pytest.approx(size, rel=NEAR, abs=OVERHEAD), table
    assert sum(found.parts.values()) == pytest.approx(real.parts, rel=NEAR, abs=OVERHEAD)
    assert found.memory.peak == pytest.approx(real.peak, rel=NEAR)
    for feature, entry in zip(found.figures.features, real.manifest.features, strict=True):
        assert feature.entry is not None
        assert feature.entry.vocabulary_size == entry.vocabulary_size
