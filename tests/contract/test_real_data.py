"""Builds of real data, each in a process of its own that is watched: checked by the independent checker, and predicted."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from real_build import Watched, watched

from heterrec_pipeline.planning.plan import PlanConfig, plan
from heterrec_schemas.feature_spec import parse_spec

pytestmark = [pytest.mark.slow, pytest.mark.real_data]
DATA = {
    "amazon_beauty": "amazon_beauty",
    "amazon_beauty_temporal": "amazon_beauty",
    "movielens_latest_small": "movielens_latest_small",
    "rees46_2019_oct": "rees46_2019_oct",
}
NEAR = 0.25
OVERHEAD = 50_000
"""Bytes of framing that no table accounts for."""


@dataclass(frozen=True)
class Real:
    """A spec, its input, and the build of both."""

    spec: Path
    source: Path
    root: Path
    build: Watched


@pytest.fixture(scope="module", params=DATA)
def real(
    request: pytest.FixtureRequest, shared: Path, tmp_path_factory: pytest.TempPathFactory
) -> Real:
    name = request.param
    spec, source = shared / "specs" / f"{name}.yaml", shared / "data" / DATA[name]
    if not (spec.exists() and source.exists()):
        pytest.skip(f"needs {name}.yaml and its data in ../shared")
    output = tmp_path_factory.mktemp(name) / "out"
    build = watched(spec, source, output)
    return Real(spec, source, output / "generations" / build.manifest.generation, build)


def test_the_checker_accepts_it(real: Real, shared: Path) -> None:
    checker = shared / "check_generation.py"
    if not checker.exists():
        pytest.skip("built; the checker ../shared/check_generation.py is absent")
    words = [sys.executable, str(checker), "--spec", str(real.spec)]
    words += ["--input", str(real.source), "--generation", str(real.root)]
    run = subprocess.run(words, capture_output=True, text=True, timeout=600)
    failed = [line for line in run.stdout.splitlines() if line.startswith("FAIL")]
    assert run.returncode == 0, "\n".join(failed) or run.stderr


def test_predictions_are_within_a_quarter(real: Real) -> None:
    text = real.spec.read_text(encoding="utf-8")
    found, build = plan(PlanConfig(parse_spec(text), text, str(real.source))), real.build

    assert found.bytes_out == pytest.approx(build.bytes_out, rel=NEAR)
    log = build.manifest.counts.interactions
    for part in ("read", "kept", "duplicate", "short_user", "unknown_item", "rejected"):
        assert found.figures.log[part].value == getattr(log, part), part
    sequences = build.manifest.counts.sequences
    assert {s: e.value for s, e in found.figures.sequences.items()} == sequences
    assert found.figures.rejects == build.manifest.rejects
    for table, size in build.shuffle.items():
        assert found.shuffle.by_table[table] == pytest.approx(size, rel=NEAR, abs=OVERHEAD), table
    assert sum(found.parts.values()) == pytest.approx(build.parts, rel=NEAR, abs=OVERHEAD)
    assert found.memory.peak == pytest.approx(build.peak, rel=NEAR)
    for feature, entry in zip(found.figures.features, build.manifest.features, strict=True):
        assert feature.entry is not None
        assert feature.entry.vocabulary_size == entry.vocabulary_size
