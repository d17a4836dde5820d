"""Stages: the transforms that `flow.py` shows, with what each has done in a build."""

import copy
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

import apache_beam as beam
from apache_beam.pipeline import AppliedPTransform, PipelineVisitor

from heterrec_pipeline.telemetry.beam_metrics import FIRST, LAST, Numbers
from heterrec_pipeline.telemetry.clock import utc_text
from heterrec_pipeline.telemetry.recorder import BUSY, KINDS, StepInfo

PACKAGE = "heterrec_pipeline."
_PLUMBING = ("each", "do")
"""Labels of transforms inside `wiring`'s building blocks."""


@dataclass(frozen=True)
class Stage:
    """What a stage has done.

    Attributes:
        stage: its name in `flow.py`.
        started: when its first step was first called.
        ended: when its last step last ended. Stages overlap: a step hands on its rows while it works.
        seconds: from `started` to `ended`.
        busy_seconds: time its steps took, on all workers together.
        rows_read, bytes_read: of the input or of its digests, as Arrow tables; a table that is read twice counts twice.
        rows_spilled, bytes_spilled: handed to a later step by file.
        rows_fetched, bytes_fetched: taken from such files; a file that several workers read counts for each.
        rows_written, bytes_written: files of the generation, with their size on disk.
    """

    stage: str
    started: datetime
    ended: datetime
    seconds: float
    busy_seconds: float
    rows_read: int = 0
    bytes_read: int = 0
    rows_spilled: int = 0
    bytes_spilled: int = 0
    rows_fetched: int = 0
    bytes_fetched: int = 0
    rows_written: int = 0
    bytes_written: int = 0

    def as_json(self) -> dict[str, Any]:
        """The attributes as JSON values, times as text."""
        return asdict(self) | {"started": utc_text(self.started), "ended": utc_text(self.ended)}


def stages_of(began: datetime, found: dict[str, Numbers]) -> list[Stage]:
    """The stages of which at least one call has ended, in the order in which they began.

    Args:
        began: when the build began.
        found: numbers by stage, as `Recorder` and Beam's metrics have them.
    """
    return sorted(_stages(began, found), key=lambda s: (s.started, s.ended, s.stage))


def _stages(began: datetime, found: dict[str, Numbers]) -> Iterator[Stage]:
    for name, numbers in found.items():
        if FIRST in numbers:
            first, last = numbers[FIRST], numbers[LAST]
            yield Stage(
                stage=name,
                started=began + timedelta(milliseconds=first),
                ended=began + timedelta(milliseconds=last),
                seconds=(last - first) / 1000,
                busy_seconds=round(numbers.get(BUSY, 0) / 1e6, 3),
                **{f: numbers.get(f, 0) for k in KINDS for f in (f"rows_{k}", f"bytes_{k}")},
            )


class _Namer(PipelineVisitor):
    def __init__(self, began_ns: int, folder: str | None) -> None:
        self._began_ns, self._folder = began_ns, folder

    def visit_transform(self, transform_node: AppliedPTransform) -> None:
        transform = transform_node.transform
        if isinstance(transform, beam.ParDo) and type(transform.fn).__module__.startswith(PACKAGE):
            names = step_names(transform_node.full_label)
            transform_node.transform = copy.copy(transform)  # a graph may apply one ParDo twice
            transform_node.transform.fn = copy.copy(transform.fn)
            transform_node.transform.fn.info = StepInfo(
                names[0], "/".join(names), self._began_ns, self._folder
            )


def name_steps(pipeline: beam.Pipeline, began_ns: int, folder: str | None = None) -> None:
    """Give every step of a constructed graph its name, as the attribute `info` of its DoFn.

    Args:
        pipeline: the graph, of one outer transform.
        began_ns: when the build began, nanoseconds since 1970.
        folder: where the span files of a trace go.
    """
    pipeline.visit(_Namer(began_ns, folder))


def step_names(label: str) -> list[str]:
    """The names of Beam's label from the stage to the step, without plumbing."""
    names = label.split("/")[1:]
    while len(names) > 1 and (names[-1] in _PLUMBING or names[-1].startswith("ParDo(")):
        names.pop()
    return names
