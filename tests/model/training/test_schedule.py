"""The learning rate over a run."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heterrec_model.config import TrainConfig
from heterrec_model.training.schedule import rate_factor, run_share


def factors(train: TrainConfig, steps: int) -> list[float]:
    """As the trainer calls it, for a run of so many steps of one row each."""
    found, warm = [], 0.0
    for step in range(steps):
        share = run_share(train, step=step, rows=step, run_rows=steps)
        if step <= train.warmup_steps:
            warm = share
        found.append(rate_factor(train, step=step, share=share, warm_share=warm))
    return found


def test_a_warm_up_rises_in_equal_steps_then_the_rate_falls_to_nothing() -> None:
    train = TrainConfig(epochs=1, warmup_steps=4, schedule="linear")
    assert factors(train, 8) == pytest.approx([0.25, 0.5, 0.75, 1, 1, 0.75, 0.5, 0.25])


def test_cosine_is_half_way_down_in_the_middle() -> None:
    train = TrainConfig(epochs=1, warmup_steps=0, schedule="cosine")
    found = factors(train, 8)
    assert found[0] == 1
    assert found[4] == pytest.approx(0.5)
    assert found[6] == pytest.approx(0.5 * (1 + math.cos(math.pi * 0.75)))


def test_constant_stays_at_the_top() -> None:
    train = TrainConfig(epochs=1, warmup_steps=2, schedule="constant")
    assert factors(train, 5) == [0.5, 1, 1, 1, 1]


def test_the_nearer_end_counts() -> None:
    train = TrainConfig(epochs=2, max_steps=10)
    assert run_share(train, step=5, rows=20, run_rows=200) == 0.5
    assert run_share(train, step=1, rows=150, run_rows=200) == 0.75
    assert run_share(train, step=30, rows=20, run_rows=200) == 1


@given(
    st.sampled_from(["linear", "cosine", "constant"]),
    st.integers(0, 30),
    st.integers(1, 60),
    st.integers(1, 60),
)
def test_a_factor_is_a_share_and_falls_only_after_the_warm_up(
    schedule: str, warmup: int, steps: int, most: int
) -> None:
    train = TrainConfig(epochs=1, max_steps=most, warmup_steps=warmup, schedule=schedule)  # type: ignore[arg-type]
    found = factors(train, min(steps, most))
    assert all(0 < factor <= 1 for factor in found)
    assert found[:warmup] == sorted(found[:warmup])
    assert found[warmup:] == sorted(found[warmup:], reverse=True)
