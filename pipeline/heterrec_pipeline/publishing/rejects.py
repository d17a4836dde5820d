"""Check the share of rejected rows, and write `rejects/`."""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import polars as pl
import pyarrow as pa

from heterrec_pipeline.checking.reject_hints import reject_hints
from heterrec_pipeline.checking.reject_limit import Dominant, refusal, too_many
from heterrec_pipeline.files.rejects import (
    SAMPLES,
    reject_in_words,
    sorted_rejects,
    write_rejects_shard,
)
from heterrec_pipeline.job import INTERACTIONS, Job
from heterrec_pipeline.wiring.reports import report_file
from heterrec_pipeline.wiring.step import tables_in
from heterrec_schemas.errors import DataError
from heterrec_schemas.feature_spec import FeatureSpec, Limits


class RejectSummary(NamedTuple):
    """Summary of `rejects/`.

    Attributes:
        entries: number of entries by reason.
        rows: number of rows with at least one entry, by source and by the limit that the entry counts against.
        dominant: the most frequent reason, its number of entries, samples and hints in words, by source and limit.
    """

    entries: dict[str, int]
    rows: dict[tuple[str, str], int]
    dominant: dict[tuple[str, str], Dominant]


def summarise(spec: FeatureSpec, rejects: pl.DataFrame) -> RejectSummary:
    """Count the entries of `rejects/`, and pick samples and hints."""
    by_reason = dict(rejects.group_by("reason").len().sort("reason").iter_rows())
    limits = [spec.limits.limit_of(reason) for reason in by_reason]
    names = pl.DataFrame(
        {"reason": list(by_reason), "limit": limits},
        schema=dict.fromkeys(("reason", "limit"), pl.String),
    )
    rejects = rejects.join(names, on="reason", maintain_order="left")
    rows = rejects.unique(["source", "limit", "file", "row"]).group_by("source", "limit").len()
    dominant = {}
    for (source, limit), group in rejects.group_by("source", "limit", maintain_order=True):
        top = group.group_by("reason").len().sort(["len", "reason"], descending=[True, False])
        reason, count = top.row(0)
        samples = group.filter(pl.col("reason") == reason).head(SAMPLES)
        cells = samples.select("file", "row", "column", "value").rows()
        told = spec.rejects.values != "none"
        words = [reject_in_words(*cell, told=told) for cell in cells]
        hints = reject_hints(spec, str(source), reason, cells[0][-1], cells[0][-2])
        dominant[str(source), str(limit)] = (reason, count, [*words, *hints])
    of_limit = {(source, limit): count for source, limit, count in rows.iter_rows()}
    return RejectSummary(by_reason, of_limit, dominant)


def write_rejects(
    job: Job, element: tuple[int, Iterable[pa.Table]], counts: dict[str, int]
) -> Iterator[Any]:
    """All rejects to their file and a `RejectSummary`.

    Args:
        job: the build.
        element: the rejects of all tables.
        counts: the counts of the steps that read them.

    Raises:
        RejectRatioError: too many rows were rejected.
        DataError: the log is empty.
    """
    frame = sorted_rejects(tables_in(element[1]))
    summary = summarise(job.spec, frame)
    if not job.lenient:
        check_log_rows(job, counts)
        check_ratios(job.spec.limits, table_rows(job, counts), summary)
    yield report_file(write_rejects_shard(job.root, frame))
    yield summary


def table_rows(job: Job, counts: dict[str, int]) -> dict[str, int]:
    """Number of rows per source, as the reject ratio counts them: without erased and filtered ones."""
    read = {INTERACTIONS: "read"} | {t.name: "rows" for t in job.tables if t.files}
    return {
        name: counts.get(f"{name}.{rows}", 0)
        - counts.get(f"{name}.erased", 0)
        - counts.get(f"{name}.filtered", 0)
        for name, rows in read.items()
    }


def check_log_rows(job: Job, counts: dict[str, int]) -> None:
    """Refuse an empty log.

    Raises:
        DataError: no row was read.
    """
    if counts.get("interactions.read", 0) == 0:
        raise DataError(
            "interactions: the log is empty",
            got=f"no rows in {', '.join(f.name for f in job.log[:4])}",
            expected="at least one interaction",
            todo="Check interactions.source in the spec.",
        )


def check_ratios(limits: Limits, rows: dict[str, int], summary: RejectSummary) -> None:
    """Refuse a run that rejected too many rows.

    Args:
        limits: the limits of the spec.
        rows: number of rows by source.
        summary: the rejects.

    Raises:
        RejectRatioError: a source is above a limit; names the dominant reason, with samples.
    """
    found = [
        too_many(
            limits,
            limit,
            source,
            summary.rows[source, limit],
            total,
            summary.dominant[source, limit],
        )
        for source, total in sorted(rows.items())
        for limit, ratio in limits.reject_ratios.items()
        if total and summary.rows.get((source, limit), 0) / total > ratio
    ]
    if found:
        raise refusal(limits, found)
