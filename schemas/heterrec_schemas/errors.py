"""One exception family. A message says what happened, what was got and expected, and what to do next.

An error that is raised on a worker reaches the caller as text inside an exception of the engine. `to_wire` writes the
error into that text as a marked line; `from_wire` finds it there.
"""

import difflib
import json
import re
from collections.abc import Iterable
from typing import ClassVar


class HeterrecError(Exception):
    """Base of every error that the project raises on purpose.

    Attributes:
        message: one or several lines for a person.
        what, got, expected, todo: the parts of the message; None where left out.
        exit_code: the exit code of a command: 2 for a mistake in the call, the spec or the data, 1 for a failed run.
    """

    exit_code: ClassVar[int] = 1

    def __init__(
        self,
        what: str,
        *,
        got: object = None,
        expected: object = None,
        todo: str | None = None,
    ) -> None:
        """Compose the message from its parts; `got` and `expected` are left out when None."""
        self.what, self.got, self.expected, self.todo = what, got, expected, todo
        parts = [
            f"{word} {value}"
            for word, value in (("got", got), ("expected", expected))
            if value is not None
        ]
        text = f"{what}: {', '.join(parts)}" if parts else what
        self.message = f"{text.rstrip('.')}. {todo}" if todo else text
        super().__init__(self.message)

    def to_wire(self) -> str:
        """The error as one marked line that survives being pasted into another exception's text."""
        body = json.dumps({"type": type(self).__name__, "message": self.message})
        return f"<<heterrec {body.encode('utf-8').hex()} heterrec>>"


class CallError(HeterrecError):
    """A mistake in how a command or function was called."""

    exit_code = 2


class UnknownItemError(CallError):
    """An id in a call is no item of the catalogue."""


class SpecError(HeterrecError):
    """Mistakes in a feature spec; the message lists all of them."""

    exit_code = 2


class DataError(HeterrecError):
    """A mistake in the input data."""

    exit_code = 2


class SchemaMismatchError(DataError):
    """A column is absent or has a type that its use does not allow."""


class RejectRatioError(DataError):
    """More rows were rejected than `limits.max_reject_ratio` allows."""


class GenerationError(HeterrecError):
    """A generation cannot be read."""

    exit_code = 2


class UnfinishedGenerationError(GenerationError):
    """A generation without a manifest: its build is still running, or failed."""


class FormatVersionError(GenerationError):
    """A generation whose format version is unknown to this release."""


class CorruptGenerationError(GenerationError):
    """A file of a generation is absent or differs from what the manifest says."""


class BundleError(HeterrecError):
    """An exported bundle, or its index, cannot be read or does not fit."""

    exit_code = 2


class CorruptCheckpointError(HeterrecError):
    """A file of a model's checkpoint is absent or damaged."""

    exit_code = 2


class RunError(HeterrecError):
    """A failure of the run itself: a full disk, a dead worker, a store that does not answer."""


class NotPublishedError(RunError):
    """A complete generation that `latest.json` does not name."""


def with_extra(*names: str) -> str:
    """What to do about packages of extras that are not installed; no command, since HeterRec is on no package index."""
    listed = " and ".join(names)
    return f"Install HeterRec with the extra{'s' if len(names) > 1 else ''} {listed}: README, Installation."


_FAMILY: dict[str, type[HeterrecError]] = {
    cls.__name__: cls
    for cls in (
        HeterrecError,
        CallError,
        UnknownItemError,
        SpecError,
        DataError,
        SchemaMismatchError,
        RejectRatioError,
        GenerationError,
        UnfinishedGenerationError,
        FormatVersionError,
        CorruptGenerationError,
        BundleError,
        CorruptCheckpointError,
        RunError,
        NotPublishedError,
    )
}
_WIRE = re.compile(r"<<heterrec ([0-9a-f]+) heterrec>>")


def from_wire(text: str) -> HeterrecError | None:
    """The first error in a text that `to_wire` wrote, or None."""
    found = _WIRE.search(text)
    if found is None:
        return None
    body = json.loads(bytes.fromhex(found.group(1)).decode("utf-8"))
    return _FAMILY.get(body["type"], HeterrecError)(body["message"])


def without_wire(text: str) -> str:
    """A text without the lines of `to_wire`."""
    return _WIRE.sub("", text)


def suggest(name: str, known: Iterable[str]) -> str:
    """A hint for a misspelt name: `Did you mean 'brand'?`, the known names, or an empty text."""
    names = sorted({str(k) for k in known})
    close = difflib.get_close_matches(name, names, n=2, cutoff=0.6)
    folded = {n.lower(): n for n in names}
    if not close and name.lower() in folded:
        close = [folded[name.lower()]]
    if close:
        return f"Did you mean {' or '.join(repr(c) for c in close)}?"
    if not names:
        return ""
    shown = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
    return f"Known: {shown}."
