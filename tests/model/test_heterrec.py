"""The whole model against the equations; its weights, gradients and dropout."""

import dataclasses
from typing import Any

import pytest
import torch
from equality import probed, same_gradients, same_values, stacked
from equations_model import Model, as_candidates, scores
from hypothesis import given
from hypothesis import strategies as st
from made_up import (
    FEATURES,
    MODELS,
    QUICK,
    USER_FEATURES,
    encoded,
    made_up_batch,
    made_up_config,
    made_up_model,
    made_up_table,
    weights_of,
)
from torch import Tensor

import heterrec_model.layers.attention
import heterrec_model.loss.lmp
from heterrec_model.data.batch import Batch
from heterrec_model.heterrec import HeterRec

LENGTHS = st.lists(st.integers(1, 4), min_size=1, max_size=3)
SEED = 11


def candidates_of(model: HeterRec, batch: Batch) -> tuple[Any, Any]:
    """What a step draws: for the items' losses and for the tokens'."""
    valid_BT = batch.valid_BT()
    users = torch.arange(batch.users)[:, None].expand_as(valid_BT)
    drawn = model.sampler.draw(batch.item_BT[valid_BT], users[valid_BT], SEED)
    fewer = model.sampler.part(drawn, model.sampler.token_rows(drawn))
    return as_candidates(drawn), as_candidates(fewer)


def loss_by_equations(model: HeterRec, batch: Batch) -> Tensor:
    slow = Model(weights_of(model), model.config, model.table)
    return slow.loss(batch, *candidates_of(model, batch))


