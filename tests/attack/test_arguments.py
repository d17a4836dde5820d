"""Any argument list: done, or refused with a message, and nothing written outside of the folder."""

import os
import random
from pathlib import Path
from typing import Any

import odd_arguments
import pytest
from budget import Attack
from checks import check_command
from corner_shop import Shop
from warm_command import WarmCommands, warm_commands

from heterrec_model.commands import app as model_app
from heterrec_pipeline.commands import app as pipeline_app

MEMORY = 12 * 2**30


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder with what odd arguments name."""
    (tmp_path / "file.csv").write_text("a\n1\n")
    (tmp_path / "folder").mkdir()
    (tmp_path / "empty").mkdir()
    os.mkfifo(tmp_path / "pipe")
    monkeypatch.setenv("HETERREC_STORE_SECONDS", "2")
    return tmp_path


def tried(
    rng: random.Random, app: Any, warm: WarmCommands, sound: dict[str, list[str]], folder: Path
) -> str:
    """Run a command with odd arguments, in processes that begin in the folder; returns how it ended."""
    name, command = rng.choice(list(odd_arguments.commands(app).items()))
    some = odd_arguments.arguments(rng, command, sound)
    assert not any(a and not a.strip("/") for a in some), (
        "the root of all folders is no place for tests"
    )
    done = warm(name, *some, timeout=110, memory=MEMORY, cwd=folder)
    # A run that cannot be is a failure of the run, with exit code 1: no such engine, say.
    return f"{name} {check_command(done, 1, 2)}"


@pytest.mark.attack(cases=10, share=3, limit=120)
def test_pipeline(attack: Attack, folder: Path) -> None:
    shop = Shop(folder / "data")
    shop.write()
    assert shop.build().code == 0

    def case(rng: random.Random) -> str:
        sound = {
            "--spec": [str(shop.spec_path)],
            "--input": [str(shop.input)],
            "--output": [str(shop.output), str(folder / "out")],
            "--base": [str(shop.output)],
            "--generation": [shop.latest()],
            "output": [str(shop.output)],
            "generation": [str(shop.output)],
        }
        return tried(rng, pipeline_app, warm_commands(), sound, folder).rpartition(" ")[2]

    attack(case)


@pytest.mark.attack(cases=4, share=3, limit=120)
def test_model(attack: Attack, run: Path, data: Path, bundle: Path, folder: Path) -> None:
    def case(rng: random.Random) -> str:
        sound = {
            "--run": [str(run), str(folder / f"run{rng.randrange(10**6)}")],
            "--data": [str(data)],
            "--bundle": [str(bundle)],
            "--output": [str(folder / "top")],
            "--pointer": [str(folder / "pointer")],
            "--set": ["train.max_steps=2", "model.width=8", "train.threads=1"],
        }
        return tried(rng, model_app, warm_commands("heterrec_model"), sound, folder).rpartition(
            " "
        )[2]

    attack(case)
