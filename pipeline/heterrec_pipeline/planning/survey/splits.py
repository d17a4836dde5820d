"""The rows of each split, by running the build's own rules on the histories of some users."""

from dataclasses import dataclass

import numpy as np
import polars as pl
import pyarrow as pa

from heterrec_pipeline.planning.survey.log import LogSurvey
from heterrec_pipeline.sequences.cuts import Cuts, temporal_cuts
from heterrec_pipeline.sequences.histories import (
    day_counts,
    histories,
    missing_user,
    with_user_tokens,
)
from heterrec_pipeline.sequences.split import rows_of, split_ranges, train_counts, truncate
from heterrec_schemas.feature_spec import FeatureSpec
from heterrec_schemas.manifest import SPLITS


@dataclass
class SplitSurvey:
    """What becomes of the log's rows.

    Attributes:
        kept, duplicate, short_user: rows of the shuffle, scaled to the whole log.
        history_rows: interactions of whole histories, as `kept`, and `users` that have them.
        sequences: rows of each split, scaled.
        tables: the rows of each split that the sample gives.
        part_bytes: what each split takes as Arrow parts, scaled.
        train_rows: interactions of training histories before truncation, scaled.
        train_items: in how many of them each item of the sample stands: item_index, train_count.
        cuts: of a temporal split.
    """

    kept: float
    duplicate: float
    short_user: float
    users: float
    sequences: dict[str, float]
    tables: dict[str, pa.Table]
    part_bytes: dict[str, float]
    history_bytes: float
    train_rows: float
    train_items: pa.Table
    cuts: Cuts


def survey_splits(spec: FeatureSpec, log: LogSurvey, users: pa.Table | None) -> SplitSurvey:
    """Sort, deduplicate and split the histories of the sample.

    Args:
        spec: the rules.
        log: whose sample holds rows of whole users.
        users: tokens of some users (user, and a column a feature), if the spec declares features of users.
    """
    kept, counts = histories(spec, log.sample)
    rows, people = 1 / log.row_share if log.row_share else 0.0, 1 / (log.user_share or 1.0)
    missing = missing_user(spec)
    if missing is not None:
        kept = with_user_tokens(kept, [] if users is None else [users], missing)
    cuts = temporal_cuts(spec, [day_counts(kept)])
    items = kept["item_index"].combine_chunks()
    start = items.offsets.to_numpy().astype(np.int64) if len(kept) else np.zeros(1, np.int64)
    item = items.flatten().to_numpy()
    time = kept["time"].combine_chunks().flatten().to_numpy()
    tables, trained = {}, pa.table({"item_index": [], "train_count": []})
    for split in SPLITS:
        ranges = split_ranges(spec, split, start, time, item, cuts)
        if split == "train":
            trained = train_counts(ranges, item)
        tables[split] = rows_of(spec, split, kept, truncate(spec, split, ranges))
    windows = spec.sequences.train_windows == "all"
    scale = {s: rows if windows and s == "train" else people for s in SPLITS}
    return SplitSurvey(
        kept=counts["kept"] * rows,
        duplicate=counts["duplicate"] * rows,
        short_user=counts["short_user"] * rows,
        users=len(kept) * people,
        sequences={s: len(tables[s]) * scale[s] for s in SPLITS},
        tables=tables,
        part_bytes={s: tables[s].nbytes * scale[s] for s in SPLITS},
        history_bytes=kept.nbytes * rows,
        train_rows=float(pl.Series(trained["train_count"]).sum() or 0) * rows,
        train_items=trained,
        cuts=cuts,
    )
