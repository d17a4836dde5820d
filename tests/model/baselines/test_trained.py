"""What all trained baselines share: nothing leaks from later items, other users or padding."""

import dataclasses
from typing import Any

import pytest
import torch
from equality import same_gradients, same_values
from made_up import (
    encoded,
    made_up_baseline,
    made_up_batch,
    made_up_config,
    padded,
    weights_of,
)

SEED = 11
NAMES = ["bert4rec", "hstu", "pinnerformer", "sasrec_time"]


def config(name: str, **sections: Any) -> Any:
    return made_up_config({"name": name, "item_blocks": 2, "max_length": 7}, **sections)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("place", [1, 4])
def test_a_later_interaction_changes_no_earlier_output(name: str, place: int) -> None:
    model = made_up_baseline(config(name))
    batch = made_up_batch([5, 5])
    later = torch.arange(5) >= place
    assert batch.behaviour_BT is not None
    changed = dataclasses.replace(
        batch,
        item_BT=torch.where(later, (batch.item_BT - 3 + 5) % 14 + 3, batch.item_BT),
        timestamp_BT=batch.timestamp_BT + later * 86_400_000 * 40,
        behaviour_BT=torch.where(later, batch.behaviour_BT % 3 + 1, batch.behaviour_BT),
    )
    before, after = encoded(model, batch).u_BTD, encoded(model, changed).u_BTD
    assert torch.equal(before[:, :place], after[:, :place])
    assert not torch.isclose(before[:, place:], after[:, place:]).all(2).any()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("source", ["mixed", "in_batch_same_position"])
def test_padding_changes_nothing(name: str, source: str) -> None:
    model = made_up_baseline(config(name, negatives={"source": source}))
    batch = made_up_batch([4, 2, 1])
    wide = padded(batch, 7)
    blank = ~wide.valid_BT()
    assert wide.behaviour_BT is not None
    dirty = dataclasses.replace(
        wide,
        item_BT=wide.item_BT.masked_fill(blank, 5),
        timestamp_BT=wide.timestamp_BT.masked_fill(blank, 3),
        behaviour_BT=wide.behaviour_BT.masked_fill(blank, 2),
    )

    def loss(given: Any) -> Any:
        torch.manual_seed(SEED)  # of the draws of masks and targets
        return model(given, SEED).total

    for other in (wide, dirty):
        same_gradients(loss(other), loss(batch), weights_of(model))
        same_values(model.user_vectors(other), model.user_vectors(batch))


@pytest.mark.parametrize("name", NAMES)
def test_every_weight_has_a_gradient_also_without_a_position(name: str) -> None:
    model = made_up_baseline(config(name))
    batch = made_up_batch([1])
    blank = dataclasses.replace(batch, item_BT=torch.zeros_like(batch.item_BT))
    total = model(blank, SEED).total
    total.backward()
    assert float(total.detach()) == 0
    assert all(w.grad is not None and not w.grad.any() for w in weights_of(model).values())
