"""The flattening layer, against the equations."""

import equations
import pytest
import torch
from equality import probed, same_gradients, same_values, stacked
from hypothesis import given
from hypothesis import strategies as st
from made_up import QUICK, model_config, scrambled, weights_of

from heterrec_model.layers.htfl import HTFL


@QUICK
@given(
    users=st.integers(1, 3),
    items=st.integers(1, 4),
    tokens=st.integers(1, 3),
    literal=st.booleans(),
    behaviours=st.sampled_from([0, 3]),
    wanted=st.booleans(),
)
def test_values_and_gradients_are_those_of_the_equations(
    users: int, items: int, tokens: int, literal: bool, behaviours: int, wanted: bool
) -> None:
    layer = scrambled(HTFL(model_config(literal=literal, behaviour=wanted), tokens, behaviours))
    weights = weights_of(layer)
    torch.manual_seed(0)
    e = torch.randn(users, items, tokens, 4, dtype=torch.float64, requires_grad=True)
    behaviour = torch.randint(0, 3, (users, items)) if behaviours else None
    h, raw = layer(e, behaviour)
    count = tokens + (behaviours > 0 and wanted)
    assert layer.tokens == count
    assert h.shape == (users, items * count, 4)
    pairs = [
        equations.flatten(
            weights,
            [list(item) for item in e[b]],
            None if behaviour is None else behaviour[b].tolist(),
        )
        for b in range(users)
    ]
    want_h = stacked([tokens for tokens, _ in pairs]).flatten(1, 2)
    want_raw = stacked([sums for _, sums in pairs])
    same_values(h, want_h)
    same_values(raw, want_raw)
    same_gradients(probed(h) + probed(raw), probed(want_h) + probed(want_raw), weights | {"e": e})


def test_the_letter_has_neither_positions_nor_types() -> None:
    layer = HTFL(model_config(literal=True), 2, 0)
    assert weights_of(layer) == {}
    e = torch.randn(1, 3, 2, 4)
    h, raw = layer(e, None)
    assert torch.equal(h, e.flatten(1, 2))
    assert torch.equal(raw, e.sum(2))


def test_tokens_of_an_item_share_its_position_and_types_tell_them_apart() -> None:
    layer = HTFL(model_config(literal=False), 2, 0)
    assert layer.positions is not None
    assert layer.types is not None
    with torch.no_grad():
        layer.types.zero_()
    e = torch.ones(1, 3, 2, 4)
    same, _ = layer(e, None)
    assert torch.equal(same[0, 0::2], same[0, 1::2])
    assert not torch.allclose(same[0, 0], same[0, 2])
    with torch.no_grad():
        layer.types.normal_()
    apart, _ = layer(e, None)
    assert not torch.allclose(apart[0, 0], apart[0, 1])


def test_dropout_is_for_training_and_spares_the_raw_sum() -> None:
    layer = HTFL(model_config(literal=True, dropout=0.5), 2, 0)
    e = torch.ones(1, 50, 2, 4)
    h, raw = layer.train()(e, None)
    assert set(h.flatten().tolist()) == {0.0, 2.0}
    assert torch.equal(raw, torch.full((1, 50, 4), 2.0))
    assert torch.equal(layer.eval()(e, None)[0], e.flatten(1, 2))


@pytest.mark.parametrize("literal", [True, False])
def test_behaviours_are_used_only_where_the_settings_want_them(literal: bool) -> None:
    assert HTFL(model_config(literal=literal, behaviour=False), 2, 4).behaviour is None
    assert HTFL(model_config(literal=literal, behaviour=True), 2, 0).behaviour is None
    assert HTFL(model_config(literal=literal, behaviour=True), 2, 4).tokens == 3
