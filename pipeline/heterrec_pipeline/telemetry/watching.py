"""One build as it is watched from the caller's side: its phases, its stages, and whoever wants to be told."""

import shutil
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

import apache_beam as beam

from heterrec_pipeline.telemetry import metrics, stages
from heterrec_pipeline.telemetry.metrics import Numbers
from heterrec_pipeline.telemetry.pieces import now_ns
from heterrec_pipeline.telemetry.spans import RECORDER, phase
from heterrec_pipeline.telemetry.trace import check_target, write_trace

Tell = Callable[..., None]
"""Told of events: a name, and fields by keyword."""


def nobody(event: str, **fields: Any) -> None:
    """Tell nobody."""


class Watching:
    """A build from its begin to its end, good or bad; to be used as a context around all of it.

    Attributes:
        metrics: the counters of a run that has ended well, by name.
        stages: what its stages did; of a failed run, what this process has seen.
    """

    def __init__(self, profile: str | None = None, tell: Tell = nobody) -> None:
        """Watch one build, and write a trace where `profile` names a file.

        Raises:
            CallError: the trace cannot be written there.
        """
        if profile is not None:
            check_target(profile)
        self.metrics: Numbers = {}
        self.stages: list[stages.Stage] = []
        self._profile = profile
        self._tell = tell
        self._about: dict[str, Any] = {}

    def __enter__(self) -> Self:
        """Begin."""
        self._began_ns = now_ns()
        self._began = datetime.fromtimestamp(self._began_ns / 1e9, UTC)
        self._folder = tempfile.mkdtemp(prefix="heterrec-trace-") if self._profile else None
        RECORDER.begin(self._began_ns, self._folder, self._stage_began)
        self._whole = phase("build")
        self._whole.__enter__()
        return self

    def phase(self, name: str) -> AbstractContextManager[None]:
        """Around a part of the build, for the trace."""
        return phase(name)

    def begin(self, *, generation: str, name: str, runner: str, output: str) -> None:
        """Report the build's `begin` event: the job is laid out and its generation has an id."""
        self._about = {"generation": generation, "name": name, "runner": runner}
        self._tell("begin", **self._about, output=output)

    def name_steps(self, pipeline: beam.Pipeline) -> None:
        """Tell the steps of a drawn graph their names; without this nothing is known of them."""
        stages.name_steps(pipeline, self._began_ns, self._folder)

    def ended(self, result: Any, began: datetime | None = None) -> None:
        """The run has ended well: read what the engine has counted; `began` where the steps were told another time."""
        found = metrics.found_in(result)
        self.metrics = dict(sorted(found.counters.items()))
        self.stages = stages.stages_of(began or self._began, found.stages or RECORDER.stages)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Tell what the stages did, and write the trace."""
        if error is not None:
            self.stages = stages.stages_of(self._began, RECORDER.stages)
        for stage in self.stages:
            self._tell("stage", **stage.as_json(), complete=error is None)
        self._whole.__exit__(None, None, None)
        if self._profile is not None and self._folder is not None:
            try:
                write_trace(self._profile, self._folder, self._began, self.stages, self._about)
            finally:
                shutil.rmtree(self._folder, ignore_errors=True)
        RECORDER.begin(0)

    def _stage_began(self, stage: str) -> None:
        self._tell("stage_began", stage=stage)
