"""The item tower, against the equations."""

import equations
import torch
from equality import probed, same_gradients, same_values, stacked
from hypothesis import given
from hypothesis import strategies as st
from made_up import QUICK, model_config, scrambled, weights_of

from heterrec_model.layers.item_tower import ItemTower


@QUICK
@given(
    items=st.integers(1, 4),
    tokens=st.integers(1, 4),
    id_skip=st.booleans(),
    token_skip=st.booleans(),
    item_id=st.booleans(),
    seed=st.integers(0, 99),
)
def test_values_and_gradients_are_those_of_the_equations(
    items: int, tokens: int, id_skip: bool, token_skip: bool, item_id: bool, seed: int
) -> None:
    config = model_config(
        item_id=item_id, item_tower={"id_skip": id_skip, "token_skip": token_skip}
    )
    tower = scrambled(ItemTower(config, tokens), seed)
    weights = weights_of(tower)
    random = torch.Generator().manual_seed(seed)
    e = torch.randn(items, tokens, 4, generator=random, dtype=torch.float64).requires_grad_()
    v, whole = tower(e)
    assert v.shape == (items, tokens, 4)
    assert whole.shape == (items, 4)
    pairs = [equations.item_tower(weights, list(item), config) for item in e]
    want_v, want_whole = stacked([p[0] for p in pairs]), stacked([p[1] for p in pairs])
    same_values(v, want_v)
    same_values(whole, want_whole)
    same_gradients(
        probed(v) + probed(whole, 1), probed(want_v) + probed(want_whole, 1), weights | {"e": e}
    )


def test_the_letter_is_the_mlps_alone() -> None:
    config = model_config(item_tower={"id_skip": False, "token_skip": False})
    tower = ItemTower(config, 3)
    with torch.no_grad():
        for weight in tower.parameters():
            weight.zero_()
    v, whole = tower(torch.ones(2, 3, 4))
    assert v.abs().max() == 0
    assert whole.abs().max() == 0
