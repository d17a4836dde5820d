"""Specs that no user writes: each ends in a message, soon and with little memory."""

import json
import os
from pathlib import Path

import pytest

from heterrec_schemas.errors import SpecError
from heterrec_schemas.feature_spec import load_spec, parse_spec
from heterrec_schemas.feature_spec.embedding import dimension_columns
from heterrec_schemas.feature_spec.expressions import parse_expression
from heterrec_schemas.feature_spec.read import salvage_spec

SPEC = """version: 1
name: shop
items:
  source: {path: items.csv}
  key: item
  catalogue_vocabulary: {oov_buckets: 0}
  features:
    - {name: a, kind: categorical, column: a, oov_buckets: 1}
    - {name: e, kind: embedding, column: e, dim: 4, groups: 2, quantiles: 2}
interactions:
  source: {path: log.csv, where: "u = 'a'"}
  user: user
  item: item
  timestamp: {column: ts, unit: s}
sequences: {max_length: 20}
split: {method: temporal, validation_at: 0.8, test_at: 0.9}
"""
EMBEDDING = "dim: 4, groups: 2, quantiles: 2"
WHERE = "u = 'a'"
TOO_LONG = "where: it may make texts 1,000 times as long as a cell"
TOO_LARGE = "where: more than 1,000 operators, or 200 within each other"


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (EMBEDDING, "dim: 1536, groups: 1, quantiles: 2", "gives 2.41e[+]462 codes per group"),
        (EMBEDDING, "dim: 2000000000, groups: 1, quantiles: 2", "dim: less than or equal to 65536"),
        (EMBEDDING, "dim: 4, groups: 2000000000, quantiles: 2", "groups: less than or equal"),
        (EMBEDDING, "dim: 4, groups: 2, quantiles: 2000000000", "quantiles: less than or equal"),
        (EMBEDDING, "dim: 2000000000, quantizer: pq, groups: 3", "dim: less than or equal"),
        (EMBEDDING, "dim: 2000000000, quantizer: rq, levels: 3", "dim: less than or equal"),
        ("column: e", 'column: "e{0..200000000}"', "is 200000001 columns, but dim is 4"),
        ("oov_buckets: 1", "oov_buckets: 99999999999", "oov_buckets: less than or equal"),
        ("oov_buckets: 1", "shards: 99999999999", "shards: less than or equal"),
        ("oov_buckets: 0", "oov_buckets: 99999999999", "oov_buckets: less than or equal"),
        ("oov_buckets: 0", "shards: 99999999999", "shards: less than or equal"),
        ("max_length: 20", "max_length: 99999999999", "max_length: less than or equal"),
        ("name: a,", f"name: {'a' * 5000},", "name: .* at most 100 characters; got 'aaa.* [.]{3} "),
        ("0.8", "0001-01-01T00:00:00+23:59", "in UTC is not in the years 1 to 9999"),
        ("0.9", "'9999-12-31T23:59:59-23:59'", "expected a fraction such as 0.8 or an ISO time"),
        (WHERE, " AND ".join([WHERE] * 20_000), TOO_LARGE),
        (WHERE, " OR ".join([WHERE] * 250), TOO_LARGE),
        (WHERE, "CAST(" * 3000 + "u" + " AS VARCHAR)" * 3000, TOO_LARGE),
        (WHERE, "(" * 400 + WHERE + ")" * 400, "not an SQL expression"),
        (WHERE, "CASE WHEN u = 'a' THEN " * 140 + "TRUE" + " END" * 140, "not an SQL expression"),
        (WHERE, "LPAD(u, 999999999999) = 'a'", "the length of LPAD and RPAD must be a number"),
        (WHERE, "RPAD(u, n, 'x') = 'a'", "the length of LPAD and RPAD must be a number"),
        (WHERE, f"REPLACE(REPLACE(u, 'a', 'bbbbb'), 'b', '{'c' * 201}') = 'a'", TOO_LONG),
        (WHERE, f"REPLACE(u, '', '{'a' * 1000}') = 'a'", TOO_LONG),
        (WHERE, "REPLACE(REPLACE(u, 'a', u), 'a', u) = 'a'", TOO_LONG),
        (WHERE, f"REGEXP_REPLACE(u, '.*', '{'$0' * 900}') = 'a'", TOO_LONG),
        (WHERE, f"CONCAT({', '.join(['LPAD(u, 1000)'] * 101)}) = 'a'", TOO_LONG),
        (WHERE, "u < LEAST()", "not an SQL expression: "),
        ("version: 1", "version: 1\nx: &x [*x]", "an alias stands for a value that contains it"),
        ("items.csv", '"a\\0b.csv"', "line 4: a text has the character U[+]0000"),
    ],
)
def test_a_value_beyond_its_bounds(old: str, new: str, words: str) -> None:
    parse_spec(SPEC)
    with pytest.raises(SpecError, match=words) as found:
        parse_spec(SPEC.replace(old, new, 1))
    assert len(found.value.message) < 3000


