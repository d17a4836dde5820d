"""Histories of a log that was read in part: whole users where they are whole, as long as all the rows say."""

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from heterrec_pipeline.planning.sampling.estimates import Fraction
from heterrec_pipeline.planning.sampling.thinning import Thinned
from heterrec_pipeline.planning.survey.extended import BLOCK, extended
from heterrec_schemas.hashing import hash_texts

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
            "user": [f"u{k}" for k in users],
            "item_index": rng.integers(2, 500, rows),
            "time": rng.integers(0, 10**9, rows),
            "tie": hash_texts(pl.Series([str(k) for k in range(rows)])),
            BLOCK: (np.arange(rows) * BLOCKS // rows).astype(np.int32),
        }
    )


@pytest.mark.parametrize("by_user", [True, False])
@pytest.mark.parametrize("seed", range(5))
def test_users_and_lengths_are_those_of_the_whole_log(seed: int, by_user: bool) -> None:
    rng = np.random.default_rng(seed)
    whole = log(rng, by_user=by_user)
    chosen = rng.permutation(BLOCKS)[:READ]
    rows = whole.filter(pl.col(BLOCK).is_in(chosen.tolist()))
    found = rows.group_by("user").agg(pl.col(BLOCK).n_unique())[BLOCK].to_numpy().astype(np.int64)
    part = Fraction(READ, BLOCKS, len(whole) - len(rows))

    made, share = extended(rows, found, part)

    users = made["user"].n_unique() / share
    assert users == pytest.approx(whole["user"].n_unique(), rel=0.25)
    assert len(made) / share == pytest.approx(len(whole), rel=0.25)
    long = sum(made.group_by("user").len()["len"] >= 3) / share
    assert long == pytest.approx(sum(whole.group_by("user").len()["len"] >= 3), rel=0.25)


def test_nothing_read_stays_nothing() -> None:
    rows = log(np.random.default_rng(0), by_user=True).head(0)
    made, share = extended(rows, np.zeros(0, np.int64), Fraction(1, 4, 100))
    assert len(made) == 0
    assert share == 1.0


def test_a_bounded_sample_keeps_all_rows_of_the_users_it_keeps() -> None:
    rng = np.random.default_rng(1)
    whole = log(rng, by_user=False).select("user", "time")
    sample = Thinned("user", 60_000)
    for piece in whole.iter_slices(1000):
        hashes = sample.add(piece.to_arrow())
        assert len(hashes) == len(piece)
    kept = pl.DataFrame(pl.from_arrow(pa.concat_tables(sample.tables)))
    assert not sample.whole
    assert sample.bytes <= 60_000
    names = kept["user"].unique().implode()
    assert kept.sort("user", "time").equals(
        whole.filter(pl.col("user").is_in(names)).sort("user", "time")
    )
    assert 0 < kept["user"].n_unique() < whole["user"].n_unique()
