"""Find the project's errors, and the stage that raised them, in the exceptions of engines."""

import errno
import re
from collections.abc import Iterator

from heterrec_schemas.errors import HeterrecError, RunError, from_wire

_STEP = re.compile(r"\[while running '[^'/]+/([^'/]+)")
"""The mark of the failing step that Beam's workers add to errors, on every engine."""


def found_in(error: BaseException) -> HeterrecError | None:
    """The project's error inside an engine's exception, or None."""
    for seen in _chain(error):
        if isinstance(seen, HeterrecError):
            return seen
        found = from_wire(str(seen))
        if found is not None:
            return found
    return None


def stage_of(error: BaseException) -> str | None:
    """The stage whose step raised an engine's exception; None if no step did."""
    for seen in _chain(error):
        found = _STEP.search(str(seen))
        if found is not None:
            return found.group(1)
    return None


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An exception, its cause, the cause's cause ...; ends where the chain meets itself."""
    seen: list[BaseException] = []
    following: BaseException | None = error
    while following is not None and not any(following is one for one in seen):
        yield following
        seen.append(following)
        following = following.__cause__ or following.__context__


def is_panic(error: BaseException) -> bool:
    """Whether an exception is a library's that is no Exception: a panic of Rust code (of polars, say)."""
    return not isinstance(error, Exception | KeyboardInterrupt | SystemExit | GeneratorExit)


def panic(error: BaseException, file: str | None) -> RunError:
    """The error for a panic, in words.

    Args:
        error: the library's exception.
        file: the input file that was processed, if known.
    """
    where = f" on {file}" if file else ""
    text = " ".join(str(error).split())
    return RunError(
        f"a library failed{where}: {type(error).__name__}: {text[:600]}",
        todo="Report it, with the types of the columns that the spec uses.",
    )


def was_stopped(error: BaseException) -> bool:
    """Whether a run ended by Ctrl-C, a signal or its time limit; the local engine turns these into errors of its own."""
    return isinstance(error, KeyboardInterrupt) or KeyboardInterrupt.__name__ in str(error)


def reason(error: BaseException) -> str:
    """The cause of an engine's exception, in one line."""
    found = found_in(error)
    text = " ".join(str(error).split())
    return found.message if found else f"{type(error).__name__}: {text[-600:]}"


def as_heterrec_error(error: BaseException, todo: str) -> HeterrecError:
    """An engine's exception as an error of the project: the one it carries, or a failure of the run with advice."""
    found = found_in(error)
    stage = stage_of(error)
    where = f" in the stage {stage}" if stage else ""
    if type(found) is RunError:
        return RunError(f"the run failed{where}: {found.message}")
    if found is not None:
        return found
    if f"[Errno {errno.ENOSPC}]" in str(error):
        return RunError(
            f"the run failed{where}: no space left on the device",
            todo="Free space on the disk of --output, then run the same command again.",
        )
    return RunError(f"the run failed{where}: {reason(error)}", todo=todo)
