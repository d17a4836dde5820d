"""How an expression takes columns of some types, and what type nulls have for it."""

import polars as pl
import pytest

from heterrec_pipeline.reading.shaping.cells import NOTHING, Kinds
from heterrec_pipeline.reading.shaping.evaluate import evaluate
from heterrec_pipeline.reading.shaping.fit import fit
from heterrec_schemas.feature_spec.expressions import columns_of


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("x + 1", pl.Int32),
        ("UPPER(x)", pl.String),
        ("REPLACE(x, '$', '')", pl.String),
        ("CAST(REPLACE(x, '$', '') AS DOUBLE)", pl.Float64),
        ("x LIKE 'a%'", pl.Boolean),
        ("DATE(x, '%Y-%m-%d')", pl.Date),
        ("CASE WHEN x THEN 1 ELSE 2 END", pl.Int32),
        ("EXTRACT(HOUR FROM x)", pl.Int8),
        ("ROUND(x, 2)", pl.Int64),
        ("x // 2", pl.Int64),
        ("ARRAY_LENGTH(x)", pl.UInt32),
        ("UPPER(ARRAY_GET(x, 1))", pl.String),
        ("ARRAY_GET(x, 1) * 2 > ROUND(y)", pl.Boolean),
        ("UPPER(x) || EXTRACT(YEAR FROM y)", pl.String),
        ("UPPER(x) || CAST(EXTRACT(YEAR FROM y) + ABS(z) AS VARCHAR)", pl.String),
        ("x > y AND STARTS_WITH(z, 'a')", pl.Boolean),
    ],
)
def test_nulls_have_a_type_that_fits(text: str, result: pl.DataType) -> None:
    columns = [name for name in "xyz" if f"{name}" in pl.sql_expr(text).meta.root_names()]
    found = fit(text, tuple((name, NOTHING) for name in columns))
    assert (found.problem, found.result) == (None, result)
    # The null beside a value has a type of its own.
    beside = fit(
        f"COALESCE(CAST({text} AS VARCHAR), other)", (*found.kinds, ("other", pl.String()))
    )
    assert beside.problem is None


def test_types_that_do_not_fit() -> None:
    found = fit("x + 1", (("x", pl.String()),))
    assert found.problem is not None
    error = found.problem.error("log.source.columns.n")
    assert "x + 1 over x String. Column 'x' is text: write CAST(x AS DOUBLE)" in error.message
    objects = fit("x IS NULL", (("x", pl.Struct({"a": pl.Int64()})),))
    assert objects.problem is not None
    assert objects.problem.column == "x"
    other = fit("x + 1", (("x", pl.Int64()),), condition=True)
    assert other.problem is not None
    assert "is no condition" in other.problem.what
    wide = fit("x * y", (("x", pl.List(pl.Int64())), ("y", pl.UInt64())))
    assert wide.problem is not None


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("ts > 1704153600", "ts >= TIMESTAMP '2026-01-31 10:00:00'"),
        ("5 = day", "day >= DATE '2026-01-31'"),
        ("ts - started > 86400", "ts - started > INTERVAL '1 day'"),
        (
            "ts - started > 3",
            "EXTRACT(EPOCH FROM ts) - EXTRACT(EPOCH FROM started) > 3",
        ),
        ("NOT (n > 3 AND ts BETWEEN 1 AND n)", "EXTRACT(EPOCH FROM ts) > 3"),
    ],
)
def test_a_time_beside_a_number_does_not_fit(text: str, written: str) -> None:
    ts = pl.Datetime("us")
    kinds = {"ts": ts, "day": pl.Date(), "n": pl.Int64(), "started": ts}
    found = fit(text, of_columns(kinds, text), condition=True)
    assert found.problem is not None
    message = found.problem.error("log.source.where").message
    compared = "a length of time" if "started" in text else "a time"
    assert message.startswith(f"log.source.where: {compared} is compared with a number")
    assert written.removesuffix(" > 3") in message
    assert fit(written, of_columns(kinds, written), condition=True).problem is None


def of_columns(kinds: dict[str, pl.DataType], text: str) -> Kinds:
    return tuple((c, kinds[c]) for c in columns_of(text))


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("EXTRACT(YEAR FROM ts) = '2024' OR s = '5'", None),
        ("n > '5' AND s <> '6'", None),
        ("LENGTH(s) BETWEEN '1' AND '2.5'", "LENGTH(s) BETWEEN 1 AND 2.5"),
        ("EXTRACT(YEAR FROM ts) = '2024'", "EXTRACT(YEAR FROM ts) = 2024"),
        ("s IN (1, 20)", "s IN ('1', '20')"),
        ("s NOT IN (1) AND \"5\" = 'a 5'", "s NOT IN ('1') AND \"5\" = 'a 5'"),
        ("EXTRACT(YEAR FROM s) = 2024", "STRPTIME(s, '%Y-%m-%d %H:%M:%S')"),
        ("s > 5", "CAST(s AS DOUBLE)"),
    ],
)
def test_what_to_write_about_quotes(text: str, written: str | None) -> None:
    kinds = {"s": pl.String(), "5": pl.String(), "n": pl.Int64(), "ts": pl.Datetime("us")}
    found = fit(text, of_columns(kinds, text), condition=True)
    assert found.problem is not None
    if written is None:  # more than the quotes of numbers is wrong
        assert "quotes" not in (found.problem.todo or "")
        return
    assert f"write {written}" in (found.problem.todo or "")
    if "%" not in written and "CAST" not in written:
        assert fit(written, of_columns(kinds, written), condition=True).problem is None


def test_what_to_write_for_a_length_of_time_gives_the_same_rows() -> None:
    days = pl.DataFrame({"ts": [1, 3]}).select(
        ts=pl.datetime(2026, 1, "ts"), started=pl.datetime(2026, 1, 1)
    )
    seconds = "EXTRACT(EPOCH FROM ts) - EXTRACT(EPOCH FROM started) > 86400"
    for text in ("ts - started > INTERVAL '1 day'", seconds):
        assert evaluate(days, text).values.to_list() == [False, True]


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("CAST(x AS DECIMAL(10, 2))", pl.Boolean()),
        ("CAST(x AS DECIMAL(20, 0))", pl.Datetime("us")),
        ("CAST(x AS DOUBLE)", pl.Binary()),
        ("TRY_CAST(x AS BOOLEAN)", pl.Date()),
        ("TRY_CAST(x AS VARCHAR)", pl.List(pl.Int64())),
    ],
)
def test_a_cast_that_no_value_can_take_does_not_fit(text: str, kind: pl.DataType) -> None:
    found = fit(text, (("x", kind),))
    assert found.problem is not None
    assert "cast" in found.problem.what


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("x / 3", pl.Float64()),
        ("x / 1.19", pl.Int64()),
        ("EXTRACT(EPOCH FROM x)", pl.Datetime("ns")),
    ],
)
def test_a_division_by_a_constant_goes_row_by_row(text: str, kind: pl.DataType) -> None:
    assert fit(text, (("x", kind),)).problem is None


def test_decimals_with_fractions_are_floats() -> None:
    for kind in (pl.Int64(), pl.Float64(), pl.Decimal(10, 2)):
        assert fit("x * 0.5", (("x", kind),)).result == pl.Float64
    assert fit("CAST(x AS DECIMAL(20, 0))", (("x", pl.Int64()),)).result == pl.Decimal(20, 0)
