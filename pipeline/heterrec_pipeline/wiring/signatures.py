"""Makes Beam remember what it finds out about the methods of a DoFn class.

Beam asks about eight times a step whether a DoFn has state or timers, and each time it inspects the signatures of its
35 methods: a seventh of the CPU time of a small refresh.
"""

from types import MethodType
from typing import Any

import apache_beam as beam
from apache_beam.transforms import userstate

Specs = tuple[set[Any], set[Any]]
_known: dict[type[beam.DoFn], Specs] = {}
_inspect = userstate.get_dofn_specs


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


def remember_signatures() -> None:
    """Inspect each class once a process."""
    userstate.get_dofn_specs = _specs
