"""What stops a run whose loss is no longer a loss."""

import pytest

from heterrec_model.training.finite import check_norm, check_terms
from heterrec_schemas.errors import RunError

NAN, INF = float("nan"), float("inf")


def test_a_whole_loss_passes() -> None:
    check_terms(3.0, {"a": 1.0, "b": 2.0}, None, step=1, users=["u"])
    check_terms(3.0, {"a": 1.0, "b": 2.0, "c": 0.0}, ["a", "b"], step=1, users=["u"])
    check_norm(1e30, [], step=1, users=["u"])


def test_an_absent_term_is_named_with_step_and_users() -> None:
    with pytest.raises(RunError) as caught:
        check_terms(1.0, {"a": 1.0}, ["a", "b"], step=7, users=["u1", "u2"])
    message = caught.value.message
    assert "step 7: the loss lacks b, which the first step had" in message
    assert "u1, u2" in message
    assert "learning_rate" in message


@pytest.mark.parametrize("value", [NAN, INF, -INF])
def test_a_term_that_is_not_finite_is_named(value: float) -> None:
    with pytest.raises(RunError, match=rf"item_step2 = {value}; users of the batch: 5"):
        check_terms(value, {"item_step1": 1.0, "item_step2": value}, None, step=7, users=[5])


def test_a_total_that_is_not_finite_is_named_where_no_term_is() -> None:
    with pytest.raises(RunError, match="the total = nan"):
        check_terms(NAN, {"a": 1.0}, None, step=7, users=["u"])


def test_only_the_first_users_are_named() -> None:
    with pytest.raises(RunError, match="0, 1, 2, 3, 4, and 95 more"):
        check_terms(NAN, {}, None, step=7, users=list(range(100)))


def test_gradients_are_named_by_their_parameters() -> None:
    with pytest.raises(RunError, match=r"step 3: the gradients are not finite \(nan\): tower.w"):
        check_norm(NAN, ["tower.w"], step=3, users=["u"])
    with pytest.raises(RunError, match="overflows"):
        check_norm(INF, [], step=3, users=["u"])
