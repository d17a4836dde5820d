"""The user's features as prefix tokens, against the equations."""

import equations
import torch
from equality import probed, same_gradients, same_values, stacked
from hypothesis import given
from hypothesis import strategies as st
from made_up import (
    FEATURES,
    QUICK,
    USER_FEATURES,
    made_up_batch,
    model_config,
    scrambled,
    weights_of,
)

from heterrec_model.data.chosen_features import FeatureInfo
from heterrec_model.layers.user_tokens import UserTokens


@QUICK
@given(
    chosen=st.sampled_from([USER_FEATURES, USER_FEATURES[:1], USER_FEATURES[1:]]),
    users=st.integers(1, 3),
    seed=st.integers(0, 99),
)
def test_values_and_gradients_are_those_of_the_equations(
    chosen: tuple[object, ...], users: int, seed: int
) -> None:
    names = [f.name for f in USER_FEATURES if f in chosen]
    side = scrambled(UserTokens(model_config(), [f for f in USER_FEATURES if f in chosen]), seed)
    weights = weights_of(side)
    features = made_up_batch([1] * users, seed=seed).user_features
    got = side(features)
    rows = []
    for b in range(users):
        cells = {n: features[n][b].reshape(-1).tolist() for n in names}
        real = {n: [token for token in cell if token] for n, cell in cells.items()}
        rows.append(equations.user_tokens(weights, real))
    same_values(got, stacked(rows))
    same_gradients(probed(got), probed(stacked(rows)), weights)


def test_without_features_there_is_no_prefix() -> None:
    side = UserTokens(model_config(), [])
    assert side({}) is None
    assert weights_of(side) == {}


def test_an_embedding_feature_keeps_its_groups_apart() -> None:
    side = scrambled(UserTokens(model_config(), [FEATURES[3]]))
    swapped = side({"look": torch.tensor([[2, 3], [3, 2]])})
    assert not torch.allclose(swapped[0], swapped[1])


def test_features_may_have_the_names_that_pytorch_uses() -> None:
    features = [FeatureInfo(n, "categorical", 6, 0, 1) for n in ("type", "values", "pop")]
    side = UserTokens(model_config(), features)
    found = side({f.name: torch.tensor([2]) for f in features})
    assert found is not None
    assert found.shape == (1, 3, 4)
