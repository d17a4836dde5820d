"""The offline half of HeterRec: a catalogue, embeddings and a log in, a generation of token tables out."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from heterrec_pipeline.building import BuildConfig, BuildResult, build

__all__ = ["BuildConfig", "BuildResult", "build"]


def __getattr__(name: str) -> Any:
    """The public names, on first use: Beam takes a second to import, and help needs none of it."""
    if name in __all__:
        from heterrec_pipeline import building

        return getattr(building, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