@QUICK
@given(
    model=MODELS,
    lengths=LENGTHS,
    padding=st.integers(0, 2),
    features=st.sampled_from([slice(0, 4), slice(0, 1), slice(1, 3)]),
    users=st.booleans(),
    seed=st.integers(0, 99),
)
def test_encodings_and_gradients_are_those_of_the_equations(
    model: dict[str, Any],
    lengths: list[int],
    padding: int,
    features: slice,
    users: bool,
    seed: int,
) -> None:
    prefix = USER_FEATURES if users else ()
    table = made_up_table(features=list(FEATURES)[features], user_features=prefix)
    config = made_up_config(model=model)
    made = made_up_model(config, table, seed)
    batch = made_up_batch(lengths, padding=padding, table=table, seed=seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(heterrec_model.layers.attention, "CHUNK_TOKENS", 4)
        got = encoded(made, batch)
    assert got.h_BTKD is not None
    want = Model(weights_of(made), config, table).encode(batch)
    got_sum = want_sum = torch.zeros((), dtype=torch.float64)
    for b, length in enumerate(lengths):
        pairs = [
            (got.u_BTD[b, :length], stacked(want.users[b])),
            (got.h_BTKD[b, :length], stacked(want.tokens[b])),
        ]
        for fast, slow in pairs:
            same_values(fast, slow)
            got_sum, want_sum = got_sum + probed(fast), want_sum + probed(slow)
    assert got.u_BTD.isfinite().all()
    assert got.h_BTKD.isfinite().all()
    same_gradients(got_sum, want_sum, weights_of(made))


@QUICK
@given(
    lengths=LENGTHS,
    similarity=st.sampled_from(["cosine", "dot"]),
    gated=st.booleans(),
    token_weight=st.sampled_from([0.0, 0.5, "sum"]),
    source=st.sampled_from(["mixed", "in_batch", "uniform", "in_batch_same_position", "catalogue"]),
    rule=st.sampled_from(["mixture", "source", "none"]),
    normalise=st.sampled_from(["possible", "open", "sum"]),
    mask_same_user=st.booleans(),
    item_id=st.booleans(),
    seed=st.integers(0, 99),
)
def test_the_loss_and_its_gradients_are_those_of_the_equations(
    lengths: list[int],
    similarity: str,
    gated: bool,
    token_weight: float | str,
    source: str,
    rule: str,
    normalise: str,
    mask_same_user: bool,
    item_id: bool,
    seed: int,
) -> None:
    table = made_up_table(user_features=())
    config = made_up_config(
        model={"item_id": item_id},
        loss={
            "similarity": similarity,
            "gate": gated,
            "token_weight": token_weight,
            "step_weights": [1.0, 0.3],
            "normalise": normalise,
        },
        negatives={"source": source, "logq": rule, "mask_same_user": mask_same_user},
    )
    model = made_up_model(config, table, seed)
    batch = made_up_batch(lengths, padding=1, table=table, seed=seed)
    output = model(batch, SEED)
    same_gradients(output.total, loss_by_equations(model, batch), weights_of(model))
    names = {f"token/{name}" for name in model.tables.names} if token_weight else set()
    assert set(output.terms) == {f"{n}_step{i}" for n in {"item", *names} for i in (1, 2)}
    summed = sum(float(term) for term in output.terms.values())
    assert summed == pytest.approx(output.total.item(), abs=1e-9)


def test_the_papers_sum_is_k_times_the_weight_of_one() -> None:
    batch = made_up_batch([4, 3])
    terms = {}
    for weight in (1.0, 5.0, "sum"):
        model = made_up_model(made_up_config(loss={"token_weight": weight, "gate": False}))
        terms[weight] = model(batch, SEED).terms
    assert model.tables.tokens == 5
    assert terms[5.0].keys() == terms["sum"].keys()
    for name, term in terms["sum"].items():
        same_values(term, terms[5.0][name])
        if name.startswith("token/"):
            same_values(term, 5 * terms[1.0][name])
        else:
            same_values(term, terms[1.0][name])


def test_user_and_item_vectors_give_the_scores_of_the_equations() -> None:
    for similarity in ("cosine", "dot"):
        model = made_up_model(made_up_config(loss={"similarity": similarity})).eval()
        batch = made_up_batch([3, 1, 2], padding=1)
        items = model.table.catalogue_N
        with torch.no_grad():
            got = model.user_vectors(batch) @ model.item_vectors(items).T
            slow = Model(weights_of(model), model.config, model.table)
            same_values(got, scores(slow, batch, items.tolist()))


@pytest.mark.parametrize("norm", ["post", "pre"])
def test_every_weight_has_a_finite_gradient(norm: str) -> None:
    model = made_up_model(made_up_config(model={"norm": norm}, loss={"gate": False}))
    model(made_up_batch([4, 1, 2], padding=3), SEED).total.backward()
    without = [name for name, weight in model.named_parameters() if weight.grad is None]
    assert without == []
    for name, weight in model.named_parameters():
        assert weight.grad is not None
        assert weight.grad.isfinite().all(), name


@pytest.mark.parametrize("source", ["mixed", "in_batch", "in_batch_same_position", "catalogue"])
def test_a_batch_without_positions_gives_zero_and_zero_gradients(source: str) -> None:
    model = made_up_model(made_up_config(negatives={"source": source}))
    blank = dataclasses.replace(made_up_batch([1]), item_BT=torch.zeros(1, 1, dtype=torch.int64))
    output = model(blank, SEED)
    output.total.backward()
    assert output.total.item() == 0
    for name, weight in model.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.abs().sum() == 0, name


def test_dropout_is_for_training_only() -> None:
    config = made_up_config(model={"dropout": 0.3, "attention_dropout": 0.3, "id_dropout": 0.3})
    model = made_up_model(config)
    batch = made_up_batch([4, 3])
    torch.manual_seed(0)
    same_values(model.eval()(batch, SEED).total, model(batch, SEED).total)
    model.train()
    first, second = (model(batch, SEED).total for _ in range(2))
    assert not torch.allclose(first, second)
    torch.manual_seed(5)
    third = model(batch, SEED).total
    torch.manual_seed(5)
    same_values(model(batch, SEED).total, third)
