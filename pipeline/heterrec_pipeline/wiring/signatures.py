"""Makes Beam remember what it finds out about the methods of a DoFn class.

Beam asks about eight times a step whether a DoFn has state or timers, and each time it inspects the signatures of its
35 methods: a seventh of the CPU time of a small refresh. For every bundle it asks for the arguments of the methods.
"""

from types import FunctionType, MethodType
from typing import Any

import apache_beam as beam
from apache_beam.transforms import core, userstate

Specs = tuple[set[Any], set[Any]]
Arguments = tuple[list[str], list[Any]]
_known: dict[type[beam.DoFn], Specs] = {}
_inspect = userstate.get_dofn_specs
_arguments_of: dict[FunctionType, Arguments] = {}
_inspect_arguments = core.get_function_args_defaults


def _specs(dofn: beam.DoFn) -> Specs:
    """State and timers of a DoFn, by its class: Beam looks at methods only, and they belong to the class.

    An exception is a method of another object, which Beam lets take the place of `process`.
    """
    if isinstance(vars(dofn).get("process"), MethodType):
        found: Specs = _inspect(dofn)
        return found
    kind = type(dofn)
    if kind not in _known:
        _known[kind] = _inspect(dofn)
    return _known[kind]


def _arguments(f: Any) -> Arguments:
    """Names and defaults of a callable's arguments; those of a DoFn's own method by its function."""
    own = isinstance(f, MethodType) and isinstance(f.__self__, beam.DoFn)
    if not own or not isinstance(f.__func__, FunctionType):
        found: Arguments = _inspect_arguments(f)
        return found
    if f.__func__ not in _arguments_of:
        _arguments_of[f.__func__] = _inspect_arguments(f)
    names, defaults = _arguments_of[f.__func__]
    return [*names], [*defaults]


def remember_signatures() -> None:
    """Inspect each class, and each of its methods, once a process."""
    userstate.get_dofn_specs = _specs
    core.get_function_args_defaults = _arguments
