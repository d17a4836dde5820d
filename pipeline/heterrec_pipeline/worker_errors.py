"""Carry errors from a worker to whoever called: as text that survives every engine's wrapping."""

import functools
from collections.abc import Callable, Iterator
from typing import Any

from heterrec_schemas.errors import HeterrecError, from_wire


def carried(process: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
    """Decorate a generator method (`DoFn.process`, `finish_bundle`) so that its errors can be found again."""

    @functools.wraps(process)
    def wrapper(*args: Any, **kwargs: Any) -> Iterator[Any]:
        try:
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
