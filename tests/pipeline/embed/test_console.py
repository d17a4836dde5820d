"""Output of the command line."""

import io
import json
from pathlib import Path

import pytest
from rich.console import Console
from stand_in_encoder import items, put, run
from typer.testing import CliRunner

from heterrec_pipeline.commands import app
from heterrec_pipeline.embed import EmbedConfig, run_embed


def test_plain_lines_where_there_is_no_terminal(
    tmp_path: Path, config: EmbedConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, items())
    monkeypatch.setattr(
        "heterrec_pipeline.embed.console.embed", lambda c, **kwargs: run(c, **kwargs)
    )
    for terminal in (False, True):
        out = io.StringIO()
        run_embed(config, Console(file=out, force_terminal=terminal, width=200))
        assert "title: 36 rows, 22 distinct texts, 4 rows without; 4 dimensions" in out.getvalue()
        assert ("\x1b[" in out.getvalue()) == terminal
    assert "5 of 5 shards were finished already (22 texts)" in out.getvalue()


def test_json_is_the_result_or_the_failure(
    tmp_path: Path, config: EmbedConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, items())
    monkeypatch.setattr("heterrec_pipeline.embed.run_embed", lambda c, console: run(config))
    call = ["embed", "--input", str(tmp_path), "--items", "items.parquet", "--key", "item_id"]
    call += ["--output", str(tmp_path / "out"), "--json"]
    done = CliRunner().invoke(app, [*call, "--text", "title"])
    assert done.exit_code == 0
    result = json.loads(done.stdout)
    assert [(c["column"], c["rows"], c["dim"]) for c in result["columns"]] == [("title", 36, 4)]
    failed = CliRunner().invoke(app, call)
    assert failed.exit_code == 2
    assert json.loads(failed.stdout)["error"] == "CallError"
