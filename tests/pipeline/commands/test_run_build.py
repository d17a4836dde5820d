"""The options that `build` and `refresh` share."""

from dataclasses import fields

import pytest
import typer
from typer.main import get_command

from heterrec_pipeline.commands import app
from heterrec_pipeline.commands.run_build import RunOptions


@pytest.mark.parametrize("name", ["build", "refresh"])
def test_a_command_has_every_shared_option_with_its_default(name: str) -> None:
    command = get_command(app).get_command(typer.Context(get_command(app)), name)  # type: ignore[attr-defined]
    found = {p.name: p.default for p in command.params}
    assert "run" not in found
    assert found.items() >= {f.name: f.default for f in fields(RunOptions)}.items()
    assert list(found)[-len(fields(RunOptions)) :] == [f.name for f in fields(RunOptions)]
