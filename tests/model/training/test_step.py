"""One step: several batches as one, the same draws for the same step, and what stops it."""

from typing import Any

import pytest
import torch
from fake_model import FakeModel, fake_batch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from heterrec_model.config import TrainConfig
from heterrec_model.data.chosen_features import FeatureInfo
from heterrec_model.training.optimizer import Optimizers
from heterrec_model.training.processes import World
from heterrec_model.training.step import Stepper, StepResult, blank_batch, mixed_seed
from heterrec_schemas.errors import RunError

ALONE = World(0, 1, torch.device("cpu"))


def stepper(model: FakeModel, **settings: Any) -> Stepper:
    train = TrainConfig(**settings)
    return Stepper(model, Optimizers(model, train), train, ALONE)  # type: ignore[arg-type]


def step(made: Stepper, *batches: Any, number: int = 0, **other: Any) -> StepResult:
    settings = {"parts": len(batches), "factor": 1.0, "expected": None, **other}
    return made.run(list(batches), step=number, **settings)


def test_two_halves_make_the_step_of_the_whole() -> None:
    halves, whole = FakeModel(), FakeModel()
    got = step(stepper(halves, accumulate=2), fake_batch([1, 2]), fake_batch([3, 4]))
    want = step(stepper(whole), fake_batch([1, 2], [3, 4]))
    assert got.loss == pytest.approx(want.loss)
    assert got.norm == pytest.approx(want.norm)
    assert got.terms == pytest.approx(want.terms)
    for mine, other in zip(halves.parameters(), whole.parameters(), strict=True):
        torch.testing.assert_close(mine, other)


def test_a_step_draws_the_same_whatever_was_drawn_before() -> None:
    results = []
    for noise in (0, 5):
        model = FakeModel(dropout=0.5)
        torch.manual_seed(noise)
        torch.rand(noise)
        results.append(step(stepper(model), fake_batch([1, 2, 3]), number=4))
    assert results[0] == results[1]


def test_steps_parts_and_seeds_draw_otherwise() -> None:
    def loss(number: int, seed: int) -> float:
        made = stepper(FakeModel(dropout=0.5), seed=seed)
        return step(made, fake_batch([1, 2, 3]), number=number).loss

    assert len({loss(0, 0), loss(1, 0), loss(0, 1)}) == 3
    twice = fake_batch([1, 2, 3]), fake_batch([1, 2, 3])
    once = step(stepper(FakeModel(dropout=0.5)), twice[0]).loss
    assert step(stepper(FakeModel(dropout=0.5)), *twice).loss != once


def broken(change: Any) -> FakeModel:
    model = FakeModel()
    model.broken[2] = change
    return model


def drop(terms: dict[str, Tensor]) -> dict[str, Tensor]:
    return {"pull": terms["pull"]}


def spoil(terms: dict[str, Tensor]) -> dict[str, Tensor]:
    return {**terms, "size": terms["size"] * float("nan")}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (drop, "step 2: the loss lacks size, which the first step had; users of the batch: u5"),
        (spoil, "step 2: the loss is not finite: size = nan; users of the batch: u5, u6"),
    ],
)
def test_a_broken_loss_leaves_the_weights_as_they_were(change: Any, message: str) -> None:
    model = broken(change)
    made = stepper(model)
    first = step(made, fake_batch([1, 2]))
    before = [p.detach().clone() for p in model.parameters()]
    with pytest.raises(RunError, match=message):
        step(made, fake_batch([5, 2], [6, 2]), number=1, expected=list(first.terms))
    for mine, old in zip(model.parameters(), before, strict=True):
        assert torch.equal(mine, old)


def test_a_bad_gradient_stops_it_too() -> None:
    model = FakeModel()
    model.norm.bias.register_hook(lambda g: g * float("inf"))
    with pytest.raises(RunError, match=r"step 1: the gradients are not finite .*norm\.bias.*u1"):
        step(stepper(model), fake_batch([1, 2]))


def test_a_blank_batch_has_every_input() -> None:
    class Table:
        behaviours = 4
        user_features = (
            FeatureInfo("age", "numeric", 9, 0, 1),
            FeatureInfo("likes", "categorical", 9, 0, 3, multivalued=True),
        )

    batch = blank_batch(Table())  # type: ignore[arg-type]
    assert batch.item_BT.tolist() == batch.timestamp_BT.tolist() == [[0]]
    assert batch.length_B.tolist() == [1]
    assert batch.behaviour_BT is not None
    assert batch.behaviour_BT.shape == (1, 1)
    assert {name: list(x.shape) for name, x in batch.user_features.items()} == {
        "age": [1],
        "likes": [1, 3],
    }


NUMBERS = st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=4).map(tuple)


@given(NUMBERS, NUMBERS)
def test_equal_numbers_alone_give_equal_seeds(one: tuple[int, ...], two: tuple[int, ...]) -> None:
    assert (mixed_seed(*one) == mixed_seed(*two)) == (one == two)


def test_a_seed_fits_a_signed_word_and_stays_what_it_is() -> None:
    assert all(0 <= mixed_seed(0, step, 0) < 2**63 for step in range(100))
    assert (
        mixed_seed(0, 0, 0) == 6233904063939786893
    )  # a resumed run of an older release draws the same


def test_zeros_behind_count() -> None:
    assert mixed_seed(1, 2) != mixed_seed(1, 2, 0)
