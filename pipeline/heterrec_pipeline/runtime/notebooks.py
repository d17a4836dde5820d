"""Builds in notebooks. Beam changes its graphs there, for its own interactive runner, and loads a package for it that fails.

It puts the number of the cell before the labels of steps, keeps temporary folders, and imports its data frames, which fail
beside pandas 3.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from apache_beam import pipeline
from apache_beam.utils import interactive_utils


def _never() -> bool:
    return False


@contextmanager
def as_in_a_script() -> Iterator[None]:
    """Beam draws and runs graphs in a notebook as in a script; afterwards other graphs are Beam's again."""
    places = (interactive_utils, pipeline)
    earlier = [place.is_in_ipython for place in places]
    for place in places:
        place.is_in_ipython = _never
    try:
        yield
    finally:
        for place, function in zip(places, earlier, strict=True):
            place.is_in_ipython = function
