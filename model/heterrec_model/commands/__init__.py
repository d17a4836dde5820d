"""The commands of `heterrec-model`: each parses its arguments and calls the package."""

from heterrec_model.commands import bulk, evaluate, export, index, recommend, train
from heterrec_model.commands.shared import app

__all__ = ["app", "bulk", "evaluate", "export", "index", "recommend", "train"]
