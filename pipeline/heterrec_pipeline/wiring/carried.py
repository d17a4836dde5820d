"""Errors of a step that reach the caller with their class and message."""

import functools
from collections.abc import Callable, Iterator
from typing import Any

from heterrec_pipeline.telemetry.recorder import record_call
from heterrec_schemas.errors import HeterrecError


def carried(process: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
    """Decorate a generator method (`DoFn.process`, `finish_bundle`): its errors can be found again, its calls are timed."""

    @functools.wraps(process)
    def wrapper(*args: Any, **kwargs: Any) -> Iterator[Any]:
        info, element = getattr(args[0], "info", None), args[1] if len(args) > 1 else None
        try:
            with record_call(info, process.__name__, element):
                yield from process(*args, **kwargs) or ()
        except HeterrecError as error:
            raise RuntimeError(f"{error.message} {error.to_wire()}") from error

    return wrapper
