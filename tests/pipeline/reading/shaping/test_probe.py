"""Made-up rows tell whether a result depends on other rows."""

import polars as pl
import pyarrow as pa
import pytest

from heterrec_pipeline.reading.shaping.cells import type_in_file
from heterrec_pipeline.reading.shaping.probe import depends_on_other_rows, probe_frame
from heterrec_schemas.feature_spec.expressions import parse_expression


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_a_probe_has_times_that_can_be_written(unit: str) -> None:
    probe = probe_frame({"t": type_in_file(pa.timestamp(unit))})
    assert not depends_on_other_rows(probe, parse_expression("CAST(t AS VARCHAR)"))


@pytest.mark.parametrize(
    ("text", "depends"),
    [
        ("CAST(t AS DOUBLE) > n", False),
        ("DATE(t, '%Y-%m-%d')", False),
        ("t || n", False),
        ("REPLACE(t, '1', t)", False),  # Polars itself refuses a null alone, but not among others
    ],
)
def test_a_probe_tells_whether_a_result_depends_on_other_rows(text: str, depends: bool) -> None:
    probe = probe_frame({"t": pl.String(), "n": pl.Int64()})
    assert depends_on_other_rows(probe, parse_expression(text)) == depends
    assert depends_on_other_rows(probe, pl.col("t").str.to_uppercase().shift(1))
    assert depends_on_other_rows(probe, pl.col("n") - pl.col("n").max())
