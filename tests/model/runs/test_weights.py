"""A model's tensors by name."""

import pytest
import torch
from torch import nn

from heterrec_model.runs.weights import load_weights, weights_of
from heterrec_schemas.errors import CorruptCheckpointError


class Model(nn.Module):
    def __init__(self, width: int = 3, *, more: bool = False) -> None:
        super().__init__()
        self.one = nn.Linear(width, 2)
        self.tied = self.one
        self.register_buffer("kept", torch.randn(2))
        self.register_buffer("derived", torch.randn(2), persistent=False)
        if more:
            self.more = nn.Linear(1, 1)


def test_each_tensor_comes_once_and_derived_ones_never() -> None:
    assert set(weights_of(Model())) == {"one.weight", "one.bias", "kept"}


def test_weights_are_copied() -> None:
    one, two = Model(), Model()
    load_weights(two, weights_of(one), "step-00000001")
    assert all(torch.equal(weights_of(one)[n], x) for n, x in weights_of(two).items())
    assert two.one.weight.data_ptr() != one.one.weight.data_ptr()


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (Model(4), r"one.weight: got \[2, 3\], expected \[2, 4\]"),
        (Model(more=True), "more.weight is absent; more.bias is absent"),
    ],
)
def test_other_weights_are_refused(model: Model, message: str) -> None:
    with pytest.raises(CorruptCheckpointError, match=message):
        load_weights(model, weights_of(Model()), "step-00000001")


def test_unknown_weights_are_refused() -> None:
    with pytest.raises(
        CorruptCheckpointError, match=r"more\.weight is unknown; more\.bias is unknown"
    ):
        load_weights(Model(), weights_of(Model(more=True)), "step-00000001")


def test_a_checkpoint_of_an_earlier_version_lacks_the_trained_items() -> None:
    model = Model()
    model.tables = nn.Module()
    model.tables.register_buffer("trained_I", torch.tensor([True, False]))
    load_weights(model, weights_of(Model()), "step-00000001")
    assert weights_of(model)["tables.trained_I"].tolist() == [True, False]
