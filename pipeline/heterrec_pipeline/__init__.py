"""The offline half of HeterRec: catalogue, embeddings and log in, a generation of token tables out."""

from heterrec_pipeline.build import BuildConfig, BuildResult, build

__all__ = ["BuildConfig", "BuildResult", "build"]
