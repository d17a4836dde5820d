"""Figures of buckets become cuts and layouts: those of the whole vocabulary."""

from collections import Counter
from unittest.mock import patch

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pieces import QUICK, categorical, table_job

import heterrec_schemas.tokens
from heterrec_pipeline.vocabularies import layout
from heterrec_pipeline.vocabularies.layout import (
    BY_REMAINDER,
    DISTINCT,
    Cut,
    Rules,
    cut_at,
    figures,
    kept,
    lay_out,
)
from heterrec_schemas.hashing import hash_texts
from heterrec_schemas.tokens import number_vocabulary

COUNTS = st.dictionaries(st.text("abc", min_size=1, max_size=4), st.integers(1, 4), max_size=40)


def rules_of(buckets: int = 4, shards: int | None = None, **options: object) -> Rules:
    feature = categorical(shards=shards, **options)
    table = table_job(feature)
    return Rules("item/kind", table, feature, buckets, feature.oov_buckets, shards)


def frame(counts: dict[str, int]) -> pl.DataFrame:
    schema = {"value": pl.String, "count": pl.Int64}
    return pl.DataFrame(list(counts.items()), schema=schema, orient="row")


@QUICK
@given(counts=COUNTS, most=st.integers(1, 12))
def test_a_cut_leaves_the_most_frequent(counts: dict[str, int], most: int) -> None:
    by_count = figures("v", layout.BY_COUNT, frame(counts)["count"])
    cut = cut_at(by_count.select("key", "values"), most)
    border = sorted(v for v, n in counts.items() if n == cut.border)
    if cut.tied:
        cut = cut._replace(last=border[cut.tied - 1])
    rows = frame(counts).with_columns(order=pl.col("value")).filter(kept(cut))
    best = sorted(counts, key=lambda v: (-counts[v], v))[:most]
    assert sorted(rows["value"]) == sorted(best)


def test_a_cut_on_a_border_keeps_none_of_it() -> None:
    counts = {"a": 3, "b": 2, "c": 2}
    by_count = figures("v", layout.BY_COUNT, frame(counts)["count"]).select("key", "values")
    assert cut_at(by_count, 1) == Cut(2, 0)
    assert cut_at(by_count, 2) == Cut(2, 1)
    assert cut_at(by_count, 3) == Cut()


@QUICK
@given(
    counts=COUNTS,
    shards=st.none() | st.integers(1, 9),
    size=st.sampled_from([1, 3, 2**18]),
    oov=st.integers(0, 3),
)
def test_a_layout_is_that_of_the_whole_vocabulary(
    counts: dict[str, int], shards: int | None, size: int, oov: int
) -> None:
    rules = rules_of(shards=shards, oov_buckets=oov)
    rows = frame(counts)
    remainders = hash_texts(rows["value"]) % rules.modulus
    schema = layout.FIGURES
    distinct = pl.DataFrame([("v", DISTINCT, 0, len(rows))], schema=schema, orient="row")
    found = pl.concat([distinct, figures("v", BY_REMAINDER, remainders)])
    with patch.object(heterrec_schemas.tokens, "VALUES_PER_SHARD", size):
        laid_out = lay_out(rules, found)
        whole = number_vocabulary(rows, integral=False, oov_buckets=oov, shards=shards)
    assert laid_out.distinct == laid_out.values == len(counts)
    assert laid_out.starts[0] == 2 + oov
    assert laid_out.size == (whole["id"].max() or -1) + 1  # type: ignore[operator]
    sizes = Counter(whole["shard"].to_list())
    for shard in range(laid_out.shards):
        assert laid_out.starts[shard + 1] - laid_out.starts[shard] == sizes[shard]
        first = whole.filter(pl.col("shard") == shard)["id"].min()
        assert first in (None, laid_out.starts[shard])


@pytest.mark.parametrize("shards", [None, 3])
def test_remainders_are_multiples_of_shards(shards: int | None) -> None:
    assert rules_of(shards=shards).modulus == (shards or 2**16)
