"""The views, read by the real libraries in environments of their own: HETERREC_VIEWS names the folder of those."""

import os
import subprocess
from pathlib import Path

import pytest

import heterrec_schemas
from heterrec_schemas import open_generation
from heterrec_schemas.testing import Settings, small_generation
from heterrec_schemas.views import write_huggingface, write_recbole

SPLITS = ("leave_one_out", "temporal")


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("library", ["huggingface", "rectools", "recbole"])
def test_the_library_reads_the_view(library: str, split: str, tmp_path: Path) -> None:
    python = Path(os.environ.get("HETERREC_VIEWS", "/absent"), library, "bin", "python")
    if not python.exists():
        pytest.skip(f"needs HETERREC_VIEWS/{library}: run `make views`")
    small_generation(tmp_path / "output", 0, settings=Settings(split=split))
    generation = open_generation(tmp_path / "output")
    if library == "huggingface":
        write_huggingface(generation, tmp_path / "shop")
    elif library == "recbole":
        write_recbole(generation, tmp_path / "shop")
    script = Path(__file__).with_name("try_libraries.py")
    ran = subprocess.run(
        [python, script, library, tmp_path / "output", tmp_path / "shop"],
        env={
            **os.environ,
            "PYTHONPATH": str(Path(heterrec_schemas.__file__).parents[1]),
            "HF_HOME": str(tmp_path / "cache"),
            "HF_HUB_OFFLINE": "1",
        },
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout[-3000:] + ran.stderr[-3000:]
