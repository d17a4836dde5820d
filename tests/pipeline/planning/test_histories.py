"""Histories of a log that was read in part: as many users as the log has, as long as theirs."""

import numpy as np
import polars as pl
import pytest

from heterrec_pipeline.planning.estimates import Fraction
from heterrec_pipeline.planning.histories import BLOCK, TIME, USER, extended

BLOCKS, READ = 60, 15


def log(rng: np.random.Generator, *, by_user: bool) -> pl.DataFrame:
    """Rows of 3,000 users with 1 to some 60 rows each."""
    lengths = np.round(rng.exponential(8, 3000) + 0.5).astype(int).clip(1)
    users = np.repeat(np.arange(len(lengths)), lengths)
    if not by_user:
        users = rng.permutation(users)
    rows = len(users)
    return pl.DataFrame(
        {
            USER: [f"u{k}" for k in users],
            TIME: rng.integers(0, 10**9, rows),
            BLOCK: (np.arange(rows) * BLOCKS // rows).astype(np.int64),
        }
    )


@pytest.mark.parametrize("by_user", [True, False])
@pytest.mark.parametrize("seed", range(5))
def test_users_and_lengths_are_those_of_the_whole_log(seed: int, by_user: bool) -> None:
    rng = np.random.default_rng(seed)
    whole = log(rng, by_user=by_user)
    chosen = rng.permutation(BLOCKS)[:READ]
    rows = whole.filter(pl.col(BLOCK).is_in(chosen.tolist()))

    copy, user_at, _, _ = extended(rows, Fraction(READ, BLOCKS, len(whole) - len(rows)), 10**9)

    made = pl.DataFrame({"user": rows[USER].gather(user_at), "copy": copy})
    length, real = made.group_by("user", "copy").len()["len"], whole.group_by(USER).len()["len"]
    assert len(length) == pytest.approx(len(real), rel=0.25)
    assert len(made) == pytest.approx(len(whole), rel=0.25)
    assert (length >= 3).sum() == pytest.approx((real >= 3).sum(), rel=0.25)


def test_a_limit_leaves_out_whole_users() -> None:
    rows = log(np.random.default_rng(0), by_user=True)
    part = Fraction(READ, BLOCKS, 3 * len(rows))
    every = extended(rows, part, 10**9)
    some = extended(rows, part, len(every[0]) // 4)
    assert len(every[0]) / 5 < len(some[0]) < len(every[0]) / 3
    lengths = [
        pl.DataFrame({"user": rows[USER].gather(user_at), "copy": copy})
        .group_by("user", "copy")
        .len()
        for copy, user_at, _, _ in (every, some)
    ]
    assert lengths[1]["len"].mean() == pytest.approx(lengths[0]["len"].mean(), rel=0.25)


def test_nothing_read_stays_nothing() -> None:
    rows = log(np.random.default_rng(0), by_user=True).head(0)
    assert [len(at) for at in extended(rows, Fraction(1, 4, 100), 1000)] == [0] * 4
