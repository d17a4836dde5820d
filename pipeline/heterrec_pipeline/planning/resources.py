"""What a build needs while it runs: bytes through the shuffle, and parts on disk."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from heterrec_pipeline.planning.output import Surveys
from heterrec_pipeline.planning.survey.tables import TableSurvey
from heterrec_pipeline.sequences.split import ITEM_COUNTS, RANGE_ITEMS
from heterrec_pipeline.wiring.cut import FLUSH_BYTES

PIECE = 1024
"""About what a piece of a table adds to an Arrow file: its message, its padding, its entry in the footer."""


@dataclass(frozen=True)
class Shuffle:
    """Bytes that are grouped by key, by what they are, and the way they take."""

    by_table: dict[str, int]
    through_files: bool

    @property
    def bytes(self) -> int:
        """All of them."""
        return sum(self.by_table.values())


def shuffle(found: Surveys, by_item_row: int = 0) -> Shuffle:
    """What goes through the exchanges.

    Args:
        found: what was read.
        by_item_row: bytes a row of the log has in the shuffle by item, which a denormalised log needs.
    """
    job, log = found.job, found.log
    buckets = job.spec.output.sequence_shards * job.buckets
    pieces = buckets * max(1.0, log.shuffled * log.row_bytes / FLUSH_BYTES)
    tables = {"log": log.shuffled * log.row_bytes + pieces * PIECE}
    if found.users is not None:
        tables["users"] = found.users.keys.kept.value * token_bytes(found.users) + buckets * PIECE
    tables[ITEM_COUNTS] = _counted(found, buckets)
    if by_item_row:
        tables["items"] = log.read.value * by_item_row + job.sizes.item_buckets * PIECE
    return Shuffle({k: round(v) for k, v in tables.items()}, job.spill)


def _counted(found: Surveys, buckets: int) -> float:
    """Train counts of items, one table a bucket and range of ids: each item once a bucket that has it."""
    log, splits = found.log, found.splits
    share = splits.train_rows / max(1.0, log.shuffled)
    expected = log.by_item.rows * log.scale * share
    a_bucket = float((-np.expm1(-expected / buckets)).sum()) * buckets
    ranges = max(1, -(-found.items.keys.kept.value // RANGE_ITEMS))
    return 16 * a_bucket + buckets * ranges * PIECE


def token_bytes(table: TableSurvey) -> float:
    """What a row of a table's tokens takes as Arrow, its key included."""
    rows = len(table.tokens)
    if rows == 0:
        return 8.0
    narrow = table.tokens.nbytes / rows
    return float(narrow)


def disk_for_parts(found: Surveys, moved: Shuffle) -> dict[str, int]:
    """What lies in the folder of parts before it is deleted, by what it is."""
    splits, items = found.splits, found.items
    tokens = sum(t.keys.kept.value * token_bytes(t) for t in (items, *found.joins))
    index = items.keys.kept.value * index_row(items.keys.index)
    return {
        "shuffle": moved.bytes if moved.through_files else 0,
        "item tokens": round(tokens),
        "index": round(index),
        "histories": round(splits.history_bytes),
        "splits": round(sum(splits.part_bytes.values())),
    }


def index_row(index: pa.Table) -> float:
    """Bytes a row of the item index takes."""
    return index.nbytes / len(index) if len(index) else 24.0
