"""The time-gap bias, Eq. 2, against the equations and by hand."""

import math

import equations
import pytest
import torch
from equality import probed, same_gradients, same_values, stacked
from hypothesis import assume, given
from hypothesis import strategies as st
from made_up import MANY, QUICK, scrambled, weights_of

from heterrec_model.config import TimeGapConfig
from heterrec_model.layers.time_gap import TimeGap

YEAR_MS = 31_557_600_000
GAPS = st.integers(-5_000, 5_000) | st.integers(0, 14 * YEAR_MS)


def time_gap(layers: int = 1, heads: int = 1, **settings: object) -> TimeGap:
    return TimeGap(TimeGapConfig.model_validate(settings), layers, heads)


def far_from_edges(gap_ms: int, buckets: int) -> bool:
    """Whether float32 cannot put the gap into the neighbouring bucket."""
    if gap_ms <= 1000 or buckets == 2:
        return True
    place = (buckets - 2) * math.log(gap_ms / 1000) / math.log(equations.TEN_YEARS_S)
    return abs(place - round(place)) > 1e-4


@MANY
@given(gap=GAPS, buckets=st.sampled_from([2, 3, 8, 64]))
def test_buckets_are_those_of_the_words(gap: int, buckets: int) -> None:
    assume(far_from_edges(gap, buckets))
    now = 1_700_000_000_000
    found = time_gap(buckets=buckets).buckets(torch.tensor([[now, now + gap]]))[0]
    assert found[1, 0] == equations.gap_bucket(gap, buckets)
    assert found[0, 1] == equations.gap_bucket(-gap, buckets)
    assert found[0, 0] == 0


@pytest.mark.parametrize(
    ("gap_ms", "bucket"),
    [
        (-YEAR_MS, 0),
        (0, 0),
        (999, 0),
        (1000, 1),
        # ten years are 10^8.499 s: with 60 steps between, a step is a factor of 10^.14165, 1.3856
        (1385, 1),
        (1387, 2),
        (10 * YEAR_MS - 1_000_000, 60),
        (10 * YEAR_MS + 1_000_000, 61),
        (90 * YEAR_MS, 61),
    ],
)
def test_borders_by_hand(gap_ms: int, bucket: int) -> None:
    assert time_gap(buckets=62).buckets(torch.tensor([[0, gap_ms]]))[0, 1, 0] == bucket


@QUICK
@given(
    users=st.integers(1, 2),
    items=st.integers(1, 4),
    layers=st.integers(1, 3),
    heads=st.integers(1, 3),
    per_head=st.booleans(),
    seed=st.integers(0, 99),
)
def test_biases_and_gradients_are_those_of_the_equations(
    users: int, items: int, layers: int, heads: int, per_head: bool, seed: int
) -> None:
    made = scrambled(time_gap(layers, heads, buckets=8, per_head=per_head), seed)
    weights = weights_of(made)
    random = torch.Generator().manual_seed(seed)
    times = torch.randint(0, 10**9, (users, items), generator=random).cumsum(1)
    found = made(times)
    groups = heads if per_head else 1
    assert [p.shape for p in found] == [(users, groups, items, items)] * layers
    rows = [equations.time_gaps(weights["table"], t.tolist(), layers) for t in times]
    wanted = [stacked([user[layer] for user in rows]) for layer in range(layers)]
    for got, want in zip(found, wanted, strict=True):
        same_values(got, want)
    same_gradients(probed(torch.stack(found)), probed(torch.stack(wanted)), weights)


def test_an_untrained_model_ignores_time() -> None:
    assert time_gap(2, 2, per_head=True)(torch.tensor([[0, 10**9]]))[1].abs().max() == 0
