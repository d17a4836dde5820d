"""Seeds by name."""

from hypothesis import given
from hypothesis import strategies as st

from heterrec_model.training.seeds import mix

numbers = st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=4).map(tuple)


@given(numbers, numbers)
def test_equal_numbers_alone_give_equal_seeds(one: tuple[int, ...], two: tuple[int, ...]) -> None:
    assert (mix(*one) == mix(*two)) == (one == two)


def test_a_seed_fits_a_signed_word_and_stays_what_it_is() -> None:
    assert all(0 <= mix(0, step, 0) < 2**63 for step in range(100))
    assert mix(0, 0, 0) == 6233904063939786893  # a resumed run of an older release draws the same


def test_zeros_behind_count() -> None:
    assert mix(1, 2) != mix(1, 2, 0)
