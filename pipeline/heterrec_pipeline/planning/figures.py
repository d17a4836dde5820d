"""Scales the trial build to the whole input: rows, rejects, and bytes handed from step to step."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from heterrec_pipeline.building.config import BuildResult
from heterrec_pipeline.interactions.read import log_columns
from heterrec_pipeline.job import USERS, Job
from heterrec_pipeline.planning.estimates import Interval
from heterrec_pipeline.planning.features import FeatureFigures, feature_figures
from heterrec_pipeline.planning.sample import InputSample
from heterrec_pipeline.planning.scan import TableRead
from heterrec_pipeline.telemetry.stages import Stage
from heterrec_pipeline.wiring.cut import FLUSH_BYTES
from heterrec_schemas.feature_spec import LeaveOneOut
from heterrec_schemas.generation import Generation
from heterrec_schemas.manifest import InteractionCounts, Manifest, RowCounts
from heterrec_schemas.rejects import Reason

ITEMS_STAGE = "Items from the log"
LOG_STAGES = (ITEMS_STAGE, "Log", "Histories", "Splits", "Sequences")
"""Stages whose work grows with the log; that of the others grows with the catalogue."""
Rows = dict[str, Interval]
"""Number of rows by outcome (read, kept, rejected, ...), named as in the manifest."""


@dataclass(frozen=True)
class Figures:
    """The figures of the whole build.

    Attributes:
        read: the part of the input that was read.
        items, users, log: rows read, kept, rejected, ...; identical rows of a key count once.
        user_count: number of users that have rows in the shuffle.
        sequences: rows of each split.
        features: the features in the order of the spec, the items' first.
        rejects: expected entries by reason.
        train_counts: expected interactions of each item in the training histories.
        spilled, fetched: bytes handed from step to step by file, by the stage that writes or reads them.
    """

    read: InputSample
    items: Rows
    users: Rows | None
    log: Rows
    user_count: Interval
    sequences: Rows
    features: list[FeatureFigures]
    rejects: dict[Reason, int]
    train_counts: npt.NDArray[np.float64]
    spilled: Counter[str]
    fetched: Counter[str]

    @property
    def job(self) -> Job:
        """The build."""
        return self.read.job

    @property
    def counted_items(self) -> npt.NDArray[np.float64]:
        """Expected interactions of each item that the item counts contain: with a temporal split, of all histories."""
        if isinstance(self.job.spec.split, LeaveOneOut):
            return self.train_counts
        scale = self.log["kept"].value / max(1.0, float(self.train_counts.sum()))
        return np.multiply(self.train_counts, scale)

    @property
    def item_count(self) -> int:
        """Expected number of items."""
        return self.items["kept"].value


def scaled(read: InputSample, trial: BuildResult, generation: Generation) -> Figures:
    """Scale the trial build to the whole input."""
    counts, users = trial.manifest.counts, read.tables.get(USERS)
    items = _table_rows(read, read.items, counts.items)
    by_log = 1 / (read.share_of_log or 1.0)
    by_items = items["kept"].value / max(1, counts.items.kept)
    scale = {s.stage: by_log if s.stage in LOG_STAGES else by_items for s in trial.stages}
    scale |= {s.stage: _items_scale(read, s) for s in trial.stages if s.stage == ITEMS_STAGE}
    trained = generation.item_counts()["train_count"].to_numpy().astype(np.float64)
    if not read.whole:
        rows = read.log.by_item.rows()["rows"].to_numpy()
        trained = rows * (trained.sum() * by_log / max(1, rows.sum()))
    spread = Interval.exactly if read.whole else Interval.spread
    return Figures(
        read=read,
        items=items,
        users=_table_rows(read, users, counts.users) if users and counts.users else None,
        log=_log_rows(read, counts.interactions),
        user_count=read.log.users,
        sequences={s: spread(round(n * by_log)) for s, n in counts.sequences.items()},
        features=list(feature_figures(read, generation)),
        rejects=_rejects(read, trial.manifest),
        train_counts=trained,
        spilled=Counter({s.stage: round(s.bytes_spilled * scale[s.stage]) for s in trial.stages}),
        fetched=Counter({s.stage: round(s.bytes_fetched * scale[s.stage]) for s in trial.stages}),
    )


def _items_scale(read: InputSample, stage: Stage) -> float:
    """Reduced rows of the items of a denormalised log, per one of the trial's.

    A buffer of rows keeps about one row per item in it, so rows shrink more where items are frequent.
    """
    if read.whole or not (stage.rows_read and stage.rows_spilled):
        return 1.0
    counts = read.log.by_item.rows()["rows"].to_numpy() * read.log.scale
    row_bytes = stage.bytes_read / stage.rows_read
    buffers = max(1.0, read.log.rows.value * row_bytes / FLUSH_BYTES)
    reduced = buffers * float((1 - (1 - 1 / buffers) ** counts).sum())
    return reduced / stage.rows_spilled


def _table_rows(read: InputSample, table: TableRead, trial: RowCounts) -> Rows:
    if read.whole:
        names = ("read", "kept", "rejected", "erased", "filtered")
        return {name: Interval.exactly(getattr(trial, name)) for name in names}
    if table.sample is None:  # items of a denormalised log
        none = Interval.exactly(0)
        nothing = dict.fromkeys(("rejected", "erased", "filtered"), none)
        return {"read": table.keys, "kept": table.keys} | nothing
    rows, scale = table.rows, 1 / (read.share_of(table) or 1.0)
    copies = Interval.spread(trial.repeated * scale)
    unusable = table.malformed + table.not_utf8.get(table.table.key, 0)
    rejected = Interval.spread(trial.rejected * scale + unusable * rows.value)
    erased = Interval.spread(table.erased * rows.value)
    filtered = Interval.spread(table.filtered * rows.value)
    guess = rows.value - copies.value - rejected.value - erased.value - filtered.value
    kept = Interval.between(table.keys.low, guess, table.keys.high)
    # the manifest's identity
    total = kept.value + rejected.value + erased.value + filtered.value
    low, high = rows.low - copies.high, rows.high - copies.low
    return {
        "read": Interval.between(min(low, total), total, max(high, total)),
        "kept": kept,
        "rejected": rejected,
        "erased": erased,
        "filtered": filtered,
    }


def _log_rows(read: InputSample, trial: InteractionCounts) -> Rows:
    """The outcomes of the log's rows, which add up to the rows read as in a manifest."""
    if read.whole:
        return {name: Interval.exactly(count) for name, count in trial.model_dump().items()}
    log, unknown = read.log, read.job.spec.interactions.unknown_items
    counted = Interval.exactly if log.part.whole and read.items.all_known else Interval.spread
    dropped = log.unknown if unknown == "drop" else 0
    rejects = log.rejected + (log.unknown if unknown == "reject" else 0)
    outcomes = [rejects, dropped, log.erased, log.filtered, log.good]
    rejected, unknown_item, erased, filtered, good = shared_out(log.rows.value, outcomes)
    kept, duplicate, short = shared_out(good, [trial.kept, trial.duplicate, trial.short_user])
    return {
        "read": log.rows,
        "kept": Interval.spread(kept),
        "unknown_item": counted(unknown_item),
        "duplicate": Interval.spread(duplicate),
        "short_user": Interval.spread(short),
        "rejected": counted(rejected),
        "erased": counted(erased),
        "filtered": counted(filtered),
    }


