"""Parse JSON and YAML of unknown origin: whatever is wrong with it becomes one ValueError."""

import json
import re
from typing import Any

import yaml

from heterrec_schemas.errors import CallError, HeterrecError

_DEEP = "it is nested too deeply"
_TRAP = re.compile(r"[-+]?0[0-9_]+|.*:.*")
"""Integers that YAML 1.1 reads as octal (010) or to the base of 60 (1:30)."""


class PlainLoader(yaml.SafeLoader):
    """SafeLoader that refuses numbers which are others than they look."""


def _integer(loader: PlainLoader, node: yaml.ScalarNode) -> int:
    number = int(loader.construct_yaml_int(node))
    if _TRAP.fullmatch(node.value):
        raise CallError(
            f"line {node.start_mark.line + 1}: YAML reads {node.value} as the number {number}",
            todo=f"Write another number, or the text in quotes: '{node.value}'.",
        )
    return number


PlainLoader.add_constructor("tag:yaml.org,2002:int", _integer)


def parse_json(data: str | bytes) -> Any:
    """A JSON document as Python values.

    Raises:
        ValueError: it is not UTF-8, not JSON, or nested too deeply.
    """
    try:
        return json.loads(data)
    except RecursionError:
        raise ValueError(_DEEP) from None


def parse_yaml(data: str | bytes, loader: type[PlainLoader] = PlainLoader) -> Any:
    """A YAML document as Python values; errors of the project that a loader raises are passed on.

    Raises:
        ValueError: it is not UTF-8, not YAML, nested too deeply, or a tagged value is invalid.
    """
    try:
        text = data if isinstance(data, str) else data.decode("utf-8")
        return yaml.load(text, Loader=loader)
    except (HeterrecError, UnicodeDecodeError):
        raise
    except RecursionError:
        raise ValueError(_DEEP) from None
    except Exception as error:  # the constructors of tagged values raise many kinds
        raise ValueError(str(error)) from None
