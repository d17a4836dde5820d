"""What a rejected row or cell looks like, and what to do: one sentence for a message."""

import re
from datetime import UTC, datetime

from heterrec_pipeline.checking.evidence import NULL_WORDS
from heterrec_pipeline.checking.sources import sources_of
from heterrec_pipeline.checking.time_forms import form_in_words
from heterrec_pipeline.job import INTERACTIONS, ITEMS
from heterrec_pipeline.reading.shaping.shape import WHERE
from heterrec_pipeline.reading.spec_lines import derived, in_yaml
from heterrec_schemas.feature_spec import FeatureSpec, Source
from heterrec_schemas.rejects import Reason

_BOOLEANS = {"true": "false", "false": "true", "yes": "no", "no": "yes"}
_CODES = (
    "AED|ARS|AUD|BGN|BRL|CAD|CHF|CLP|CNY|COP|CZK|DKK|EGP|EUR|GBP|HKD|HUF|IDR|ILS|INR|ISK|JPY|KES|KRW|KZT|MAD|MXN|MYR|NGN|NOK|"
    "NZD|PEN|PHP|PKR|PLN|QAR|RON|RUB|SAR|SEK|SGD|THB|TRY|TWD|UAH|USD|UYU|VND|ZAR"
)
"""Codes of currencies (ISO 4217): other letters beside digits make them an identifier."""
_SIGN = rf"(?:[A-Z]{{0,2}}[$\u00a3-\u00a5\u20a0-\u20c0]|%|{_CODES})?"
"""A currency, perhaps with that of a country before it as in US$, or percent beside a number."""
_BLANK = "[ \u00a0\u202f]"
_AMOUNT = re.compile(
    rf"(?P<before>{_SIGN}){_BLANK}?[+-]?(?:\d+|\d{{1,3}}(?:(?P<group>[,.'_ \u00a0\u202f])\d{{3}})"
    rf"(?:(?P=group)\d{{3}})*)(?:(?P<point>[.,])(?P<decimals>\d+))?{_BLANK}?(?P<after>{_SIGN})"
)
"""A number with a sign before or after it, groups of three digits, and a decimal point or comma."""
_STRICT_CAST = re.compile(r"\bCAST\s*\(|::", re.IGNORECASE)
_QUOTED = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"")
_FORMATTED = re.compile(r"\b(?:DATE|STRPTIME|TIMESTAMP)\s*\(", re.IGNORECASE)


def reject_hints(
    spec: FeatureSpec, table: str, reason: str, value: str | None, column: str | None = None
) -> list[str]:
    """At most one hint for rejects of a reason, by one of them.

    Args:
        spec: the spec.
        table: the name of the table, such as `interactions`.
        reason: the reason.
        value: the text of the reject; not used if the spec keeps texts out of messages.
        column: its column, if it is a cell.
    """
    text, column = (value or "").strip() if spec.quotes_cells else "", column or "column"
    if reason == Reason.UNKNOWN_BEHAVIOUR and spec.interactions.behaviour:
        return [_of_behaviour(text, column, spec.interactions.behaviour.values)]
    if reason == Reason.MALFORMED_ROW:
        return _of_row(text)
    if reason == Reason.EXPRESSION_FAILED:
        return [_of_expression(_source_of(spec, table), column)]
    if reason == Reason.NOT_A_NUMBER:
        return [_of_number(text, column, _source_of(spec, table))]
    if reason in (Reason.TIME_UNREADABLE, Reason.TIME_OUT_OF_RANGE):
        hint = form_in_words(text, column, datetime.now(UTC))
        return [hint] if hint else []
    return []


def _source_of(spec: FeatureSpec, table: str) -> Source:
    return sources_of(spec)[INTERACTIONS if table == ITEMS and spec.denormalised else table]


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


def _of_number(text: str, column: str, source: Source) -> str:
    lower = text.lower()
    if lower in NULL_WORDS:
        return f"if it means that the number is missing, write missing_values: [{in_yaml(text)}]"
    if lower in _BOOLEANS:
        yes = lower if lower in ("true", "yes") else _BOOLEANS[lower]
        case = f"CASE LOWER({{}}) WHEN '{yes}' THEN 1 WHEN '{_BOOLEANS[yes]}' THEN 0 END"
        line = derived(column, case)
        return f"for booleans that are written as text, use kind: categorical, or write into the source {line}"
    return _of_amount(text, column, source) or (
        "a number has digits and a decimal point only; for other texts use kind: categorical"
    )


def _of_amount(text: str, column: str, source: Source) -> str | None:
    """The expression for a number with signs that do not change it; None for another text."""
    found = _AMOUNT.fullmatch(text)
    if found is None:
        return None
    group, point = found["group"], found["point"]
    if group is not None and group == point:
        return None
    signs = [found["before"], found["after"], *re.findall(_BLANK, text), group]
    bare = "{}"
    for sign in dict.fromkeys(filter(None, signs)):
        bare = _replaced(bare, sign, "")
    if point == "," and group is None and len(found["decimals"]) == 3:
        group, point = ",", None
        bare = _replaced(bare, ",", "")
    if point == ",":
        bare = _replaced(bare, ",", ".")
    if bare == "{}":
        if "." not in text or source.decimal == ".":
            return None
        return "with decimal: ',' in its source, a point is between groups of three digits only"
    line = f"write into the source {derived(column, f'CAST({bare} AS DOUBLE)')}"
    if point == "," and not (found["before"] or found["after"]):
        return f"numbers with a decimal comma need decimal: ',' in a CSV source; for another format {line}"
    if point is None and group == ",":
        return f"if commas are between thousands, {line}; numbers with a decimal comma need decimal: ',' in a CSV source"
    return line


def _replaced(sql: str, sign: str, by: str) -> str:
    escaped = sign.replace("'", "''")
    return f"REPLACE({sql}, '{escaped}', '{by}')"


def _of_expression(source: Source, column: str) -> str:
    """The hint for a row for which an expression fails, by the functions in it."""
    text = source.columns.get(column)
    if column == WHERE:  # perhaps also the name of a column, whose failures look the same
        text = f"{text or ''} {source.where or ''}"
    found = _QUOTED.sub("''", text or "")
    if (cast := _STRICT_CAST.search(found)) is not None:
        written = (
            "TRY_CAST(... AS type) instead of ::" if cast[0] == "::" else "TRY_CAST instead of CAST"
        )
        return f"if such a cell is a missing value, write {written}"
    if _FORMATTED.search(found):
        return "the format in the expression does not fit it"
    return (
        "the expression does not take values of its type; if JSON cells have several types, CAST(column AS VARCHAR) makes "
        "texts of them"
    )
