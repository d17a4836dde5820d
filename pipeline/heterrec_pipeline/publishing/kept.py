"""A log of which no row is kept: the error, with what took the rows and what to check."""

from collections.abc import Iterator

from heterrec_pipeline.checking.left_out import (
    all_left_out,
    lines_that_leave_out,
    lists_that_erase,
)
from heterrec_pipeline.job import INTERACTIONS, Job
from heterrec_pipeline.reading.erased import read_live
from heterrec_pipeline.reading.files import split_file
from heterrec_pipeline.reading.key_text import key_text
from heterrec_schemas.errors import DataError
from heterrec_schemas.manifest import InteractionCounts

EXAMPLES = 3
"""Number of keys of a table that a message quotes."""


def check_kept(job: Job, log: InteractionCounts) -> None:
    """Refuse to publish a build without interactions.

    Args:
        job: the build.
        log: the rows of the log by outcome.

    Raises:
        DataError: no row of the log was kept.
    """
    if log.kept:
        return
    if log.filtered and log.filtered + log.erased == log.read:
        raise all_left_out(job.spec, INTERACTIONS, log.read, log.filtered)
    left_out = f", {log.erased:,} erased" if log.erased else ""
    left_out += f", {log.filtered:,} filtered" if log.filtered else ""
    raise DataError(
        f"interactions: none of the {log.read:,} rows is left",
        got=f"{log.rejected:,} rejected, {log.unknown_item:,} with unknown items, "
        f"{log.duplicate:,} duplicates, {log.short_user:,} of short users{left_out}",
        expected="at least one user's history",
        todo=" ".join(_ways_out(job, log)),
    )


def _ways_out(job: Job, log: InteractionCounts) -> Iterator[str]:
    """What to check, by what took the rows."""
    if log.unknown_item:
        yield f"Check that the item keys of both sources agree. {_key_examples(job)}".rstrip()
    if log.short_user:
        yield "Check sequences.min_length."
    if log.filtered:
        yield f"Check {' and '.join(lines_that_leave_out(job.spec, INTERACTIONS))}."
    if log.erased:
        yield f"Check {' and '.join(lists_that_erase(job.spec, INTERACTIONS))}."
    if log.rejected and not (log.unknown_item or log.duplicate or log.short_user):
        yield "Check limits.max_reject_ratio, which allows to reject all rows that are left."


def _key_examples(job: Job) -> str:
    """Item keys of the catalogue and of the log that are not erased, to compare their spelling; if they may be quoted."""
    if not job.spec.quotes_cells:
        return ""
    words = []
    log = job.spec.interactions
    for files, key, gate, missing in (
        (job.items.files, job.items.key, job.items.gate, job.items.missing_values),
        (job.log, log.item, job.log_gate, log.missing_values),
    ):
        batches = (b for split in split_file(files[0]) for b in read_live(split, [key], gate))
        batch = next(batches, None)
        if batch is not None:
            text, _ = key_text(batch.table[key], key, files[0].name, missing)
            some = text.drop_nulls().unique(maintain_order=True).head(EXAMPLES).to_list()
            words.append(f"{files[0].name} has keys such as {', '.join(map(repr, some))}")
    return "; ".join(words) + "."
