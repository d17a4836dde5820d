"""`limits.max_reject_ratio`: its messages, and the check of a sample before a build.

A build is refused at once if its sample proves that a limit cannot be kept, whatever the other rows say. So the outcome
is that of the check of all rejects, which follows once every table is read.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from heterrec_pipeline.checking.check import raise_problems
from heterrec_pipeline.checking.left_out import all_left_out
from heterrec_pipeline.checking.reject_hints import reject_hints
from heterrec_pipeline.checking.sample import Sample, sample_tables
from heterrec_pipeline.job import INTERACTIONS, Job
from heterrec_pipeline.reading.files import InputFile
from heterrec_pipeline.reading.formats import csv
from heterrec_pipeline.reading.shaping.shape import is_plain
from heterrec_schemas.errors import HeterrecError, RejectRatioError
from heterrec_schemas.feature_spec import Limits
from heterrec_schemas.feature_spec.limits import DEFAULT

Dominant = tuple[str, int, list[str]]
"""A reason, its number of entries, and samples and hints in words."""

SUSPECT_ROWS = 2_000_000
"""Maximum number of rows that are read of a table while the share of rejects among them is above a limit."""


class Excess(NamedTuple):
    """A limit that a source exceeds.

    Attributes:
        text: the message.
        reason: the most frequent reason among the rejects that count against the limit.
        share: the share of rejected rows.
    """

    text: str
    reason: str
    share: float


def percent(share: float) -> str:
    """A limit or a share, in percent."""
    return f"{share:.1%}" if share == 0 or share >= 0.001 else f"{100 * share:.2g}%"


def as_reason(limit: str) -> str:
    """What rejects that count against a limit are, as the end of a phrase; nothing for the limit of most reasons."""
    return f" as {limit}" if limit != DEFAULT else ""


def dominance(reason: str, entries: int, lines: Sequence[str]) -> str:
    """The end of a message about too many rejects: the most frequent reason, its number of entries, samples and hints."""
    word = "entry" if entries == 1 else "entries"
    listed = "\n".join(f"    {line}" for line in lines)
    return f"{reason} dominates with {entries:,} {word}:\n{listed}"


def too_many(
    limits: Limits, limit: str, source: str, rejected: int, rows: int, dominant: Dominant
) -> Excess:
    """A limit that a source exceeds of which all rows were read.

    Args:
        limits: the limits of the spec.
        limit: the exceeded one.
        source: the name of the source.
        rejected: number of its rows with a reject that counts against the limit.
        rows: number of all its rows.
        dominant: the most frequent reason among these rejects.
    """
    text = (
        f"{source}: {rejected:,} of {rows:,} rows ({percent(rejected / rows)}) were rejected{as_reason(limit)}, more than "
        f"{limits.path_of(limit)} allows ({percent(limits.reject_ratios[limit])}); "
    )
    return Excess(text + dominance(*dominant), dominant[0], rejected / rows)


def refusal(limits: Limits, found: Sequence[Excess]) -> RejectRatioError:
    """The error for the limits that are exceeded, with what to do."""
    return RejectRatioError(
        "\n".join(excess.text for excess in found),
        todo=f"{way_out(limits, found)} Nothing was published.",
    )


def way_out(limits: Limits, found: Sequence[Excess]) -> str:
    """What to do about limits that are exceeded: higher ones, unless all rows of a source count against one of them."""
    if any(excess.share >= 1 for excess in found):
        return "Fix the input or the spec; a higher limit does not help, since none of these rows would be left."
    return f"Fix the input or the spec, or raise the limit: {_raised(limits, found)}."


def _raised(limits: Limits, found: Sequence[Excess]) -> str:
    """The line of a spec with limits that accept the shares of the most frequent reasons, rounded up, but below 1."""
    written = dict(limits.reject_ratios)
    for excess in found:
        digits = 1 - math.floor(math.log10(min(excess.share, 1 - excess.share)))
        enough = math.ceil(excess.share * 10**digits) / 10**digits
        written[excess.reason] = max(written.get(excess.reason, 0.0), enough)
    listed = ", ".join(
        f"{name}: {np.format_float_positional(ratio, trim='-')}" for name, ratio in written.items()
    )
    return f"limits: {{max_reject_ratio: {{{listed}}}}}"


def check_sample(job: Job) -> list[Sample]:
    """Read a sample of every table as the build will, before anything is written.

    The first `SAMPLE_ROWS` rows of each table are read; of a table with too many rejects among them, as many as it takes to
    decide, up to `SUSPECT_ROWS`.

    Returns:
        The samples.

    Raises:
        RejectRatioError: so many rows will be rejected that a limit cannot be kept.
        DataError: the spec leaves out all rows of a table.
        HeterrecError: a table cannot be read.
    """
    problems: list[HeterrecError] = []
    limits = job.spec.limits
    bounds = row_bounds(job)

    def undecided(sample: Sample) -> bool:
        above = any(sample.certain(n) > r * sample.rows for n, r in limits.reject_ratios.items())
        return above and sample.rows < SUSPECT_ROWS and not _proven(limits, sample, bounds)

    samples = sample_tables(job.spec, _decisive(job), problems, undecided)
    owners = {INTERACTIONS, *(t.name for t in job.tables if t.files and not t.joined)}
    problems += [
        all_left_out(job.spec, s.table, s.erased + s.filtered, s.filtered)
        for s in samples
        if s.table in owners and s.whole and s.filtered and not s.rows
    ]
    raise_problems(problems)
    found = [
        _excess(job, s, limit, bounds) for s in samples for limit in _proven(limits, s, bounds)
    ]
    if found:
        raise refusal(limits, found)
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


def _proven(limits: Limits, sample: Sample, bounds: dict[str, int]) -> list[str]:
    """The limits that a table exceeds, whatever its other rows are."""
    most = _most_rows(sample, bounds)
    return [n for n, r in limits.reject_ratios.items() if most and sample.certain(n) / most > r]


def _excess(job: Job, sample: Sample, limit: str, bounds: dict[str, int]) -> Excess:
    limits, certain = job.spec.limits, sample.certain(limit)
    reason, entries = sample.dominant(limit)
    hints = reject_hints(
        job.spec, sample.table, reason, sample.values[reason], sample.columns[reason]
    )
    dominant = (str(reason), entries, [*sample.examples[reason], *hints])
    if sample.whole:
        return too_many(limits, limit, sample.table, certain, sample.rows, dominant)
    text = (
        f"{sample.table}: {certain:,} of the first {sample.rows:,} rows are rejected{as_reason(limit)}, more than "
        f"{limits.path_of(limit)} allows ({percent(limits.reject_ratios[limit])} of at most "
        f"{_most_rows(sample, bounds):,} rows); "
    )
    return Excess(text + dominance(*dominant), str(reason), certain / sample.rows)


def row_bounds(job: Job) -> dict[str, int]:
    """Maximum number of good rows by table; without tables whose compressed text files bound nothing."""
    log = job.spec.interactions
    behaviour = [log.behaviour.column] if log.behaviour else []
    needed = {t.name: (t.files, [t.key]) for t in job.tables if t.files}
    # With missing_user: drop, a file may lack the users.
    user = [log.user] if log.missing_user == "reject" else []
    needed[INTERACTIONS] = (job.log, [*user, log.item, log.timestamp.column, *behaviour])
    bounds = {}
    for name, (files, columns) in needed.items():
        estimate = job.sizes.rows.get(name)
        if estimate is not None and estimate.basis == "read":
            bounds[name] = estimate.count
        elif all(_is_bounded(f) for f in files):
            bounds[name] = sum(
                f.bytes // smallest_row(f, list(dict.fromkeys(columns))) + 1 for f in files
            )
    return bounds


def _is_bounded(file: InputFile) -> bool:
    """Whether the size of a file bounds the number of its rows."""
    unnested = file.source is not None and file.source.unnest is not None
    return file.format in ("csv", "jsonl") and not file.compression and not unnested


def smallest_row(file: InputFile, columns: Sequence[str]) -> int:
    """Minimum number of bytes of a line of a text file that has a value in each of some columns."""
    # Only cells of the file itself: not those of expressions or folders.
    columns = [c for c in columns if is_plain(file, [c])]
    if file.format == "jsonl":  # {"user":1,"item":2} and the end of the line
        return 2 + sum(len(json.dumps(c, ensure_ascii=False).encode()) + 3 for c in columns)
    names = csv.header(file)
    places = [names.index(c) for c in columns if c in names]
    # The separators before the last of them, a character of each, and the end of the line.
    return max(places, default=0) + len(places) + 1