def shared_out(total: int, weights: Sequence[float]) -> list[int]:
    """Whole numbers in proportion to weights, whose sum is `total`; all of it is the first one's if every weight is 0."""
    weight = np.array(weights, np.float64)
    if weight.sum() == 0:
        weight[0] = 1
    ends = np.round(np.cumsum(weight) * (total / weight.sum())).astype(np.int64)
    return [int(n) for n in np.diff(ends, prepend=0)]


def _rejects(read: InputSample, trial: Manifest) -> dict[Reason, int]:
    """Expected entries of `rejects/`: those of feature tables from the trial, those of the log from the rows read."""
    if read.whole:
        return trial.rejects
    total: Counter[Reason] = Counter()
    for reason, count in trial.rejects.items():
        total[reason] += round(count / (read.share_of(read.items) or 1.0))
    for table in read.tables.values():
        if table.sample is not None:
            total[Reason.MALFORMED_ROW] += round(table.malformed * table.rows.value)
        total[Reason.NOT_UTF8] += _not_utf8(read, table)
    for reason, count in read.log.bad.items():
        total[reason] += round(count * read.log.scale)
    if read.job.spec.interactions.unknown_items == "reject":
        total[Reason.UNKNOWN_ITEM] += round(read.log.unknown * read.log.scale)
    return dict(sorted((+total).items()))


def _not_utf8(read: InputSample, table: TableRead) -> int:
    """Expected cells of a feature table that are not UTF-8; those in the log's own columns are counted with the log."""
    of_log = table.sample is None
    own = log_columns(read.job.spec) if of_log else []
    share = sum(share for column, share in table.not_utf8.items() if column not in own)
    rows = read.log.rows if of_log else table.rows
    return round(share * rows.value)
