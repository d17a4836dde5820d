"""What a rejected row or cell looks like, and what to do: one sentence for a message."""

import re

from heterrec_schemas.feature_spec import FeatureSpec
from heterrec_schemas.rejects import Reason

_UNITS = {10: "s", 13: "ms", 16: "us", 19: "ns"}
"""Number of digits of a present time by its unit."""


def reject_hints(spec: FeatureSpec, reason: str, value: str | None) -> list[str]:
    """At most one hint for rejects of a reason, by the value of one of them."""
    text = (value or "").strip()
    if reason == Reason.UNKNOWN_BEHAVIOUR and spec.interactions.behaviour:
        listed = ", ".join(map(repr, spec.interactions.behaviour.values))
        return [
            f"interactions.behaviour.values lists {listed}; unlisted_behaviours: drop leaves out rows with others"
        ]
    if reason == Reason.MALFORMED_ROW:
        return _of_row(text)
    if reason == Reason.NOT_A_NUMBER:
        return _of_number(text)
    if reason == Reason.TIME_OUT_OF_RANGE and (digits := re.fullmatch(r"(\d+)(\.\d*)?", text)):
        count = len(digits[1])
        return (
            [f"numbers of {count} digits are usually in unit: {_UNITS[count]}"]
            if count in _UNITS
            else []
        )
    return []


def _of_row(text: str) -> list[str]:
    if text.startswith("["):
        return ["this is a JSON array; JSON lines have one object per line"]
    if re.match(r"\{\s*'", text):
        return ["this is no JSON but a Python literal, with single quotes; write it by json.dumps"]
    if text.startswith("{"):
        return ["JSON lines have one JSON object per line"]
    if text.endswith(","):
        return ["the lines seem to end in a comma that the header does not have"]
    return []


def _of_number(text: str) -> list[str]:
    if text.lower() in ("true", "false", "yes", "no"):
        return ["for booleans that are written as text, use kind: categorical"]
    return ["a number has digits and a decimal point only; for other texts use kind: categorical"]
