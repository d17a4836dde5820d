"""The engines that run a graph: what each needs, how it is started, watched and ended."""

from heterrec_pipeline.runtime.engines.choose import engine_of
from heterrec_pipeline.runtime.engines.engine import Engine

__all__ = ["Engine", "engine_of"]
