"""The offline half of HeterRec: a catalogue, embeddings and a log in, a generation of token tables out."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from heterrec_pipeline.api import BuildResult, Plan, Validation, build, plan, refresh, validate

__all__ = ["BuildResult", "Plan", "Validation", "build", "plan", "refresh", "validate"]


def __getattr__(name: str) -> Any:
    """The public names, on first use: Beam takes a second to import, and help needs none of it."""
    if name in __all__:
        from heterrec_pipeline import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """The public names."""
    return __all__
