"""What a rejected row or cell looks like, and what to do: one sentence for a message."""

import re
from datetime import UTC, datetime

from heterrec_pipeline.checking.evidence import NULL_WORDS
from heterrec_pipeline.checking.time_forms import form_in_words
from heterrec_pipeline.reading.spec_lines import derived, in_yaml
from heterrec_schemas.feature_spec import FeatureSpec
from heterrec_schemas.rejects import Reason

_BOOLEANS = {"true": "false", "false": "true", "yes": "no", "no": "yes"}
_ODD_SIGNS = 3
"""Number of signs besides digits that are replaced in a number, at most."""


def reject_hints(
    spec: FeatureSpec, reason: str, value: str | None, column: str | None = None
) -> list[str]:
    """At most one hint for rejects of a reason, by one of them.

    Args:
        spec: the spec.
        reason: the reason.
        value: the text of the reject.
        column: its column, if it is a cell.
    """
    text, column = (value or "").strip(), column or "column"
    if reason == Reason.UNKNOWN_BEHAVIOUR and spec.interactions.behaviour:
        return [_of_behaviour(text, column, spec.interactions.behaviour.values)]
    if reason == Reason.MALFORMED_ROW:
        return _of_row(text)
    if reason == Reason.EXPRESSION_FAILED:
        return [
            "if such a cell is a missing value, write TRY_CAST instead of CAST; if JSON cells have several types, "
            "CAST(column AS VARCHAR) makes texts of them"
        ]
    if reason == Reason.NOT_A_NUMBER:
        return [_of_number(text, column)]
    if reason in (Reason.TIME_UNREADABLE, Reason.TIME_OUT_OF_RANGE):
        hint = form_in_words(text, column, datetime.now(UTC))
        return [hint] if hint else []
    return []


def _of_row(text: str) -> list[str]:
    if text.startswith("["):
        return [
            "this is a JSON array; JSON lines have one object per line (jq -c '.[]' items.json > items.jsonl)"
        ]
    if re.match(r"\{\s*'", text):
        return [
            "this is no JSON but a Python literal, with single quotes; write it by json.dumps(ast.literal_eval(line))"
        ]
    if text.startswith("{"):
        return ["JSON lines have one JSON object per line"]
    if '\\"' in text:
        return ["if a backslash escapes the quote, write escape: '\\' into the source"]
    if text.endswith(","):
        return ["the lines seem to end in a comma that the header does not have"]
    return []


def _of_behaviour(text: str, column: str, values: list[str]) -> str:
    names = ", ".join(map(repr, values))
    hint = f"interactions.behaviour.values lists {names}"
    if re.sub(r"\.0+$", "", text) in values:
        return (
            f"{hint}; write into the source {derived(column, 'CAST(CAST({} AS DOUBLE) AS BIGINT)')}"
        )
    if text.lower() in values:
        return f"{hint}; write into the source {derived(column, 'LOWER({})')}"
    return f"{hint}; unlisted_behaviours: drop leaves out rows with others"


def _of_number(text: str, column: str) -> str:
    lower = text.lower()
    if lower in NULL_WORDS:
        return f"if it means that the number is missing, write missing_values: [{in_yaml(text)}]"
    if lower in _BOOLEANS:
        yes = lower if lower in ("true", "yes") else _BOOLEANS[lower]
        case = f"CASE LOWER({{}}) WHEN '{yes}' THEN 1 WHEN '{_BOOLEANS[yes]}' THEN 0 END"
        line = derived(column, case)
        return f"for booleans that are written as text, use kind: categorical, or write into the source {line}"
    if re.fullmatch(r"-?\d+,\d{1,2}|-?\d{1,3}(\.\d{3})+,\d+", text):
        return "numbers with a decimal comma need decimal: ',' in a CSV source"
    odd = list(dict.fromkeys(re.findall(r"[^\d.eE+-]", text)))
    bare = re.sub(r"[^\d.eE+-]", "", text)
    if len(odd) <= _ODD_SIGNS and re.fullmatch(r"[+-]?\d+(\.\d*)?|[+-]?\.\d+", bare):
        strip = "{}"
        for sign in dict.fromkeys([*odd, ","]):  # between the thousands of another row
            escaped = sign.replace("'", "''").replace("{", "{{").replace("}", "}}")
            strip = f"REPLACE({strip}, '{escaped}', '')"
        return f"write into the source {derived(column, f'CAST({strip} AS DOUBLE)')}"
    return "a number has digits and a decimal point only; for other texts use kind: categorical"
