"""The commands `index` and `recommend --bundle` as processes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from made_bundle import clustered, made_bundle
from typer.testing import CliRunner

from heterrec_model.commands import app


def run(*words: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, [str(word) for word in words])
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return made_bundle(tmp_path / "bundle", clustered(300, 8, 1), clustered(40, 8, 2)).folder


def test_index(bundle: Path) -> None:
    code, out, err = run("index", "--bundle", bundle, "--kind", "ivf", "-k", 5, "--json", "--quiet")
    body = json.loads(out)
    assert (code, err) == (0, "")
    assert body["kind"] == "ivf"
    assert body["recall"] >= 0.99
    code, out, err = run("index", "--bundle", bundle)
    assert code == 0
    assert "index flat: recall@100 1.0000" in out
    assert "building the index of 300 items" in err
    code, out, err = run("index", "--bundle", bundle, "--kind", "tree")
    assert (code, out) == (2, "")
    assert "there is no kind 'tree'" in err


def test_recommend_in_bulk_is_refused(bundle: Path, tmp_path: Path) -> None:
    for words, message in (
        (["--users", "all", "--output", tmp_path / "out"], "has no histories"),
        (["--users", "all"], "got no --output"),
        (["--user", "u1"], "got --user"),
        (
            ["--users", "all", "--output", tmp_path / "out", "--deny", tmp_path / "none"],
            "there is no file",
        ),
    ):
        code, out, err = run("recommend", "--bundle", bundle, *words)
        assert (code, out) == (2, "")
        assert message in err


def test_they_need_no_pytorch(bundle: Path) -> None:
    code = (
        "import sys; sys.modules['torch'] = sys.modules['apache_beam'] = None\n"
        "from heterrec_model.commands import app\n"
        "import heterrec_model.bulk.run, heterrec_model.bulk.worker\n"
        f"app(['index', '--bundle', {str(bundle)!r}, '--json'])"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["kind"] == "flat"
