"""Write `rejects/`, and check the share of rejected rows."""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import polars as pl
import pyarrow as pa

from heterrec_pipeline.files.rejects import sorted_rejects, write_rejects_shard
from heterrec_pipeline.job import Job
from heterrec_pipeline.wiring.reports import report_file
from heterrec_pipeline.wiring.step import tables_in
from heterrec_schemas.errors import RejectRatioError

SAMPLES = 3
"""Number of rejects per source that a message quotes."""


class RejectSummary(NamedTuple):
    """Summary of `rejects/`.

    Attributes:
        entries: number of entries by reason.
        rows: number of rows with at least one entry by source.
        dominant: the most frequent reason, its number of entries, and samples in words by source.
    """

    entries: dict[str, int]
    rows: dict[str, int]
    dominant: dict[str, tuple[str, int, list[str]]]


def summarise(rejects: pl.DataFrame) -> RejectSummary:
    """Count the entries of `rejects/` and pick samples."""
    by_reason = dict(rejects.group_by("reason").len().sort("reason").iter_rows())
    rows = rejects.unique(["source", "file", "row"]).group_by("source").len().sort("source")
    dominant = {}
    for (source,), group in rejects.group_by("source"):
        top = group.group_by("reason").len().sort(["len", "reason"], descending=[True, False])
        reason, count = top.row(0)
        samples = group.filter(pl.col("reason") == reason).head(SAMPLES)
        dominant[str(source)] = (reason, count, [_sample(r) for r in samples.iter_rows(named=True)])
    return RejectSummary(by_reason, dict(rows.iter_rows()), dominant)


def _sample(entry: dict[str, Any]) -> str:
    column = f", column {entry['column']!r}" if entry["column"] else ""
    value = "nothing" if entry["value"] is None else repr(entry["value"])
    return f"{entry['file']} row {entry['row']}{column}: got {value}"


def write_rejects(job: Job, element: tuple[int, Iterable[pa.Table]]) -> Iterator[Any]:
    """All rejects to their file and a `RejectSummary`."""
    frame = sorted_rejects(tables_in(element[1]))
    yield report_file(write_rejects_shard(job.root, frame))
    yield summarise(frame)


def check_ratios(limit: float, rows: dict[str, int], summary: RejectSummary) -> None:
    """Refuse a run that rejected too many rows.

    Args:
        limit: `limits.max_reject_ratio`.
        rows: number of rows by source.
        summary: the rejects.

    Raises:
        RejectRatioError: a source is above the limit; names the dominant reason, with samples.
    """
    findings = []
    for source, total in sorted(rows.items()):
        rejected = summary.rows.get(source, 0)
        if total and rejected / total > limit:
            reason, count, samples = summary.dominant[source]
            findings.append(
                f"{source}: {rejected:,} of {total:,} rows ({rejected / total:.1%}) were rejected, more than "
                f"limits.max_reject_ratio allows ({limit:.1%}); {reason} dominates with {count:,} "
                f"{'entry' if count == 1 else 'entries'}:\n"
                + "\n".join(f"    {s}" for s in samples)
            )
    if findings:
        raise RejectRatioError(
            "\n".join(findings),
            todo="Fix the input or the spec, or raise the limit. Nothing was published.",
        )
