"""`step_call` as a decorator of DoFn methods."""

import functools
from collections.abc import Callable, Iterator
from typing import Any

from heterrec_pipeline.wiring.step import step_call


def carried(process: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
    """Decorate a generator method (`DoFn.process`, `finish_bundle`) with `step_call`."""

    @functools.wraps(process)
    def wrapper(*args: Any, **kwargs: Any) -> Iterator[Any]:
        info, element = getattr(args[0], "info", None), args[1] if len(args) > 1 else None
        with step_call(info, process.__name__, element):
            yield from process(*args, **kwargs) or ()

    return wrapper
