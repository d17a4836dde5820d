"""What a person sees while a run trains."""

import io

import pytest
from rich.console import Console

from heterrec_model import progress_display as module
from heterrec_model.progress_display import ProgressDisplay


def test_plain_lines_come_every_few_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: clock[0])
    out = io.StringIO()
    with ProgressDisplay(Console(file=out)) as display:
        for step in range(1, 13):
            display.step(step=step, share=step / 120, loss=1.5, items=1000)
            clock[0] += 1.0
    assert out.getvalue().splitlines() == [
        "step 1/~120  loss 1.5000  0 items/s  ? left",
        "step 6/~120  loss 1.5000  1,000 items/s  1:54 left",
        "step 11/~120  loss 1.5000  1,000 items/s  1:49 left",
    ]


def test_on_a_terminal_there_is_one_live_line() -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=60)
    with ProgressDisplay(console) as display:
        display.step(step=1, share=0.1, loss=1.5, items=10)
        display.say("step 1: best")
    assert "step 1: best" in out.getvalue()
    assert "loss 1.5000" in out.getvalue()


def test_quiet_shows_warnings_alone(capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressDisplay(None) as display:
        display.step(step=1, share=0.1, loss=1.5, items=10)
        display.say("said")
        display.warn("warned [not markup]")
    out, err = capsys.readouterr()
    assert (out, err) == ("", "warning: warned [not markup]\n")


@pytest.mark.parametrize(("seconds", "text"), [(9, "0:09"), (61, "1:01"), (3661, "1:01:01")])
def test_durations(seconds: float, text: str) -> None:
    assert module.duration(seconds) == text
