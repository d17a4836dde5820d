"""Hints about rejected rows and cells."""

import pytest
from pieces import spec_of

from heterrec_pipeline.checking.reject_hints import reject_hints
from heterrec_schemas.rejects import Reason

BEHAVIOUR = {"column": "event", "values": ["1", "2"]}


@pytest.mark.parametrize(
    ("reason", "value", "words"),
    [
        (Reason.MALFORMED_ROW, '[{"a": 1}, {"a": 2}]', "JSON array"),
        (Reason.MALFORMED_ROW, "{'a': None}", "single quotes"),
        (Reason.MALFORMED_ROW, '{"a": ', "one JSON object per line"),
        (Reason.MALFORMED_ROW, "4 fields, expected 3: u,i,1,", "end in a comma"),
        (Reason.MALFORMED_ROW, "4 fields, expected 3: u,i,1,2", None),
        (Reason.NOT_A_NUMBER, "True", "kind: categorical"),
        (Reason.NOT_A_NUMBER, "$1,299.00", "digits and a decimal point"),
        (Reason.TIME_OUT_OF_RANGE, "1600000000000", "unit: ms"),
        (Reason.TIME_OUT_OF_RANGE, "1600000000000000.0", "unit: us"),
        (Reason.TIME_OUT_OF_RANGE, "-1", None),
        (Reason.UNKNOWN_BEHAVIOUR, "1.0", "lists '1', '2'"),
        (Reason.MISSING_KEY, None, None),
    ],
)
def test_hints(reason: Reason, value: str | None, words: str | None) -> None:
    spec = spec_of(interactions={"behaviour": BEHAVIOUR})
    hints = reject_hints(spec, reason, value)
    assert [words in hint for hint in hints] == ([True] if words else [])
