"""Times that are probably read in another way than they were written."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import polars as pl
import pyarrow as pa

from heterrec_pipeline.checking.evidence import Evidence
from heterrec_pipeline.checking.time_forms import LONG_AGO_MS, units_in_words
from heterrec_pipeline.interactions.times import describe, iso
from heterrec_schemas.feature_spec import FeatureSpec

TIED = 0.9
"""Share of rows with the time of another row of their user above which there is a warning."""
FEW = 20
"""Number of rows below which ties say nothing."""
_FLOAT32_EXACT = 2**24


def time_doubts(spec: FeatureSpec, evidence: Evidence, now: datetime) -> Iterator[str]:
    """The warnings about the times of the log.

    Args:
        spec: the spec.
        evidence: the log.
        now: the present time.
    """
    column = spec.interactions.timestamp.column
    cells = evidence.cells.get(column, [])
    times = evidence.text("time").cast(pl.Int64)
    if times.is_empty():
        return
    read_as = f"{column!r} with {describe(spec.interactions.timestamp)}"
    if _is_typed(cells):
        read_as = repr(column)
    first, last = int(times.min()), int(times.max())  # type: ignore[arg-type]
    tomorrow = int((now + timedelta(days=1)).timestamp() * 1000)
    if last < LONG_AGO_MS or first > tomorrow:
        where = "before 1990" if last < LONG_AGO_MS else "after tomorrow"
        hint = ""
        if spec.quotes_cells:
            where += f", from {iso(first)} to {iso(last)}"
            hint = "" if _is_typed(cells) else units_in_words(_first_text(cells), column, now)
        yield (
            f"interactions.timestamp: all {len(times):,} sampled times are {where}, read from {read_as}{hint}"
        )
    yield from _narrow(cells, column, quoted=spec.quotes_cells)
    yield from _tied(spec, evidence, times)


def _is_typed(cells: list[pa.Array]) -> bool:
    """Whether the cells are times by their type, which needs no unit."""
    return any(pa.types.is_timestamp(c.type) or pa.types.is_date(c.type) for c in cells)


def _first_text(cells: list[pa.Array]) -> str:
    values = (cell for array in cells for cell in array.drop_null()[:1].to_pylist())
    return str(next(values, ""))


def _narrow(cells: list[pa.Array], column: str, *, quoted: bool) -> Iterator[str]:
    """Times in float32 (or float16), whose last digits are lost."""
    narrow = [c for c in cells if pa.types.is_float32(c.type) or pa.types.is_float16(c.type)]
    values = pl.concat([pl.Series(c.cast(pa.float64())) for c in narrow]) if narrow else None
    largest = None if values is None else values.abs().max()
    if isinstance(largest, float) and largest >= _FLOAT32_EXACT:
        step = 2 ** (len(f"{int(largest):b}") - 24)
        times = f"times such as {largest:.0f}" if quoted else "its times"
        yield (
            f"interactions.timestamp: column {column!r} is {narrow[0].type}, which has 24 binary digits: {times} are "
            f"multiples of {step}. Write it as int64, float64 or a timestamp."
        )


def _tied(spec: FeatureSpec, evidence: Evidence, times: pl.Series) -> Iterator[str]:
    """Rows of one user and time, whose order nothing decides."""
    if spec.interactions.order is not None or len(times) < FEW:
        return
    frame = pl.DataFrame(
        {"user": evidence.text("user"), "time": times, "item": evidence.text("item")}
    ).unique()
    sizes = frame.group_by("user", "time").len("rows").filter(pl.col("rows") > 1)
    tied = int(sizes["rows"].sum())
    if tied <= TIED * len(frame):
        return
    top = sizes.sort("rows", "user", "time", descending=[True, False, False]).row(0, named=True)
    when = iso(int(top["time"]))
    example = f", such as {top['rows']:,} of user {top['user']!r} at {when}"
    yield (
        f"interactions: {tied / len(frame):.1%} of the {len(frame):,} sampled interactions have the same time as another one "
        f"of their user{example if spec.quotes_cells else ''}: their order is arbitrary. If a "
        "column has their order, name it as interactions.order."
    )


def present_time() -> datetime:
    """Now, in UTC."""
    return datetime.now(UTC)
