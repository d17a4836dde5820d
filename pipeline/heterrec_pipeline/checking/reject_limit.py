"""`limits.max_reject_ratio`: its message, and the check of a sample before a build.

A build is refused at once if its sample proves that the limit cannot be kept, whatever the other rows say. So the outcome
is that of the check of all rejects, which follows once every table is read.
"""

import json
from collections.abc import Sequence
from dataclasses import replace

from heterrec_pipeline.checking.check import raise_problems
from heterrec_pipeline.checking.reject_hints import reject_hints
from heterrec_pipeline.checking.sample import Sample, sample_tables
from heterrec_pipeline.job import INTERACTIONS, Job
from heterrec_pipeline.reading import csv
from heterrec_pipeline.reading.files import InputFile
from heterrec_schemas.errors import HeterrecError, RejectRatioError

SUSPECT_ROWS = 2_000_000
"""Maximum number of rows that are read of a table while the share of rejects among them is above the limit."""
TODO = "Fix the input or the spec, or raise the limit. Nothing was published."


def dominance(reason: str, entries: int, lines: Sequence[str]) -> str:
    """The end of a message about too many rejects: the most frequent reason, its number of entries, samples and hints."""
    word = "entry" if entries == 1 else "entries"
    listed = "\n".join(f"    {line}" for line in lines)
    return f"{reason} dominates with {entries:,} {word}:\n{listed}"


def too_many(source: str, rejected: int, rows: int, limit: float) -> str:
    """The beginning of a message about a source of which all rows were read."""
    return (
        f"{source}: {rejected:,} of {rows:,} rows ({rejected / rows:.1%}) were rejected, more than "
        f"limits.max_reject_ratio allows ({limit:.1%}); "
    )


def check_sample(job: Job) -> list[Sample]:
    """Read a sample of every table as the build will, before anything is written.

    The first `SAMPLE_ROWS` rows of each table are read; of a table with too many rejects among them, as many as it takes to
    decide, up to `SUSPECT_ROWS`.

    Returns:
        The samples.

    Raises:
        RejectRatioError: so many rows will be rejected that the limit cannot be kept.
        HeterrecError: a table cannot be read.
    """
    problems: list[HeterrecError] = []
    limit = job.spec.limits.max_reject_ratio
    bounds = row_bounds(job)

    def undecided(sample: Sample) -> bool:
        above = sample.certain > limit * sample.rows
        return above and sample.rows < SUSPECT_ROWS and not _proven(sample, limit, bounds)

    samples = sample_tables(job.spec, _decisive(job), problems, undecided)
    raise_problems(problems)
    findings = [_finding(job, s, bounds) for s in samples if _proven(s, limit, bounds)]
    if findings:
        raise RejectRatioError("\n".join(findings), todo=TODO)
    return samples


def _decisive(job: Job) -> Job:
    """The job without the columns that prove nothing: cells count only in rows that are kept, which the sample cannot tell.

    Those of a joined table need an item with their key. Rows made from the log are among the log's.
    """
    items = job.items if job.items.files else replace(job.items, features=())
    return replace(job, items=items, joins=tuple(replace(j, features=()) for j in job.joins))


def _most_rows(sample: Sample, bounds: dict[str, int]) -> int | None:
    """The maximum number of rows of a sampled table, None if unknown."""
    if sample.whole:
        return sample.rows
    bound = bounds.get(sample.table)
    return None if bound is None else sample.rows + bound


def _proven(sample: Sample, limit: float, bounds: dict[str, int]) -> bool:
    most = _most_rows(sample, bounds)
    return most is not None and most > 0 and sample.certain / most > limit


def _finding(job: Job, sample: Sample, bounds: dict[str, int]) -> str:
    limit = job.spec.limits.max_reject_ratio
    reason, entries = min(sample.reasons.items(), key=lambda found: (-found[1], found[0]))
    hints = reject_hints(job.spec, reason, sample.values[reason], sample.columns[reason])
    end = dominance(reason, entries, [*sample.examples[reason], *hints])
    if sample.whole:
        return too_many(sample.table, sample.certain, sample.rows, limit) + end
    return (
        f"{sample.table}: {sample.certain:,} of the first {sample.rows:,} rows are rejected, more than "
        f"limits.max_reject_ratio allows ({limit:.1%} of at most {_most_rows(sample, bounds):,} rows); {end}"
    )


def row_bounds(job: Job) -> dict[str, int]:
    """Maximum number of good rows by table; without tables whose compressed text files bound nothing."""
    log = job.spec.interactions
    behaviour = [log.behaviour.column] if log.behaviour else []
    needed = {t.name: (t.files, [t.key]) for t in job.tables if t.files}
    needed[INTERACTIONS] = (job.log, [log.user, log.item, log.timestamp.column, *behaviour])
    bounds = {}
    for name, (files, columns) in needed.items():
        estimate = job.sizes.rows.get(name)
        if estimate is not None and estimate.basis == "read":
            bounds[name] = estimate.count
        elif all(f.format != "parquet" and not f.compression for f in files):
            bounds[name] = sum(
                f.bytes // smallest_row(f, list(dict.fromkeys(columns))) + 1 for f in files
            )
    return bounds


def smallest_row(file: InputFile, columns: Sequence[str]) -> int:
    """Minimum number of bytes of a line of a text file that has a value in each of some columns."""
    if file.format == "jsonl":  # {"user":1,"item":2} and the end of the line
        return 2 + sum(len(json.dumps(c, ensure_ascii=False).encode()) + 3 for c in columns)
    names = csv.header(file)
    # The separators before the last of them, a character of each, and the end of the line.
    return max(map(names.index, columns)) + len(columns) + 1
