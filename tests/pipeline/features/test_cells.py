from datetime import UTC, datetime
from decimal import Decimal

import pyarrow as pa
import pytest

from heterrec_pipeline.features.cells import cell_at, cell_text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, None),
        (" as it is ", " as it is "),
        ("x" * 300, "x" * 200),
        (3.0, "3"),
        (float("nan"), None),
        (True, "true"),
        (datetime(2024, 1, 2, tzinfo=UTC), "2024-01-02T00:00:00Z"),
        (Decimal("1.50"), "1.50"),
        (["a", 1], "['a', 1]"),
        (list(range(100)), str(list(range(100)))[:200]),
    ],
)
def test_a_cell_as_text(value: object, text: str | None) -> None:
    assert cell_text(value) == text


@pytest.mark.parametrize(
    ("column", "text"),
    [
        (pa.array([0, 10**15], pa.timestamp("ms")), "33658-09-27T01:46:40.000000Z"),
        (pa.array([0, -1], pa.timestamp("ns", "+05:30")), "1969-12-31T23:59:59.999999Z"),
        (pa.array([0, None], pa.timestamp("us")), None),
        (pa.array([0, 2**31 - 1], pa.date32()), "5881580-07-11"),
        (pa.array([[1], [2, 3]]), "[2, 3]"),
        (pa.array(["a", "b"]).dictionary_encode(), "b"),
    ],
)
def test_the_cell_of_a_column(column: pa.Array, text: str | None) -> None:
    cut = pa.chunked_array([column.slice(0, 1), column.slice(1)])
    assert cell_at(cut, 1) == text
