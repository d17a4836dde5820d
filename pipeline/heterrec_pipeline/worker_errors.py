"""Carry errors from a worker to whoever called: as text that survives every engine's wrapping."""

import functools
import re
from collections.abc import Callable, Iterator
from typing import Any

from heterrec_pipeline.observing import spans
from heterrec_schemas.errors import HeterrecError, from_wire

_STEP = re.compile(r"\[while running '[^'/]+/([^'/]+)")
"""How Beam's workers mark an error with the step that raised it, whatever the engine."""


def carried(process: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
    """Decorate a generator method (`DoFn.process`, `finish_bundle`): its errors can be found again, its calls are timed."""

    @functools.wraps(process)
    def wrapper(*args: Any, **kwargs: Any) -> Iterator[Any]:
        watch, element = getattr(args[0], "watch", None), args[1] if len(args) > 1 else None
        try:
            with spans.step(watch, process.__name__, element):
                yield from process(*args, **kwargs) or ()
        except HeterrecError as error:
            raise RuntimeError(f"{error.message} {error.to_wire()}") from error

    return wrapper


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
    """The stage whose step raised an engine's exception, or None where no step did."""
    seen: BaseException | None = error
    while seen is not None:
        found = _STEP.search(str(seen))
        if found is not None:
            return found.group(1)
        seen = seen.__cause__ or seen.__context__
    return None
