"""Configuration and result of a build."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from apache_beam.options.pipeline_options import PipelineOptions

from heterrec_pipeline.runtime.flags import pipeline_options
from heterrec_pipeline.telemetry.stages import Stage
from heterrec_schemas.feature_spec import FeatureSpec
from heterrec_schemas.generation import Generation, open_generation
from heterrec_schemas.leases import SWEEP_AFTER
from heterrec_schemas.manifest import Manifest


@dataclass(frozen=True)
class BuildConfig:
    """Configuration of a build.

    Attributes:
        spec: the feature spec.
        spec_text: its text, of which the generation keeps a copy.
        input: the folder (or store) that relative paths of the spec start from.
        output: the folder (or store) for generations.
        pipeline_args: Beam's flags.
        profile: a local file for a trace of the build, or None.
        options: Beam's options; parsed from `pipeline_args` unless given.
        allow_open_ports: accept an engine with ports that other machines can connect to.
        sweep_after: time without a heartbeat after which a builder that cannot be seen from here counts as dead.
        lenient: publish even what a build refuses: too many rejects, or no interaction left.
        workers: number of worker processes of the local engine; None to choose by cores and input size.
        base: the generation that a refresh continues, or the output folder whose `latest.json` names it; None to build.
        refit: names of features whose boundaries or quantizers a refresh fits anew; `user_<feature>` on the users' side.
        publish: whether `latest.json` names the result of a refresh: True, False, or None for only if it names the parent.
        allow_drift: whether a refresh is published even if it drifted too far from its parent.
        skip_unchanged: do nothing if the parent was made from the same input by the same spec.
        reuse: whether a refresh takes over what its parent has found in input files that are unchanged.

    Raises:
        CallError: a flag is wrong.
    """

    spec: FeatureSpec
    spec_text: str
    input: str
    output: str
    pipeline_args: Sequence[str] = ()
    profile: str | None = None
    options: PipelineOptions = None
    workers: int | None = None
    allow_open_ports: bool = False
    sweep_after: timedelta = SWEEP_AFTER
    lenient: bool = False
    base: str | None = None
    refit: Sequence[str] = ()
    publish: bool | None = None
    allow_drift: bool = False
    skip_unchanged: bool = False
    reuse: bool = True

    def __post_init__(self) -> None:
        """Parse Beam's flags."""
        if self.options is None:
            object.__setattr__(self, "options", pipeline_options(self.pipeline_args))


@dataclass(frozen=True)
class BuildResult:
    """A complete generation and the record of its build.

    Attributes:
        path: the generation's folder.
        manifest: its manifest.
        swept: ids of dead builds whose leftovers were deleted.
        metrics: the counters of the run by name; empty if the engine does not support them.
        stages: what each stage did, and when.
        warnings: empty files that were ignored, what is probably lost or misread, and what a refresh changed that is
            probably not intended.
        skipped: whether it is the parent of a refresh that had nothing to do.
        reuse: of a refresh, the numbers of input files and bytes that were not parsed again, and why the rest was.
    """

    path: str
    manifest: Manifest
    swept: list[str]
    metrics: dict[str, int] = field(default_factory=dict)
    stages: list[Stage] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    skipped: bool = False
    reuse: dict[str, Any] | None = None

    @property
    def funnel(self) -> str:
        """The rows of the log by outcome, in the order in which they are taken out, as one line."""
        log = self.manifest.counts.interactions
        steps = [
            (log.read, "read"),
            *([(log.erased, "erased")] if log.erased else []),
            (log.filtered, "filtered"),
            (log.rejected, "rejected"),
            (log.unknown_item, "with unknown items"),
            (log.duplicate, "duplicate"),
            (log.short_user, "of short users"),
            (log.kept, "kept"),
        ]
        return " > ".join(f"{count:,} {word}" for count, word in steps)

    @property
    def next_commands(self) -> list[str]:
        """What to do with the generation, as command lines: look at it, train a model."""
        path = shlex.quote(self.path)
        new = "--config cpu --run runs/first"
        continued = "--warm-start RUN --run runs/next"
        return [
            f"heterrec-pipeline inspect {path}",
            f"heterrec-model train --data {path} {continued if self.manifest.parent else new}",
        ]

    def as_json(self) -> dict[str, Any]:
        """Manifest, metrics and stages for scripts."""
        return {
            "manifest": self.manifest.model_dump(mode="json"),
            "metrics": self.metrics,
            "stages": [stage.as_json() for stage in self.stages],
            "warnings": self.warnings,
            "skipped": self.skipped,
            "reuse": self.reuse,
            "funnel": self.funnel,
            "next": self.next_commands,
        }

    def summary(self) -> dict[str, Any]:
        """The fields of the `published` event."""
        files = self.manifest.files
        return {
            "path": self.path,
            "content_sha256": self.manifest.content_sha256,
            "files": len(files),
            "bytes": sum(f.bytes for f in files),
            "swept": self.swept,
        }

    def open(self) -> Generation:
        """Open the generation, trusting the files that were just written."""
        return open_generation(self.path, verify="sizes")
