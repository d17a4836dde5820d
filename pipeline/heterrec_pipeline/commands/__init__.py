"""The command line, one file per command. A module of a command registers it; the order here is that of the help."""

from heterrec_pipeline.commands import build, validate, plan, inspect, embed  # isort: skip
from heterrec_pipeline.commands.shared import app

__all__ = ["app", "build", "embed", "inspect", "plan", "validate"]
