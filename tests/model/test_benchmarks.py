"""The straightforward implementation that benchmarks/model_step.py times: as long as both agree, it times the same work."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from made_up import made_up_batch, made_up_config, made_up_model, made_up_table, scrambled

from heterrec_model.data.batch import Batch
from heterrec_model.heterrec import HeterRec
from heterrec_schemas import open_generation
from heterrec_schemas.testing import small_generation

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

import model_shared
from straightforward import Straightforward, padded

SEED = 3


def agree(model: HeterRec, batch: Batch, length: int) -> None:
    """Both sides have one loss, and one gradient of every weight."""
    got, want = model(batch, SEED).total, Straightforward(model)(padded(batch, length), SEED)
    torch.testing.assert_close(got, want, rtol=1e-10, atol=0)
    weights = list(model.parameters())
    gradients = [
        torch.autograd.grad(loss, weights, allow_unused=True, materialize_grads=True)
        for loss in (got, want)
    ]
    torch.testing.assert_close(*gradients, rtol=1e-7, atol=1e-10)


@pytest.mark.parametrize("token_weight", [0.0, 1.0, "sum"])
@pytest.mark.parametrize("first_target", [None, 2])
def test_it_computes_the_models_loss(token_weight: float | str, first_target: int | None) -> None:
    table = made_up_table(user_features=(), behaviours=0)
    config = made_up_config(loss={"token_weight": token_weight}, model={"token_blocks": 2})
    batch = made_up_batch([2, 7, 4, 1, 5], table=table)
    if first_target is not None:
        batch = replace(batch, first_target_B=torch.full((5,), first_target))
    agree(made_up_model(config, table), batch, length=9)


def test_it_computes_the_loss_of_a_generation_with_more_features(tmp_path: Path) -> None:
    small_generation(tmp_path, 0)
    generation = open_generation(tmp_path)
    table = model_shared.table_with(generation, tokens=9)
    assert len(table.features) == 8
    config = model_shared.settings(
        model={"dropout": 0.0, "id_dropout": 0.0, "user_features": [], "max_length": 12},
        negatives={"in_batch": 20, "uniform": 20, "token": 9},
    )
    table = replace(table, user_features=(), behaviours=0)
    model = model_shared.model_of(config, table, generation)
    scrambled(model, spread=0.1)
    for batch in model_shared.real_batches(generation, config, 2):
        agree(model, replace(batch, behaviour_BT=None), length=12)
    full = model_shared.full_batch(model_shared.real_batches(generation, config, 9), 3, 10)
    agree(model, full, length=10)


def test_it_refuses_what_it_does_not_have() -> None:
    config = made_up_config(model={"norm": "pre"})
    with pytest.raises(ValueError, match="user features, behaviours, pre-LN"):
        Straightforward(made_up_model(config))
