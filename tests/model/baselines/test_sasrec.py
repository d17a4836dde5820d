"""SASRec, with ids alone and with all inputs, with and without time gaps, against the equations."""

from typing import Any

import pytest
import torch
from equality import same_gradients, same_values, stacked
from equations_model import Model, as_candidates, scores
from hypothesis import given
from hypothesis import strategies as st
from made_up import (
    FEATURES,
    QUICK,
    USER_FEATURES,
    made_up_batch,
    made_up_config,
    made_up_table,
    scrambled,
    weights_of,
)

from heterrec_model.baselines.sasrec import SASRec
from heterrec_model.baselines.sasrec_time import SASRecTime
from heterrec_model.config import Config
from heterrec_model.layers.embedding_tables import ItemTables

SEED = 11


MODELS = {"sasrec": SASRec, "sasrec_time": SASRecTime}


def sasrec(
    features: slice, seed: int = 0, *, users: bool = False, behaviours: int = 0, **model: Any
) -> SASRec:
    prefix = USER_FEATURES if users else ()
    table = made_up_table(
        features=list(FEATURES)[features], user_features=prefix, behaviours=behaviours
    )
    config: Config = made_up_config(model={"name": "sasrec", **model})
    made = MODELS[config.model.name](config, table, ItemTables(config.model, table, {}))
    scrambled(made, seed)
    return made


@QUICK
@given(
    name=st.sampled_from(sorted(MODELS)),
    features=st.sampled_from([slice(0, 0), slice(0, 4)]),
    users=st.booleans(),
    behaviours=st.sampled_from([0, 4]),
    per_head=st.booleans(),
    lengths=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    padding=st.integers(0, 2),
    item_blocks=st.integers(0, 2),
    norm=st.sampled_from(["post", "pre"]),
    item_tower=st.fixed_dictionaries({"id_skip": st.booleans(), "token_skip": st.booleans()}),
    seed=st.integers(0, 99),
)
def test_values_and_gradients_are_those_of_the_equations(
    name: str,
    features: slice,
    users: bool,
    behaviours: int,
    per_head: bool,
    lengths: list[int],
    padding: int,
    item_blocks: int,
    norm: str,
    item_tower: dict[str, bool],
    seed: int,
) -> None:
    model = sasrec(
        features,
        seed,
        users=users,
        behaviours=behaviours,
        name=name,
        item_blocks=item_blocks,
        norm=norm,
        item_tower=item_tower,
        time_gap={"enabled": True, "buckets": 8, "per_head": per_head},
    )
    batch = made_up_batch(lengths, padding=padding, table=model.table, seed=seed)
    slow = Model(weights_of(model), model.config, model.table)
    u = model.encode(model.tables(batch.item_BT.flatten()).unflatten(0, batch.item_BT.shape), batch)
    assert u.h_BTKD is None
    for b, outputs in enumerate(slow.encode(batch).users):
        same_values(u.u_BTD[b, : lengths[b]], stacked(outputs))
    drawn = model.sampler.draw(
        batch.item_BT[batch.valid_BT()], torch.repeat_interleave(batch.length_B), SEED
    )
    output = model(batch, SEED)
    same_gradients(output.total, slow.loss(batch, as_candidates(drawn), []), weights_of(model))
    assert set(output.terms) == {"item_step1", "item_step2"}


@pytest.mark.parametrize("features", [slice(0, 0), slice(0, 4)])
def test_scores_are_those_of_the_equations(features: slice) -> None:
    model = sasrec(features).eval()
    batch = made_up_batch([3, 1], table=model.table, padding=1)
    items = model.table.catalogue_N
    with torch.no_grad():
        got = model.user_vectors(batch) @ model.item_vectors(items).T
        slow = Model(weights_of(model), model.config, model.table)
        same_values(got, scores(slow, batch, items.tolist()))


def test_with_ids_alone_an_items_vector_is_its_embedding() -> None:
    model = sasrec(slice(0, 0))
    assert not any(name.startswith("tower") for name in weights_of(model))
    e = model.tables(torch.tensor([3, 4]))
    same_values(model.tower(e)[1], model.tables.item_id.weight[[3, 4]])


def test_a_later_interaction_changes_no_earlier_output() -> None:
    model = sasrec(slice(0, 4), item_blocks=2)
    batch = made_up_batch([5], table=model.table)
    before, after = batch.item_BT, batch.item_BT.clone()
    after[0, 3:] = (after[0, 3:] - 3 + 5) % 14 + 3
    outputs = [
        model.encode(model.tables(items.flatten()).unflatten(0, items.shape), batch).u_BTD
        for items in (before, after)
    ]
    assert torch.equal(outputs[0][:, :3], outputs[1][:, :3])
    assert not torch.allclose(outputs[0][:, 3:], outputs[1][:, 3:])


@pytest.mark.parametrize(("name", "lacks"), [("sasrec", True), ("sasrec_time", False)])
def test_time_gaps_are_the_only_input_it_may_lack(name: str, lacks: bool) -> None:
    model = sasrec(slice(0, 4), users=True, behaviours=4, name=name)
    features = {f"item feature {f.name}" for f in FEATURES}
    features |= {f"user feature {f.name}" for f in USER_FEATURES}
    every = {*features, "item ids", "last items", "earlier items", "behaviours", "time gaps"}
    assert every - model.inputs == ({"time gaps"} if lacks else set())