@pytest.mark.parametrize(
    "where",
    [
        " OR ".join([WHERE] * 150),
        f"u IN ({','.join(map(repr, map(str, range(5000))))})",
        "LPAD(u, 1000, 'x') = 'a'",
        f"REPLACE(REPLACE(u, 'a', 'bbbbb'), 'b', '{'c' * 200}') = 'a'",
        "REPLACE(REPLACE(u, ',', '.'), 'EUR', i) = 'a'",
        " || ".join(["u"] * 60) + " = 'a'",
        "u <> '\"" + "[" * 500 + "\"'",
    ],
)
def test_large_expressions(where: str) -> None:
    spec = parse_spec(SPEC.replace(f'"{WHERE}"', json.dumps(where)))
    assert spec.interactions.source.where == where


def test_many_mistakes_are_listed_in_part() -> None:
    wrong = "\n".join(f"    - {{name: f{k}, kind: numeric, column: c}}" for k in range(60))
    with pytest.raises(SpecError, match="spec has 60 mistakes:") as found:
        parse_spec(SPEC.replace("  features:", f"  features:\n{wrong}"))
    assert found.value.message.endswith("\n  and 10 more")


def test_behaviours_and_names_in_large_numbers() -> None:
    many = ", ".join(f"v{k}" for k in range(20_000))
    parse_spec(
        SPEC.replace("  user: user", f"  user: user\n  behaviour: {{column: b, values: [{many}]}}")
    )
    twice = SPEC.replace("log.csv,", f"log.csv, header: false, names: [{many}, v7],")
    with pytest.raises(SpecError, match="'v7' occurs twice"):
        parse_spec(twice)


def test_a_column_of_too_many_dimensions_is_one() -> None:
    assert dimension_columns("e{0..65536}") is None
    assert dimension_columns(f"e{{0..{'9' * 5000}}}") is None
    assert dimension_columns("e{8..9}") == ["e8", "e9"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (SPEC[SPEC.index("\n    - {name: a") : SPEC.index("interactions:")], " brand\n"),
        ("items:\n", "items: []\nitem:\n"),
        ("split: {method", "split: [5]\nx: {method"),
    ],
)
def test_nothing_is_salvaged_of_a_part_of_another_form(old: str, new: str) -> None:
    spec, mistakes = salvage_spec(SPEC.replace(old, new, 1))
    assert spec is None
    assert mistakes is not None


def test_a_spec_that_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(SpecError, match="cannot be read: it is a device, pipe or socket"):
            load_spec(path)
    with pytest.raises(SpecError, match="cannot be read: Is a directory"):
        load_spec(tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        " || ".join(["a IN (b, 'y')"] * 40),
        " || ".join(["a BETWEEN b AND c"] * 40),
        "CASE WHEN a > 1 THEN " * 40 + "a b" + " END" * 40,
        "POSITION(" * 40 + "a" + ")" * 40,
    ],
    ids=["in", "between", "case", "position"],
)
def test_expressions_that_polars_doubles_without_end_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="more than 1,000 operators, or 200 within each other"):
        parse_expression(text)


def test_many_conditions_beside_each_other_are_parsed() -> None:
    found = parse_expression(" AND ".join(["a BETWEEN 1 AND 2", "b IN ('x', c)"] * 20))
    assert set(found.meta.root_names()) == {"a", "b", "c"}
