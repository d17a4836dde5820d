"""BERT4Rec: which items are masked, and that a masked item is not an input."""

import dataclasses
from typing import Any

import pytest
import torch
from equality import same_values
from made_up import made_up_baseline, made_up_batch, made_up_config
from torch import Tensor

from heterrec_model.baselines.bert4rec import BERT4Rec, ClozePositions
from heterrec_model.data.batch import Batch
from heterrec_model.loss.lmp import for_similarity
from heterrec_model.two_tower import UserStates


def bert4rec(**model: Any) -> BERT4Rec:
    made = made_up_baseline(made_up_config({"name": "bert4rec", "item_blocks": 2, **model}))
    assert isinstance(made, BERT4Rec)
    return made


def drawn(model: BERT4Rec, batch: Batch, seed: int = 0) -> ClozePositions:
    torch.manual_seed(seed)
    items = int(batch.length_B.sum())
    found = model.positions_of(batch, torch.arange(items), torch.ones(items, dtype=torch.bool))
    assert isinstance(found, ClozePositions)
    return found


def states(model: BERT4Rec, batch: Batch, positions: ClozePositions) -> UserStates:
    item_U, row = batch.item_BT.unique(return_inverse=True)
    return model.training_states(model.tables(item_U), row, batch, positions)


@pytest.mark.parametrize(("last_only", "share"), [(1.0, 1 / 8), (0.0, 0.3), (0.5, 0.2125)])
def test_shares_of_masked_items(last_only: float, share: float) -> None:
    model = bert4rec(cloze={"mask_share": 0.3, "last_only": last_only})
    positions = drawn(model, made_up_batch([8] * 3000))
    masked_BT = positions.masked_N.view(-1, 8)
    assert masked_BT.any(dim=1).all()
    assert float(masked_BT.double().mean()) == pytest.approx(share, abs=0.02)
    if last_only == 1:
        assert masked_BT[:, -1].all()
    pairs = positions.pairs(1)
    assert torch.equal(pairs.at_R, pairs.target_R)


def test_items_that_are_context_only_are_not_masked() -> None:
    model = bert4rec(cloze={"mask_share": 1.0, "last_only": 0.0})
    batch = dataclasses.replace(made_up_batch([4, 2]), first_target_B=torch.tensor([2, 0]))
    assert drawn(model, batch).masked_N.tolist() == [False, False, True, True, True, True]


def test_the_repeat_term_counts_the_items_before_a_masked_one() -> None:
    model = bert4rec(
        repeats={"enabled": True}, cloze={"mask_share": 1.0, "last_only": 0.0}, max_length=4
    )
    batch = made_up_batch([4, 1])
    pairs = drawn(model, batch).pairs(1)
    assert pairs.at_R.tolist() == pairs.target_R.tolist() == [1, 2, 3]
    assert pairs.known_R.tolist() == [0, 1, 2]
    # losses do not depend on later counts: only the last item repeats the first
    assert model.repeats is not None
    batch = dataclasses.replace(
        batch,
        item_BT=torch.tensor([[5, 6, 7, 5], [8, 0, 0, 0]]),
        earlier=made_up_batch([1, 1], items=[9]).all_items(),
    )
    counts: list[torch.Tensor] = []
    model.repeats.register_forward_pre_hook(lambda _, given: counts.append(given[1]))
    model(batch, 3)
    assert max(int(count.max()) for count in counts) == 1, "the masked item was counted"


def test_a_masked_item_does_not_reach_the_output() -> None:
    model = bert4rec(cloze={"mask_share": 0.5, "last_only": 0.0})
    batch = made_up_batch([6, 4])
    positions = drawn(model, batch)
    valid_BT = batch.valid_BT()
    masked_BT = torch.zeros_like(valid_BT).masked_scatter(valid_BT, positions.masked_N)
    other_BT = (batch.item_BT - 3 + 5) % 14 + 3

    def outputs(changed_BT: Tensor) -> Tensor:
        items = torch.where(changed_BT, other_BT, batch.item_BT)
        return states(model, dataclasses.replace(batch, item_BT=items), positions).u_BTD

    before = outputs(torch.zeros_like(valid_BT))
    assert torch.equal(outputs(masked_BT)[valid_BT], before[valid_BT])
    # all others do, from both sides
    for t in (0, 5):
        one = torch.zeros_like(valid_BT)
        one[0, t] = True
        if not masked_BT[0, t]:
            assert not torch.isclose(outputs(one)[0], before[0]).all(1).any()


def test_inference_is_training_with_the_last_item_masked() -> None:
    model = bert4rec(cloze={"mask_share": 0.5, "last_only": 1.0}, max_length=6)
    batch = made_up_batch([6, 3])
    trained = states(model, batch, drawn(model, batch)).u_BTD
    last = trained[torch.arange(2), batch.length_B - 1]
    shorter = dataclasses.replace(batch, length_B=batch.length_B - 1)
    vectors = for_similarity(model.item_lmp.steps[0](last), model.config.loss)
    same_values(model.user_vectors(shorter), vectors)


def test_the_mask_takes_the_place_of_the_oldest_item() -> None:
    model = bert4rec(max_length=5)
    batch = made_up_batch([5])
    first = batch.item_BT.clone()
    first[0, 0] = (first[0, 0] - 3 + 5) % 14 + 3
    for length, ignored in ((5, True), (4, False)):
        vectors = [
            model.user_vectors(
                dataclasses.replace(batch, item_BT=items, length_B=torch.tensor([length]))
            )
            for items in (batch.item_BT, first)
        ]
        assert torch.equal(*vectors) == ignored


def test_it_learns_the_last_items_by_heart() -> None:
    model = bert4rec(width=16, cloze={"mask_share": 0.2, "last_only": 1.0}).float()
    batch = made_up_batch([5, 4, 3], items=range(3, 9))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for step in range(80):
        optimizer.zero_grad()
        model(batch, step).total.backward()
        optimizer.step()
    known = dataclasses.replace(batch, length_B=batch.length_B - 1)
    with torch.no_grad():
        scores = model.user_vectors(known) @ model.item_vectors(model.table.catalogue_N).T
    last = batch.item_BT[torch.arange(3), batch.length_B - 1]
    assert model.table.catalogue_N[scores.argmax(1)].tolist() == last.tolist()
