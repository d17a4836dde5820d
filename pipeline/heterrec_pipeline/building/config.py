"""Configuration and result of a build."""

from dataclasses import dataclass, field
from typing import Any

from heterrec_pipeline.telemetry.stages import Stage
from heterrec_schemas.feature_spec import FeatureSpec
from heterrec_schemas.generation import Generation as OpenGeneration
from heterrec_schemas.generation import open_generation
from heterrec_schemas.manifest import Manifest


@dataclass(frozen=True)
class BuildConfig:
    """What a build needs.

    Attributes:
        spec: the feature spec.
        spec_text: its text, which the generation keeps a copy of.
        input: the folder (or store) that relative paths of the spec start from.
        output: the folder (or store) that generations go to.
        pipeline_args: Beam's own flags.
        profile: a local file that a trace of the build goes to, or None.
        workers: number of worker processes of the local engine; None to choose by cores and input size.
    """

    spec: FeatureSpec
    spec_text: str
    input: str
    output: str
    pipeline_args: list[str] = field(default_factory=list)
    profile: str | None = None
    workers: int | None = None


@dataclass(frozen=True)
class BuildResult:
    """A published generation: its folder, its manifest, leftovers that were swept, and how it was made.

    Attributes:
        metrics: the counters of the run by name, as the engine has kept them; empty where it tells none.
        stages: what each stage did and when.
    """

    path: str
    manifest: Manifest
    swept: list[str]
    metrics: dict[str, int] = field(default_factory=dict)
    stages: list[Stage] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """What a script would read: manifest, metrics, stages."""
        return {
            "manifest": self.manifest.model_dump(mode="json"),
            "metrics": self.metrics,
            "stages": [stage.as_json() for stage in self.stages],
        }

    def in_short(self) -> dict[str, Any]:
        """What a log says of it."""
        files = self.manifest.files
        return {
            "path": self.path,
            "content_sha256": self.manifest.content_sha256,
            "files": len(files),
            "bytes": sum(f.bytes for f in files),
            "swept": self.swept,
        }

    def open(self) -> OpenGeneration:
        """Open the generation, trusting the files that were just written."""
        return open_generation(self.path, verify="sizes")
