import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from heterrec_pipeline.commands import app
from heterrec_schemas.testing import small_generation


@pytest.mark.parametrize("view", ["huggingface", "recbole"])
def test_a_view_is_written_once(view: str, tmp_path: Path) -> None:
    small_generation(tmp_path / "shop", 0)
    call = ["convert", str(tmp_path / "shop"), str(tmp_path / "view"), "--to", view, "--json"]
    done = CliRunner().invoke(app, call)
    assert done.exit_code == 0, done.output
    rows = json.loads(done.stdout)["rows"]
    assert all((tmp_path / "view" / name).is_file() for name in rows)
    again = CliRunner().invoke(app, call)
    assert again.exit_code == 2
    assert "exists" in again.output
    assert sorted(p.name for p in tmp_path.iterdir()) == ["shop", "view"]


def test_there_must_be_a_generation(tmp_path: Path) -> None:
    call = ["convert", str(tmp_path), str(tmp_path / "view"), "--to", "recbole"]
    assert CliRunner().invoke(app, call).exit_code == 2
    assert not (tmp_path / "view").exists()
