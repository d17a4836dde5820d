"""The counts that a build's manifest would hold, and the entries of its rejects."""

from collections import Counter
from dataclasses import dataclass

from heterrec_pipeline.planning.output import Surveys
from heterrec_pipeline.planning.sampling.estimates import Estimate
from heterrec_pipeline.planning.survey.tables import TableSurvey
from heterrec_schemas.rejects import Reason


@dataclass(frozen=True)
class TableCounts:
    """Rows of a feature table, equal rows of a key counted once: read = kept + rejected."""

    read: Estimate
    kept: Estimate
    rejected: Estimate


@dataclass(frozen=True)
class LogCounts:
    """Rows of the log: read is the sum of the others."""

    read: Estimate
    kept: Estimate
    unknown_item: Estimate
    duplicate: Estimate
    short_user: Estimate
    rejected: Estimate
    users: Estimate


def table_counts(found: TableSurvey) -> TableCounts:
    """What becomes of a table's rows."""
    keys = found.keys
    scale = keys.read.value / keys.seen if keys.seen else 1.0
    unusable = scaled(keys.keyless * scale, keys.whole)
    aside = Estimate.between(
        unusable.low + found.duplicates.low,
        unusable.value + found.duplicates.value,
        unusable.high + found.duplicates.high,
    )
    read, copies = keys.read, found.copies
    distinct = Estimate.between(
        read.low - copies.high, read.value - copies.value, read.high - copies.low
    )
    return TableCounts(distinct, keys.kept, aside)


def spread(value: float) -> Estimate:
    """A number that was scaled from a sample: a guess, and an interval of a quarter around it."""
    return Estimate.between(value * 0.75, value, value * 1.25)


def scaled(value: float, exact: bool) -> Estimate:
    """A number counted in all that was read: exact where that was everything."""
    return Estimate.exactly(round(value)) if exact else spread(value)


def log_counts(found: Surveys) -> LogCounts:
    """What becomes of the log's rows."""
    log, splits = found.log, found.splits
    checked = log.part.whole and found.items.keys.whole
    all_users = checked and log.user_share >= 1
    rejected = float(log.rejected)
    refused = found.job.spec.interactions.unknown_items == "reject"
    kept_unknown = found.job.spec.interactions.unknown_items == "oov"
    rejected += log.unknown if refused else 0.0
    unknown = 0.0 if refused or kept_unknown else log.unknown
    return LogCounts(
        read=log.read,
        kept=scaled(splits.kept, all_users),
        unknown_item=scaled(unknown * log.scale, checked),
        duplicate=scaled(splits.duplicate, all_users),
        short_user=scaled(splits.short_user, all_users),
        rejected=scaled(rejected * log.scale, checked),
        users=log.users,
    )


def sequence_counts(found: Surveys) -> dict[str, Estimate]:
    """Rows of each split."""
    log = found.log
    exact = log.part.whole and found.items.keys.whole and log.user_share >= 1
    return {s: scaled(n, exact) for s, n in found.splits.sequences.items()}


def expected_rejects(found: Surveys, of_items: Counter[Reason]) -> Counter[Reason]:
    """Entries of `rejects/` by reason; `of_items` are those of items that come out of the log."""
    total = Counter(of_items)
    for table in (found.items, *found.joins, *([found.users] if found.users else [])):
        if table.table.files:
            total += table.rejects
    for reason, count in found.log.bad.items():
        total[reason] += round(count * found.log.scale)
    if found.job.spec.interactions.unknown_items == "reject" and found.log.unknown:
        total[Reason.UNKNOWN_ITEM] += round(found.log.unknown * found.log.scale)
    return +total
