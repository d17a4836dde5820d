"""SQL expressions of a source: row by row, or refused."""

from contextlib import suppress

import polars as pl
import pytest

from heterrec_schemas.errors import SpecError
from heterrec_schemas.feature_spec import Source, parse_spec
from heterrec_schemas.feature_spec.expressions import columns_of, parse_expression


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("quantity > 0 AND rating >= 4", ["quantity", "rating"]),
        ("CAST(REPLACE(price, '$', '') AS DOUBLE)", ["price"]),
        ("EXTRACT(DOW FROM ts)", ["ts"]),
        ("\"user.id\" || 'x'", ["user.id"]),
        ("CASE WHEN a > 1 THEN 'x' ELSE b END", ["a", "b"]),
        ("DATE(day, '%Y-%m-%d') >= DATE '2026-01-01'", ["day"]),
        ("a IN ('now()', 'x') OR b BETWEEN 1 AND 2", ["a", "b"]),
        ("COALESCE(a, b, LEAST(c, 1)) IS NOT NULL", ["a", "b", "c"]),
        ("ARRAY_LENGTH(tags) + ROUND(x, 1) % 2", ["tags", "x"]),
        ("SPLIT_PART(a, ',', 1)", ["a"]),
        ("TRY_CAST(now AS INT)", ["now"]),
        ("'DE'", []),
    ],
)
def test_row_by_row(text: str, columns: list[str]) -> None:
    assert sorted(columns_of(text)) == columns
    assert isinstance(parse_expression(text), pl.Expr)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("SUM(a) > 3", "an aggregate such as SUM"),
        ("a > (AVG(a))", "an aggregate"),
        ("FIRST(a)", "an aggregate"),
        ("ARRAY_AGG(a)", "other rows"),
        ("COUNT(*)", "COUNT looks at other rows"),
        ("QUANTILE_CONT(a, 0.5)", "other rows"),
        ("CORR(a, b)", "other rows"),
        ("ROW_NUMBER() OVER (ORDER BY a)", "a window"),
        ("SUM(a) OVER (PARTITION BY b)", "a window"),
        ("LAG(a) OVER (ORDER BY b)", "a window"),
        ("UNNEST(a)", "use the key `unnest`"),
        ("COLUMNS('a.*')", "a pattern of columns"),
        ('"^a.*$"', "a pattern of columns"),
        ("day > CURRENT_DATE", "CURRENT_DATE differs from run to run"),
        ("day > now()", "now differs from run to run"),
        ("RANDOM() < 0.1", "RANDOM differs"),
        ("DATE(day)", "give the format"),
        ("day > CURRENT_DATE", 'a column of this name needs double quotes: "CURRENT_DATE"'),
        ("a > current_timestamp", "^current_timestamp differs"),
        ("day > now()", "--param name=value$"),
        ("user.id = 3", 'dot needs double quotes: "user.id"'),
        ("a.b.c = 3", '"a.b.c" in double quotes'),
        ("order.id = 3", 'dot needs double quotes: "order.id"'),
        ("user-id = 3", 'hyphen needs double quotes: "user-id"'),
        ("day = DATE '31.01.2026'", "not an SQL expression: invalid DATE"),
        ("a >", "not an SQL expression"),
        ("a = 'x && y' && b = 1", "write AND in place of &&, and OR in place of ||"),
        ("SELECT a FROM b", "not an SQL expression but a statement: .*, without SELECT$"),
        (
            "select * from t",
            "write only the condition, or the value of the column, without select$",
        ),
        ("select n > 1", "but a statement"),
        ("WHERE n > 1", "but a statement: .* without WHERE$"),
        ("with t as (select a from b) select a from t", "but a statement"),
        ("where IS NULL", "where is a word of SQL"),
        ("select IN ('a') AND n > 1", "select is a word of SQL"),
        ("a IN (SELECT b FROM c)", "not an SQL expression"),
    ],
)
def test_what_does_not_go_row_by_row_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_expression(text)


@pytest.mark.parametrize(
    "word",
    "user order group limit offset values end all any from select where union with interval".split(),
)
@pytest.mark.parametrize(
    "text", ["{} >= 'a'", "item = 'user order' AND {} = 5", "b = {}", "LOWER({}) LIKE 'a%'"]
)
def test_a_word_of_sql_as_a_name_comes_with_its_quotes(word: str, text: str) -> None:
    quoted = f'"{word}"'
    with suppress(ValueError):  # in some places it is a name without quotes
        assert word in columns_of(text.format(word))
        return
    words = f"{word} is a word of SQL; a column of this name needs double quotes: {quoted}"
    with pytest.raises(ValueError, match=words):
        parse_expression(text.format(word))
    assert word in columns_of(text.format(quoted))


def test_several_words_of_sql_as_names() -> None:
    with pytest.raises(
        ValueError, match=r'user and Interval are words of SQL.*: "user" and "Interval"$'
    ):
        parse_expression("b > 'a' AND user IN ('user') AND LOWER(user) = Interval")
    with pytest.raises(ValueError, match=r'^user is a word of SQL.*: "user"$'):
        parse_expression("user = 1 AND order = 2")  # order is none in this place


SPEC = """
version: 1
name: t
items: {source: {path: items.csv}, key: item}
interactions:
  source: {path: "log/{what}/*.{csv,jsonl}", where: %s, columns: {price: %s}}
  user: user
  item: item
  timestamp: {column: time, unit: s}
sequences: {max_length: 5}
split: {method: leave_one_out}
parameters: {what: clicks, n: 5}
"""


def spec(where: str, price: str = '"1"') -> Source:
    return parse_spec(SPEC % (where, price)).interactions.source


def test_every_faulty_expression_is_named_by_its_key() -> None:
    with pytest.raises(SpecError) as caught:
        spec('"a > MAX(a) AND b > {n}"', '"SUM(price)"')
    assert "interactions.source.where: an aggregate" in caught.value.message
    assert "interactions.source.columns.price: an aggregate" in caught.value.message


def test_a_number_outside_of_quotes_and_any_text_inside_of_them() -> None:
    source = spec("\"a > {n} AND b = '{what}' AND c <> '{{n}}'\"")
    assert source.where == "a > 5 AND b = 'clicks' AND c <> '{n}'"
    assert source.path == "log/clicks/*.{csv,jsonl}"
