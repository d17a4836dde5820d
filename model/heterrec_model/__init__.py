"""HeterRec in PyTorch: training from a generation, evaluation over the full catalogue, export, recommendation."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from heterrec_model.config import Config as Config
    from heterrec_model.config import load_config as load_config
    from heterrec_model.data.token_table import TokenTable as TokenTable
    from heterrec_model.data.token_table import open_token_table as open_token_table
    from heterrec_model.evaluation.evaluate import evaluate as evaluate
    from heterrec_model.heterrec import HeterRec as HeterRec
    from heterrec_model.recommending.bundle_recommender import (
        BundleRecommender as BundleRecommender,
    )
    from heterrec_model.recommending.history import History as History
    from heterrec_model.registry import build_model as build_model
    from heterrec_model.runs.load_run import load_run as load_run
    from heterrec_model.serving.export import export as export
    from heterrec_model.serving.recommend import recommend as recommend
    from heterrec_model.serving.recommender import Recommender as Recommender
    from heterrec_model.training.train import train as train

_MODULES = {
    "BundleRecommender": "heterrec_model.recommending.bundle_recommender",
    "Config": "heterrec_model.config",
    "HeterRec": "heterrec_model.heterrec",
    "History": "heterrec_model.recommending.history",
    "Recommender": "heterrec_model.serving.recommender",
    "TokenTable": "heterrec_model.data.token_table",
    "build_model": "heterrec_model.registry",
    "evaluate": "heterrec_model.evaluation.evaluate",
    "export": "heterrec_model.serving.export",
    "load_config": "heterrec_model.config",
    "load_run": "heterrec_model.runs.load_run",
    "open_token_table": "heterrec_model.data.token_table",
    "recommend": "heterrec_model.serving.recommend",
    "train": "heterrec_model.training.train",
}
__all__ = sorted(_MODULES)


def __getattr__(name: str) -> Any:
    """Import a public name on first use: importing PyTorch takes seconds, and `--help` does not need it."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = getattr(import_module(_MODULES[name]), name)
    return globals()[name]


def __dir__() -> list[str]:
    """The public names."""
    return __all__
