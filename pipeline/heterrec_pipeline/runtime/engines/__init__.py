"""The engines that run a graph: each is checked, started, watched and stopped here."""

from heterrec_pipeline.runtime.engines.choose import engine_of
from heterrec_pipeline.runtime.engines.engine import Engine

__all__ = ["Engine", "engine_of"]
