"""Find the project's errors, and the stage that raised them, in the exceptions of engines."""

import re

from heterrec_schemas.errors import HeterrecError, from_wire

_STEP = re.compile(r"\[while running '[^'/]+/([^'/]+)")
"""The mark of the failing step that Beam's workers add to errors, on every engine."""


def found_in(error: BaseException) -> HeterrecError | None:
    """The project's error inside an engine's exception, or None."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, HeterrecError):
            return seen
        found = from_wire(str(seen))
        if found is not None:
            return found
        seen = seen.__cause__ or seen.__context__
    return None


def stage_of(error: BaseException) -> str | None:
    """The stage whose step raised an engine's exception; None if no step did."""
    seen: BaseException | None = error
    while seen is not None:
        found = _STEP.search(str(seen))
        if found is not None:
            return found.group(1)
        seen = seen.__cause__ or seen.__context__
    return None
