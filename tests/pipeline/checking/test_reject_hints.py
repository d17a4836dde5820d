"""Hints about rejected rows and cells."""

import polars as pl
import pytest
import yaml
from pieces import numeric, spec_of

from heterrec_pipeline.checking.reject_hints import reject_hints
from heterrec_schemas.rejects import Reason

BEHAVIOUR = {"column": "event", "values": ["1", "2"]}


NO_AMOUNTS = (
    "1.5k",
    "5 M",
    "1:30",
    "2/5",
    "1;2",
    "0x1F",
    "a1b2",
    "(12.50)",
    "10-20",
    "1,2,3",
    "-$5",
    "SKU12",
    "N12",
    "12abc",
    "{7}",
    "EURO 5",
    "2026",
    "+5",
    "1.5",
)
"""Texts whose value a number without their signs would not be."""


@pytest.mark.parametrize(
    ("reason", "value", "words"),
    [
        (Reason.MALFORMED_ROW, '[{"a": 1}, {"a": 2}]', "JSON array"),
        (Reason.MALFORMED_ROW, "{'a': None}", "single quotes"),
        (Reason.MALFORMED_ROW, '{"a": ', "one JSON object per line"),
        (Reason.MALFORMED_ROW, "4 fields, expected 3: u,i,1,", "end in a comma"),
        (Reason.MALFORMED_ROW, "4 fields, expected 3: u,i,1,2", None),
        (Reason.NOT_A_NUMBER, "True", "kind: categorical"),
        (Reason.NOT_A_NUMBER, "1,234", "decimal comma need decimal: ','"),
        *((Reason.NOT_A_NUMBER, odd, "digits and a decimal point") for odd in NO_AMOUNTS),
        (Reason.NOT_A_NUMBER, "NULL", "missing_values: ['NULL']"),
        (Reason.NOT_A_NUMBER, "12,99", "decimal: ','"),
        (Reason.NOT_A_NUMBER, "from 14.99", "digits and a decimal point"),
        (Reason.MALFORMED_ROW, '5 fields, expected 3: u,"say \\"hi, you\\"",1', "escape: '\\'"),
        (Reason.TIME_UNREADABLE, "2024-05-01 10:00:00", "unit: iso"),
        (Reason.TIME_UNREADABLE, "31.12.2024 10:00", 'format: "%d.%m.%Y %H:%M"'),
        (Reason.TIME_UNREADABLE, "03/04/2024", 'format: "%d/%m/%Y" or format: "%m/%d/%Y"'),
        (Reason.TIME_UNREADABLE, "45000", "(Excel) it is 2023-03-15"),
        (Reason.TIME_UNREADABLE, "soon", None),
        (Reason.TIME_OUT_OF_RANGE, "1600000000000", "unit: ms"),
        (Reason.TIME_OUT_OF_RANGE, "1600000000000000.0", "Write unit: us"),
        (Reason.TIME_OUT_OF_RANGE, "-1", None),
        (Reason.UNKNOWN_BEHAVIOUR, "1.0", "lists '1', '2'"),
        (Reason.MISSING_KEY, None, None),
    ],
)
def test_hints(reason: Reason, value: str | None, words: str | None) -> None:
    spec = spec_of(interactions={"behaviour": BEHAVIOUR})
    hints = reject_hints(spec, "interactions", reason, value)
    assert [words in hint for hint in hints] == ([True] if words else [])


@pytest.mark.parametrize(
    ("reason", "cell", "value"),
    [
        (Reason.NOT_A_NUMBER, "$1,299.00", 1299.0),
        (Reason.NOT_A_NUMBER, "12.5 €", 12.5),
        (Reason.NOT_A_NUMBER, "12%", 12.0),
        (Reason.NOT_A_NUMBER, "R$ 5", 5.0),
        (Reason.NOT_A_NUMBER, "5 USD", 5.0),
        (Reason.NOT_A_NUMBER, "EUR 5", 5.0),
        (Reason.NOT_A_NUMBER, "12,5 €", 12.5),
        (Reason.NOT_A_NUMBER, "1.234,56 €", 1234.56),
        (Reason.NOT_A_NUMBER, "1 234,5", 1234.5),
        (Reason.NOT_A_NUMBER, "12,99", 12.99),
        (Reason.NOT_A_NUMBER, "1'234.5", 1234.5),
        (Reason.NOT_A_NUMBER, "False", 0),
        (Reason.NOT_A_NUMBER, "Yes", 1),
        (Reason.UNKNOWN_BEHAVIOUR, "1.0", 1),
        (Reason.UNKNOWN_BEHAVIOUR, "View", "view"),
    ],
)
def test_the_expression_of_a_hint_reads_the_cell(reason: Reason, cell: str, value: object) -> None:
    behaviour = {"column": "event", "values": ["1", "view"]}
    spec = spec_of(interactions={"behaviour": behaviour})
    (hint,) = reject_hints(spec, "interactions", reason, cell, "odd one")
    sql = yaml.safe_load("{" + hint[hint.index("columns: ") :] + "}")["columns"]["odd one"]
    assert pl.DataFrame({"odd one": [cell]}).select(pl.sql_expr(sql)).item() == value


@pytest.mark.parametrize(
    ("column", "words"),
    [
        ("price", "TRY_CAST"),
        ("where", "TRY_CAST"),
        ("day", "the format in the expression does not fit"),
        ("rating", "does not take values of its type"),
        ("short", "TRY_CAST(... AS type) instead of ::"),
        ("text", "does not take values of its type"),
    ],
)
def test_the_hint_for_a_failed_expression_fits_its_functions(column: str, words: str) -> None:
    columns = {
        "price": "CAST(price AS DOUBLE)",
        "day": "STRPTIME(day, '%Y')",
        "loose": "TRY_CAST(a AS INT)",
        "short": "n::INT",
        "text": "REPLACE(a, '::', 'CAST(')",
    }
    source = {"path": "log.csv", "columns": columns, "where": "CAST(n AS INT) > 5"}
    (hint,) = reject_hints(
        spec_of(interactions={"source": source}),
        "interactions",
        Reason.EXPRESSION_FAILED,
        "soon",
        column,
    )
    assert words in hint


def test_the_hint_for_a_failed_expression_is_that_of_its_own_table() -> None:
    items = {"source": {"path": "items.csv", "where": "CAST(n AS INT) > 5"}}
    source = {"path": "log.csv", "where": "n > 1", "columns": {"n": "CAST(n AS INT)"}}
    spec = spec_of(items=items, interactions={"source": source})

    def hint(table: str, column: str) -> str:
        (found,) = reject_hints(spec, table, Reason.EXPRESSION_FAILED, "soon", column)
        return found

    assert "TRY_CAST" in hint("items", "where")
    assert "does not take values" in hint("interactions", "where")
    assert "TRY_CAST" in hint("interactions", "n")
    named = {"path": "log.csv", "columns": {"where": "CAST(n AS INT)"}}
    spec = spec_of(interactions={"source": named})
    assert "TRY_CAST" in hint("interactions", "where"), "a column of this name"


def test_a_point_is_explained_where_the_source_has_decimal_commas() -> None:
    source = {"path": "items.csv", "decimal": ","}
    spec = spec_of(items={"source": source, "features": [numeric().model_dump()]})

    def hint(text: str) -> str:
        (found,) = reject_hints(spec, "items", Reason.NOT_A_NUMBER, text)
        return found

    assert "with decimal: ',' in its source, a point is between groups" in hint("1.5")
    assert "digits and a decimal point" in hint("2026")
