"""Reconstructs whole histories of users from a part of their rows.

A user found in x of the blocks read occurs in about K of all blocks (`likely_blocks`) and has K / x times as many rows. Users
that occur in no block read are assumed to be like those found in one.
"""

import numpy as np
import polars as pl
import pyarrow as pa

from heterrec_pipeline.planning.estimates import Fraction, Ints, likely_blocks
from heterrec_schemas.feature_spec import FeatureSpec
from heterrec_schemas.hashing import hash_texts

USER, TIME, BLOCK = "__user", "__time", "__block"
"""Columns of a sample beside the raw ones: the user's text, the time in milliseconds, the number of the block."""
ALIKE, APART = 0.25, 0.75
"""Variance of the times of a block below which the log is sorted by time, and of a user above which its times are
independent, as shares of the variance of all times."""


def whole_histories(spec: FeatureSpec, rows: pa.Table, part: Fraction, limit: int) -> pa.Table:
    """Raw rows of whole users, with users as integers or texts and times in milliseconds.

    Args:
        spec: names the columns of user and time.
        rows: the rows read of some users, with USER, TIME and BLOCK; USER holds integers or texts.
        part: the fraction of the log that was read.
        limit: approximate maximum number of rows if histories are extended.
    """
    log, user, time = spec.interactions, pl.Series(rows[USER]), rows[TIME]
    raw = rows.drop_columns([USER, TIME, BLOCK])
    if not part.whole:
        frame = pl.DataFrame(pl.from_arrow(rows.select([USER, TIME, BLOCK])))
        copy, at, times, rest_at = extended(frame, part, limit)
        raw, time = raw.take(pa.array(rest_at)), pa.array(times)
        user, number = user.gather(at), pl.Series(copy)
        if user.dtype == pl.Int64:
            user = user + number * (int(user.max() or 0) + 1)  # type: ignore[arg-type]
        else:
            new = pl.concat_str(user, number.cast(pl.String), separator="~")
            user = pl.select(pl.when(number > 0).then(new).otherwise(user)).to_series()
    kind = pa.int64() if user.dtype == pl.Int64 else pa.string()
    for name, column in ((log.user, user.to_arrow().cast(kind)), (log.timestamp.column, time)):
        raw = raw.set_column(raw.column_names.index(name), name, column)
    return raw


def extended(rows: pl.DataFrame, part: Fraction, limit: int) -> tuple[Ints, Ints, Ints, Ints]:
    """Extend parts of histories to whole ones by repeating rows.

    A repeated row has the item of another row, and a time between two times of the user. If the user has one row, the log is
    sorted by time, or the times of users are as far apart as those of all rows, the time is between two times of all rows.

    Args:
        rows: the rows read of some users: USER, TIME, BLOCK.
        part: the fraction of the log that was read.
        limit: approximate maximum number of rows returned; further users are omitted.

    Returns:
        For each row of the result: the number of the copy of its user (0 for the user itself), the position of its user in
        `rows`, its time, and the position of the row that gives all other columns.
    """
    if rows.is_empty():
        nothing = np.zeros(0, np.int64)
        return nothing, nothing, nothing, nothing
    random = np.random.default_rng(0)
    rows = rows.with_row_index("at").sort(USER, maintain_order=True)
    users = rows.group_by(USER, maintain_order=True).agg(pl.len(), pl.col(BLOCK).n_unique())
    order = hash_texts(users[USER].cast(pl.String)).arg_sort().to_numpy()
    length, blocks = (users[c].to_numpy().astype(np.int64) for c in ("len", BLOCK))
    start, seen = np.cumsum(length) - length, blocks[order]
    each, lacking = likely_blocks(seen, part)
    once = order[seen == 1]
    like = once[np.arange(len(lacking)) % len(once)] if len(once) else once
    donor = np.append(order, like)
    times = np.append(each / seen, lacking[: len(like)])
    total = np.maximum(length[donor], np.round(length[donor] * times))
    keep = np.arange(len(donor)) % max(1, -(-int(total.sum()) // limit)) == 0
    donor, wanted = donor[keep], total[keep].astype(np.int64)
    _, first, number = np.unique(donor, return_index=True, return_inverse=True)
    owner = np.repeat(np.arange(len(donor)), wanted)
    step = np.arange(len(owner)) - np.repeat(np.cumsum(wanted) - wanted, wanted)
    mine = length[donor][owner]
    own, again = start[donor][owner] + step % mine, step >= mine
    other = random.integers(0, len(rows), len(owner))
    time, every, at = (
        rows[TIME].to_numpy(),
        rows[TIME].sort().to_numpy(),
        rows["at"].to_numpy().astype(np.int64),
    )
    then = start[donor][owner] + (step + 1) % mine
    anywhere = (mine == 1) | (_inside(rows, BLOCK) < ALIKE) | (_inside(rows, USER) > APART)
    low = np.where(anywhere, every[other], time[own])
    high = np.where(anywhere, every[np.minimum(other + 1, len(rows) - 1)], time[then])
    unit = max(1, int(np.gcd.reduce(time)))
    fresh = (low + (high - low) * random.random(len(owner))) // unit * unit
    times = np.where(again, fresh, time[own]).astype(np.int64)
    copy = (np.arange(len(donor)) - first[number])[owner]
    return copy, at[own], times, at[np.where(again, other, own)]


def _inside(rows: pl.DataFrame, column: str) -> float:
    """The variance of the times of equal users (blocks), as a share of the variance of all."""
    inside = rows.group_by(column).agg(pl.col(TIME).var(), (pl.len() - 1).alias("free"))
    total = float(rows[TIME].var() or 0.0) * float(inside["free"].sum())  # type: ignore[arg-type]
    return float((inside[TIME] * inside["free"]).sum()) / total if total else 1.0
