"""Parse JSON and YAML of unknown origin: whatever is wrong with it becomes one ValueError."""

import json
from typing import Any

import yaml

from heterrec_schemas.errors import HeterrecError

_DEEP = "it is nested too deeply"


def parse_json(data: str | bytes) -> Any:
    """A JSON document as Python values.

    Raises:
        ValueError: it is not UTF-8, not JSON, or nested too deeply.
    """
    try:
        return json.loads(data)
    except RecursionError:
        raise ValueError(_DEEP) from None


def parse_yaml(data: str | bytes, loader: type[yaml.SafeLoader] = yaml.SafeLoader) -> Any:
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
