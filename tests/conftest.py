"""Makes the graphs of all tests quicker."""

import sys
from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture(scope="session", autouse=True)
def inspected_once() -> Iterator[None]:
    """Let Beam inspect each class of steps once per process, and not eight times per step of every graph.

    That takes almost a third of the time of a small build, and the tests run hundreds of them in this process.
    """
    if "heterrec_pipeline" not in sys.modules:
        yield
        return
    from apache_beam.transforms import userstate

    inspect, known = userstate.get_dofn_specs, dict[object, Any]()

    def get_dofn_specs(dofn: Any) -> Any:
        # A DoFn that wraps a function, or a partial of one, has the parameters of that function.
        fn = getattr(dofn, "_fn", None)
        kind = type(dofn), getattr(getattr(fn, "func", fn), "__code__", fn)
        if kind not in known:
            known[kind] = inspect(dofn)
        return known[kind]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(userstate, "get_dofn_specs", get_dofn_specs)
        yield
