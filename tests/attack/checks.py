"""What holds of every message, whatever caused it."""

import re
from collections.abc import Callable
from typing import Any

from warm_command import Finished

from heterrec_schemas.errors import HeterrecError

_BAD = (
    (re.compile(r"Traceback \(most recent|\bFile \"[^\"]+\", line \d+"), "a traceback"),
    (re.compile(r"\ban unexpected \w+"), "an unexpected error"),
    (re.compile(r" object at 0x[0-9a-f]+|<class '"), "an object of Python"),
    (re.compile(r"^(?:error: )?\w*(?:Error|Exception)\W*$"), "the name of a class alone"),
)
MAX_MESSAGE = 60_000
"""Characters of a message: at most 50 lines of 1,000 are of mistakes in a spec."""


def check_message(text: str) -> None:
    """A message for a person: some words, no traceback."""
    assert text.strip(), "a failure without a message"
    for pattern, what in _BAD:
        assert not pattern.search(text), f"{what} in the message: {text[-3000:]}"
    assert len(text) <= MAX_MESSAGE, f"a message of {len(text):,} characters: {text[:2000]}"


def refusal(call: Callable[[], Any]) -> str | None:
    """The message of the error that a call raises on purpose; None if it returns. Any other error passes through."""
    try:
        call()
    except HeterrecError as error:
        check_message(error.message)
        return error.message
    return None


def check_command(done: Finished, *codes: int) -> str:
    """A command has done its work, or said why not: returns `accepted` or `refused`.

    Args:
        done: the command.
        codes: the exit codes of a refusal; 2 if none is given.
    """
    assert done.code in (0, *(codes or (2,))), f"exit code {done.code}: {done.err[-3000:]}"
    if done.code == 0:
        assert "Traceback (most recent" not in done.err, done.err[-3000:]
        return "accepted"
    check_message(done.message)
    return "refused"
