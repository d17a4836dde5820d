"""The commands of `heterrec-model`: each parses its arguments and calls the package."""

from heterrec_model.commands import (
    evaluate,
    export,
    index,
    recommend,
    report,
    serve,
    study,
    train,
    tune,
)
from heterrec_model.commands.shared import app

__all__ = [
    "app",
    "evaluate",
    "export",
    "index",
    "recommend",
    "report",
    "serve",
    "study",
    "train",
    "tune",
]
