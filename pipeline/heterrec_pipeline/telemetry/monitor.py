"""One build observed from the caller's side: its phases, its stages, its events."""

import shutil
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

import apache_beam as beam

from heterrec_pipeline.telemetry import stages
from heterrec_pipeline.telemetry.beam_metrics import Numbers, read_metrics
from heterrec_pipeline.telemetry.recorder import RECORDER, phase
from heterrec_pipeline.telemetry.span_file import now_ns
from heterrec_pipeline.telemetry.trace import check_target, write_trace

OnEvent = Callable[..., None]
"""Called with the name of an event, and its fields as keywords."""


def ignore_event(event: str, **fields: Any) -> None:
    """An `OnEvent` that does nothing."""


class BuildMonitor:
    """Observes a build from begin to end, successful or not; a context around all of it.

    Attributes:
        metrics: the counters of a successful run by name.
        stages: what its stages did; after a failure, as far as this process has recorded it.
    """

    def __init__(self, profile: str | None = None, on_event: OnEvent = ignore_event) -> None:
        """Observe one build; write a trace if `profile` names a file.

        Raises:
            CallError: the trace cannot be written there.
        """
        if profile is not None:
            check_target(profile)
        self.metrics: Numbers = {}
        self.stages: list[stages.Stage] = []
        self._profile = profile
        self._on_event = on_event
        self._about: dict[str, Any] = {}

    def __enter__(self) -> Self:
        """Begin the records of the build."""
        self._began_ns = now_ns()
        self._began = datetime.fromtimestamp(self._began_ns / 1e9, UTC)
        self._folder = tempfile.mkdtemp(prefix="heterrec-trace-") if self._profile else None
        RECORDER.begin(
            self._began_ns,
            self._folder,
            lambda stage: self._on_event("stage_began", stage=stage),
        )
        self._whole = phase("build")
        self._whole.__enter__()
        return self

    def phase(self, name: str) -> AbstractContextManager[None]:
        """Record a part of the build."""
        return phase(name)

    def begin(self, *, generation: str, name: str, runner: str, output: str) -> None:
        """Emit the `begin` event: the input fits the spec and the generation has an id."""
        self._about = {"generation": generation, "name": name, "runner": runner}
        self._on_event("begin", **self._about, output=output)

    def name_steps(self, pipeline: beam.Pipeline) -> None:
        """Give the steps of a constructed graph their names; unnamed steps record nothing."""
        stages.name_steps(pipeline, self._began_ns, self._folder)

    def ended(self, result: Any, began: datetime | None = None) -> None:
        """Read the metrics of a successful run; `began` replaces the monitor's own begin."""
        found = read_metrics(result)
        self.metrics = dict(sorted(found.counters.items()))
        self.stages = stages.stages_of(began or self._began, found.stages or RECORDER.stages)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Emit the `stage` events and write the trace."""
        if error is not None:
            self.stages = stages.stages_of(self._began, RECORDER.stages)
        for stage in self.stages:
            self._on_event("stage", **stage.as_json(), complete=error is None)
        self._whole.__exit__(None, None, None)
        if self._profile is not None and self._folder is not None:
            try:
                write_trace(self._profile, self._folder, self._began, self.stages, self._about)
            finally:
                shutil.rmtree(self._folder, ignore_errors=True)
        RECORDER.begin(0)
