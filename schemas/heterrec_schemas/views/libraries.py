"""Libraries that only a view needs."""

from importlib import import_module
from typing import Any

from heterrec_schemas.errors import CallError


def library(name: str, package: str) -> Any:
    """Import a module.

    Raises:
        CallError: the package is not installed.
    """
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        raise CallError(
            f"this view needs the package {package}",
            got=str(error),
            todo=f"Install it: pip install {package}",
        ) from None
