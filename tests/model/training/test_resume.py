"""Processes that are killed, asked to stop, and started again."""

import json
import random
import signal
from pathlib import Path
from typing import Any

import pytest
from training_process import Training, ends_equal

SETTINGS = {
    "epochs": 3,
    "refit_epochs": 1,
    "checkpoint_every": 4,
    "validate_every": 6,
    "log_every": 1,
}

MODEL = {"repeats": {"enabled": True}, "token_heads": True}
"""With weights that have learning rates of their own."""


def losses(run: Path) -> list[tuple[Any, ...]]:
    """The log without what depends on the clock."""
    read = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    named = ("kind", "step", "epoch", "loss", "terms", "gradient_norm", "learning_rate", "metrics")
    return [tuple(line.get(name) for name in named) for line in read]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, shop_data: Path, settings: Any) -> Path:
    """A run that nobody disturbed."""
    training = Training(
        tmp_path_factory.mktemp("alone"), shop_data, settings(train=SETTINGS, model=MODEL)
    )
    training.finish("--quiet")
    return training.run


@pytest.mark.slow
def test_killed_at_a_random_step_it_ends_with_the_same_bits(
    alone: Path, tmp_path: Path, shop_data: Path, settings: Any
) -> None:
    last = losses(alone)[-1][1]
    step = random.randrange(1, last)
    training = Training(tmp_path, shop_data, settings(train=SETTINGS, model=MODEL))
    code, _, _ = training.stop_after(step, signal.SIGKILL)
    assert code == -signal.SIGKILL, f"it ended before step {step}"
    # Killed again right after it was taken up.
    training.stop_after(min(step + 2, last - 1), signal.SIGKILL, "--resume")
    training.finish("--resume", "--quiet")
    assert ends_equal(alone, training.run), f"killed at step {step}"
    assert losses(training.run) == losses(alone)
    assert not list((training.run / "checkpoints").glob(".*"))


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 1)])
def test_asked_to_stop_it_saves_and_says_so(
    number: signal.Signals, code: int, alone: Path, tmp_path: Path, shop_data: Path, settings: Any
) -> None:
    training = Training(tmp_path, shop_data, settings(train=SETTINGS, model=MODEL))
    got, out, err = training.stop_after(5, number)
    assert got == code, err
    assert f"{number.name}: saved and stopped at step" in out
    assert "Continue with --resume" in out
    saved = json.loads((training.run / "checkpoints/last/state.json").read_text())["step"]
    assert saved >= 5
    assert saved == losses(training.run)[-1][1]
    out, _ = training.finish("--resume", "--json")
    assert json.loads(out)["stopped"] is None
    assert ends_equal(alone, training.run)
    assert losses(training.run) == losses(alone)


@pytest.mark.slow
def test_killed_before_its_first_checkpoint_it_starts_at_step_0(
    alone: Path, tmp_path: Path, shop_data: Path, settings: Any
) -> None:
    late = {**SETTINGS, "checkpoint_every": 1000, "validate_every": 1000}
    training = Training(tmp_path, shop_data, settings(train=late, model=MODEL))
    training.stop_after(3, signal.SIGKILL)
    assert not (training.run / "checkpoints/last").exists()
    training.finish("--resume", "--quiet")
    assert [line[:6] for line in losses(training.run) if line[0] == "train"] == [
        line[:6] for line in losses(alone) if line[0] == "train"
    ]
