"""What Beam is told of the methods of a DoFn is what it would find out by itself."""

from collections.abc import Iterator
from typing import Any

import apache_beam as beam
from apache_beam.transforms import core

from heterrec_pipeline.wiring import signatures


class Doing(beam.DoFn):
    def process(self, element: int, side: Any, more: int = 3) -> Iterator[int]:
        yield element


def test_the_arguments_of_methods_are_remembered() -> None:
    one, other = Doing(), Doing()
    expected = (["element", "side", "more"], [3])
    for method in (one.process, other.process, one.setup, beam.Map(str).dofn.process, len):
        found = core.get_function_args_defaults(method)
        assert found == signatures._inspect_arguments(method)
        found[0].clear()  # the caller's own
    assert core.get_function_args_defaults(other.process) == expected
    assert Doing.process in signatures._arguments_of
