"""The cuts of a temporal split: midnights at a share of the kept interactions, or times of the spec."""

from collections.abc import Iterable, Iterator
from datetime import datetime
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
from apache_beam.pvalue import TaggedOutput

from heterrec_pipeline.interactions.times import EPOCH, iso
from heterrec_pipeline.statistics.bins import coarse_days
from heterrec_pipeline.wiring.reports import quiet_count
from heterrec_pipeline.wiring.step import tables_in
from heterrec_schemas.errors import DataError
from heterrec_schemas.feature_spec import FeatureSpec, Temporal

Cuts = tuple[int, int] | None
DAY_MS = 86_400_000


def cut_ms(value: float | str, days: npt.NDArray[np.int64], counts: npt.NDArray[np.int64]) -> int:
    """A cut in milliseconds.

    Args:
        value: an ISO time, or the fraction f: midnight UTC of the first day d such that the days before d hold at least f of
            the interactions.
        days: [n] the days with interactions, ascending, n at least 1.
        counts: [n] interactions per day.
    """
    if isinstance(value, str):
        return (datetime.fromisoformat(value) - EPOCH) // (datetime.resolution * 1000)
    wanted = Fraction(str(value)) * int(counts.sum())
    if wanted <= 0:
        return int(days[0]) * DAY_MS
    before = np.cumsum(counts)
    k = next(k for k, total in enumerate(before.tolist()) if total >= wanted)
    return (int(days[k]) + 1) * DAY_MS


def temporal_cuts(spec: FeatureSpec, tables: Iterable[pa.Table]) -> Cuts:
    """The two cuts of a temporal split, from the day counts of all buckets; None for leave-one-out.

    Raises:
        DataError: no interaction is left, or validation_at falls after test_at.
    """
    frames = [pl.DataFrame(pl.from_arrow(t)) for t in tables]
    whole = (
        pl.concat(frames) if frames else pl.DataFrame(schema={"day": pl.Int64, "count": pl.Int64})
    )
    by_day = whole.group_by("day").agg(pl.col("count").sum()).sort("day")
    if by_day.is_empty() or not isinstance(spec.split, Temporal):
        return None
    days, counts = by_day["day"].to_numpy(), by_day["count"].to_numpy()
    first = cut_ms(spec.split.validation_at, days, counts)
    second = cut_ms(spec.split.test_at, days, counts)
    if first > second:
        raise DataError(
            "split: validation_at falls after test_at",
            got=f"{iso(first)} and {iso(second)}",
            expected="validation_at <= test_at",
            todo="Move one of the cuts.",
        )
    return first, second


def find_cuts(spec: FeatureSpec, element: tuple[int, Iterable[pa.Table]]) -> Iterator[Any]:
    """`temporal_cuts` as a step."""
    tables = list(tables_in(element[1]))
    yield temporal_cuts(spec, tables)
    yield from _day_counts(tables)


def _day_counts(tables: list[pa.Table]) -> Iterator[TaggedOutput]:
    """The counts `days.width` and `days.<first day>` of all days, for the report."""
    if not tables:
        return
    whole = pl.DataFrame(pl.from_arrow(pa.concat_tables(tables)))
    by_day = whole.group_by("day").agg(pl.col("count").sum()).sort("day")
    width, counts = coarse_days(by_day["day"].to_numpy(), by_day["count"].to_numpy())
    yield quiet_count("days.width", width)
    yield from (quiet_count(f"days.{day}", count) for day, count in counts)
