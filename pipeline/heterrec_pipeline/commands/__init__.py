"""The command line, one file per command. Importing a command registers it; the help shows them in this order."""

from heterrec_pipeline.commands import build, refresh, validate, plan, inspect, report, convert  # isort: skip
from heterrec_pipeline.commands import generations, publish, pin, purge, embed  # isort: skip
from heterrec_pipeline.commands.shared import app

__all__ = [
    "app",
    "build",
    "convert",
    "embed",
    "generations",
    "inspect",
    "pin",
    "plan",
    "publish",
    "purge",
    "refresh",
    "report",
    "validate",
]
