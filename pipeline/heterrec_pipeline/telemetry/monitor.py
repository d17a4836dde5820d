"""One build observed from the caller's side: its stages, its events, its trace."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import apache_beam as beam

from heterrec_pipeline.telemetry.beam_metrics import Numbers, read_metrics
from heterrec_pipeline.telemetry.recorder import RECORDER, phase
from heterrec_pipeline.telemetry.span_file import now_ns
from heterrec_pipeline.telemetry.stages import Stage, name_steps, stages_of
from heterrec_pipeline.telemetry.trace import check_target, write_trace

OnEvent = Callable[..., None]
"""Called with the name of an event, and its fields as keywords."""


def ignore_event(event: str, **fields: Any) -> None:
    """An `OnEvent` that does nothing."""


@dataclass(eq=False)
class BuildMonitor:
    """The observed facts of one build.

    Attributes:
        on_event: receives its events.
        folder: where the span files of its trace go, or None.
        began_ns: when it began.
        about: its generation, name and runner, once known.
        metrics: the counters of a successful run by name.
        stages: what its stages did; after a failure, as far as this process has recorded it.
    """

    on_event: OnEvent
    folder: str | None
    began_ns: int = field(default_factory=now_ns)
    about: dict[str, Any] = field(default_factory=dict)
    metrics: Numbers = field(default_factory=dict)
    stages: list[Stage] = field(default_factory=list)

    @property
    def began(self) -> datetime:
        """When the build began."""
        return datetime.fromtimestamp(self.began_ns / 1e9, UTC)

    def begin(self, *, generation: str, name: str, runner: str, output: str) -> None:
        """Emit the `begin` event: the input fits the spec and the generation has an id."""
        self.about = {"generation": generation, "name": name, "runner": runner}
        self.on_event("begin", **self.about, output=output)

    def name_steps(self, pipeline: beam.Pipeline) -> None:
        """Give the steps of a constructed graph their names; unnamed steps record nothing."""
        name_steps(pipeline, self.began_ns, self.folder)

    def ended(self, result: Any, began: datetime | None = None) -> None:
        """Read the metrics of a successful run, whose steps count from `began` if it differs from the monitor's begin."""
        found = read_metrics(result)
        self.metrics = dict(sorted(found.counters.items()))
        self.stages = stages_of(began or self.began, found.stages or RECORDER.stages)


@contextmanager
def monitor_build(
    profile: str | None = None, on_event: OnEvent = ignore_event
) -> Iterator[BuildMonitor]:
    """Record the build in the block, successful or not; at the end, emit the `stage` events and write the trace.

    Args:
        profile: the file of the trace, or None.
        on_event: called with the events of the build.

    Raises:
        CallError: the trace cannot be written there.
    """
    if profile is not None:
        check_target(profile)
    folder = tempfile.mkdtemp(prefix="heterrec-trace-") if profile else None
    monitor = BuildMonitor(on_event, folder)
    RECORDER.begin(monitor.began_ns, folder, lambda stage: on_event("stage_began", stage=stage))
    complete = False
    try:
        with phase("build"):
            try:
                yield monitor
                complete = True
            finally:
                if not complete:
                    monitor.stages = stages_of(monitor.began, RECORDER.stages)
                for stage in monitor.stages:
                    on_event("stage", **stage.as_json(), complete=complete)
    finally:
        try:
            if profile is not None and folder is not None:
                write_trace(profile, folder, monitor.began, monitor.stages, monitor.about)
        finally:
            if folder is not None:
                shutil.rmtree(folder, ignore_errors=True)
            RECORDER.begin(0)
