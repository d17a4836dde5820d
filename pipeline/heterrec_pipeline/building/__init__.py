"""A build from its configuration to a published generation."""

from heterrec_pipeline.building.config import BuildConfig, BuildResult
from heterrec_pipeline.building.dataflow import submit
from heterrec_pipeline.building.run import build
from heterrec_pipeline.building.unchanged import unchanged

__all__ = ["BuildConfig", "BuildResult", "build", "submit", "unchanged"]
