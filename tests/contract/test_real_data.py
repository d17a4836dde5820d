"""Builds of real data, checked by the independent checker if it is available."""

import subprocess
import sys
from pathlib import Path

import pytest
from building import build_folder

DATA = {
    "amazon_beauty": "amazon_beauty",
    "amazon_beauty_temporal": "amazon_beauty",
    "movielens_latest_small": "movielens_latest_small",
    "rees46_2019_oct": "rees46_2019_oct",
}


@pytest.mark.real_data
@pytest.mark.slow
@pytest.mark.parametrize("name", DATA)
def test_spec_over_real_data(name: str, shared: Path, tmp_path: Path) -> None:
    spec = shared / "specs" / f"{name}.yaml"
    data = shared / "data" / DATA[name]
    if not spec.exists() or not data.exists():
        pytest.skip(f"needs {name}.yaml and its data in ../shared")
    result = build_folder(spec.read_text(encoding="utf-8"), data, tmp_path / "out")
    assert (Path(result.path) / "manifest.json").exists()

    checker = shared / "check_generation.py"
    if not checker.exists():
        pytest.skip("built; the checker ../shared/check_generation.py is absent")
    words = [sys.executable, str(checker), "--spec", str(spec)]
    words += ["--input", str(data), "--generation", str(result.path)]
    run = subprocess.run(words, capture_output=True, text=True, timeout=600)
    failed = [line for line in run.stdout.splitlines() if line.startswith("FAIL")]
    assert run.returncode == 0, "\n".join(failed) or run.stderr
