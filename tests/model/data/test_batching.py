import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from loader_helpers import MANY

from heterrec_model.data.batching import BatchLimits, cut_batches, shuffled_batches

LENGTHS = st.lists(st.integers(1, 30), max_size=60).map(lambda x: np.array(x, np.int64))
LIMITS = st.builds(BatchLimits, st.integers(1, 10), st.integers(1, 80), st.booleans())


@MANY
@given(LENGTHS, LIMITS)
def test_batches_hold_their_limits_and_are_full(lengths: np.ndarray, limits: BatchLimits) -> None:
    batches = cut_batches(lengths, limits)
    rows = [row for batch in batches for row in batch.tolist()]
    assert sorted(rows) == list(range(len(lengths)))
    for number, batch in enumerate(batches):
        assert len(batch) == 1 or fits(lengths[batch], limits)
        if number + 1 < len(batches):
            more = np.append(batch, batches[number + 1][0])
            assert not fits(lengths[more], limits)


def fits(lengths: np.ndarray, limits: BatchLimits) -> bool:
    return len(lengths) <= limits.users and len(lengths) * lengths.max() <= limits.items


@MANY
@given(LENGTHS)
def test_like_lengths_stand_together_in_the_order_of_the_rows(lengths: np.ndarray) -> None:
    batches = cut_batches(lengths, BatchLimits(4, 40, by_length=True))
    rows = [row for batch in batches for row in batch.tolist()]
    assert rows == sorted(rows, key=lambda row: (lengths[row], row))
    plain = cut_batches(lengths, BatchLimits(4, 40, by_length=False))
    assert [row for batch in plain for row in batch.tolist()] == list(range(len(lengths)))


@MANY
@given(LENGTHS, LIMITS, st.integers(0, 99))
def test_shuffling_loses_no_row_and_repeats_itself(
    lengths: np.ndarray, limits: BatchLimits, seed: int
) -> None:
    first, again = (
        [b.tolist() for b in shuffled_batches(lengths, limits, np.random.default_rng(seed))]
        for _ in range(2)
    )
    assert first == again
    assert sorted(row for batch in first for row in batch) == list(range(len(lengths)))


def test_rows_and_batches_are_shuffled() -> None:
    lengths = np.repeat(np.arange(1, 5), 50)
    limits = BatchLimits(10, 10**6, by_length=True)
    batches = shuffled_batches(lengths, limits, np.random.default_rng(0))
    assert any(np.diff(np.concatenate(batches)) < 0)
    longest = [int(lengths[batch].max()) for batch in batches]
    assert longest != sorted(longest)
    assert all(len(set(lengths[batch])) == 1 for batch in batches)
