"""Whether a vocabulary is large, and its number of buckets."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pieces import MANY, QUICK, categorical, embedding, numeric, spec_of

from heterrec_pipeline import sizing
from heterrec_pipeline.sizing import Estimate, Sizes, bucket_count, check_layout, distinct_bound
from heterrec_schemas.errors import DataError


def test_more_than_the_limit_is_large() -> None:
    values = {"items": Estimate(5, "bound"), "item/brand": Estimate(6, "sample")}
    sizes = Sizes(limit=5, values=values)
    assert sizes.large() == ["item/brand"]
    assert not sizes.is_large("items")
    assert not sizes.is_large("users")  # nobody has reckoned with them


@MANY
@given(values=st.integers(0, 10**9), shards=st.none() | st.integers(1, 5000))
def test_buckets_and_shards_nest(values: int, shards: int | None) -> None:
    count = bucket_count(values, shards)
    if shards is None:
        assert count & (count - 1) == 0
        assert count <= sizing.MAX_BUCKETS
    else:
        assert count % shards == 0 or shards % count == 0
    assert count * sizing.VALUES_PER_BUCKET >= values


@pytest.mark.parametrize(
    ("values", "shards", "count"),
    [
        (0, None, 1),
        (2**20, None, 1),
        (2**20 + 1, None, 2),
        (100_000_000, None, 128),
        (50_000_000, 1, 64),
        (50_000_000, 3, 96),
        (5_000_000, 1000, 8),
        (5_000_000, 7, 14),
        (1, 7, 1),
        (1_500_000, 7, 7),
    ],
)
def test_bucket_counts(values: int, shards: int | None, count: int) -> None:
    assert bucket_count(values, shards) == count


def test_a_log_is_turned_into_items_by_size() -> None:
    assert Sizes().item_buckets == 16
    sizes = Sizes(rows={"interactions": Estimate(100_000_000, "read")})
    assert sizes.item_buckets == 50


@QUICK
@given(seed=st.integers(0, 999), kinds=st.integers(1, 3000), cells=st.integers(1, 4000))
def test_the_bound_of_a_random_sample_is_no_less_than_there_are(
    seed: int, kinds: int, cells: int
) -> None:
    rng = random.Random(seed)
    values = [rng.randrange(kinds) for _ in range(cells)]
    some = values[: max(1, cells // 4)]
    distinct = set(some)
    once = sum(some.count(v) == 1 for v in distinct)
    bound = distinct_bound(len(some), len(distinct), once, cells)
    assert len(distinct) <= bound <= cells
    # An expectation: a single draw may miss it by a few.
    assert bound >= len(set(values)) - 4 * cells**0.5


def test_without_a_sample_every_cell_may_differ() -> None:
    assert distinct_bound(0, 0, 0, 7) == 7
    assert distinct_bound(10, 2, 0, 1000) == 2


def test_a_flattened_layout_is_refused_where_a_worker_cannot_hold_the_items(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    features = [
        embedding(dim=8, groups=8),
        numeric(),
        categorical("tags", multivalued=True),
        categorical("few", multivalued=True, max_values=2),
    ]
    tokens = 8 + 1 + sizing.MANY_VALUES + 2
    plain = [f.model_dump(exclude_unset=True) for f in features]
    spec = spec_of(items={"features": plain}, output={"layout": "flattened"})
    sizes = Sizes(values={"items": Estimate(1000, "bound")})
    monkeypatch.setattr(sizing, "FLATTENED_BYTES", 4 * tokens * 1000)
    check_layout(spec, sizes)
    monkeypatch.setattr(sizing, "FLATTENED_BYTES", 4 * tokens * 1000 - 1)
    with pytest.raises(DataError, match=r"1,000 items.*layout: referenced"):
        check_layout(spec, sizes)
    check_layout(spec_of(items={"features": plain}), sizes)
    check_layout(spec, Sizes())
