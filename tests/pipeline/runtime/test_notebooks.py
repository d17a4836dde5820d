"""Graphs are the same in a notebook as in a script."""

import sys
from types import ModuleType, SimpleNamespace

import apache_beam as beam
import pytest
from apache_beam.utils import interactive_utils

from heterrec_pipeline.runtime.engines.engine import Engine
from heterrec_pipeline.runtime.notebooks import as_in_a_script


@pytest.fixture(autouse=True)
def notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks like the kernel of a notebook to Beam, whose interactive package is missing."""
    ipython = ModuleType("IPython")
    shell = SimpleNamespace(config={"IPKernelApp": {}}, execution_count=7)
    ipython.get_ipython = lambda: shell  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "apache_beam.runners.interactive", None)


def test_an_engine_draws_and_runs_a_graph_as_in_a_script() -> None:
    assert interactive_utils.is_in_notebook()
    with Engine() as engine:
        pipeline = beam.Pipeline()
        pipeline | "Numbers" >> beam.Create([1, 2])
        engine.run(pipeline)
        assert not interactive_utils.is_in_notebook()
    assert [part.full_label for part in pipeline.transforms_stack[0].parts] == ["Numbers"]
    assert interactive_utils.is_in_notebook()


def test_beam_is_restored_after_an_error() -> None:
    def fail() -> None:
        with as_in_a_script():
            raise ValueError("drawn wrongly")

    with pytest.raises(ValueError, match="drawn wrongly"):
        fail()
    assert interactive_utils.is_in_notebook()
