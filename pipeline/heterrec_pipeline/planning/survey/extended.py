"""Histories of users of whom only some rows were read, extended to what the whole log has of them.

In blocks that were read a user stands x times, in the whole log, about, K times (`likely_blocks`): as many times K / x are
the rows. Users that stand in no block that was read are taken to be like those that stand in one.
"""

import numpy as np
import numpy.typing as npt
import polars as pl

from heterrec_pipeline.planning.sampling.estimates import Fraction, likely_blocks
from heterrec_schemas.hashing import hash_texts

BLOCK = "__block"
MOST_ROWS = 1_500_000
SORTED = 0.5
"""Times within a block spread less than this share of all times: the log is sorted by time."""

Ints = npt.NDArray[np.int64]


def extended(rows: pl.DataFrame, found: Ints, part: Fraction) -> tuple[pl.DataFrame, float]:
    """Whole histories out of parts.

    Args:
        rows: all rows read of some users, with the column BLOCK.
        found: in how many of the blocks read each user stands, these and all others.
        part: what was read.

    Returns:
        Rows of users, and what share of all users these are.
    """
    if rows.is_empty():
        return rows, 1.0
    rows = rows.sort("user", maintain_order=True)
    users = rows.group_by("user", maintain_order=True).agg(
        pl.len(), pl.col(BLOCK).n_unique().alias("blocks")
    )
    order = hash_texts(users["user"]).arg_sort().to_numpy()
    length = users["len"].to_numpy().astype(np.int64)
    start = np.cumsum(length) - length
    seen = users["blocks"].to_numpy().astype(np.int64)[order]
    each, lacking = likely_blocks(seen, part)
    once = order[seen == 1]
    like = once[np.arange(len(lacking)) % len(once)] if len(once) else order[:0]
    donor = np.append(order, like)
    times = np.append(each / seen, lacking[: len(like)].astype(np.float64))
    wanted = np.maximum(1, np.round(length[donor] * times)).astype(np.int64)
    every = len(donor) * len(found) / len(users)
    if wanted.sum() > MOST_ROWS:
        keep = np.arange(len(donor)) % -(-int(wanted.sum()) // MOST_ROWS) == 0
        donor, wanted = donor[keep], wanted[keep]
    return _rows(rows, users["user"], donor, start[donor], length[donor], wanted), len(
        donor
    ) / every


def _rows(
    rows: pl.DataFrame, names: pl.Series, donor: Ints, start: Ints, length: Ints, wanted: Ints
) -> pl.DataFrame:
    """The donors' rows, as often as wanted; further copies have the items of other rows, and times of their own.

    Those lie between the user's, or where there is no telling (one row, or a log sorted by time) are those of other rows.
    """
    owner = np.repeat(np.arange(len(donor)), wanted)
    step = np.arange(len(owner)) - np.repeat(np.cumsum(wanted) - wanted, wanted)
    taken = rows[start[owner] + step % length[owner]]
    copy = step // length[owner]
    other = rows[(np.arange(len(owner)) * 7919) % len(rows)]
    again = pl.Series(copy > 0)
    between = pl.Series(_between(rows["time"].to_numpy(), start, length, owner, step))
    alone = pl.Series(length[owner] == 1) | _by_time(rows)
    later = pl.select(pl.when(alone).then(other["time"]).otherwise(between)).to_series()
    items = [c for c in ("item_index", "item_hash") if c in rows.columns]
    fresh = {c: other[c] for c in items} | {"time": later}
    changed = {c: pl.when(again).then(f).otherwise(taken[c]) for c, f in fresh.items()}
    _, first, number = np.unique(donor, return_index=True, return_inverse=True)
    suffix = np.arange(len(donor)) - first[number]
    named = names.gather(donor) + pl.Series(["" if k == 0 else str(k) for k in suffix.tolist()])
    return taken.with_columns(user=named.gather(owner), **changed)


def _between(time: Ints, start: Ints, length: Ints, owner: Ints, step: Ints) -> Ints:
    """A time between a row of the user and the next one, somewhere that only looks random."""
    at = step % length[owner]
    here = time[start[owner] + at]
    then = time[start[owner] + (at + 1) % length[owner]]
    share = ((owner * 2_654_435_761 + step * 40_503) % 2**20).astype(np.float64) / 2**20
    return here + ((then - here) * share).astype(np.int64)


def _by_time(rows: pl.DataFrame) -> bool:
    """Whether the log is sorted by time: then rows that were not read are of other times."""
    inside = rows.group_by(BLOCK).agg(pl.col("time").std().fill_null(0), pl.len())
    spread = float((inside["time"] * inside["len"]).sum()) / len(rows)
    whole = float(rows["time"].std() or 0.0)  # type: ignore[arg-type]
    return spread < SORTED * whole
