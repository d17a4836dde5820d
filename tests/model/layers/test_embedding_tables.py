"""The lookup tables of Section 2.3, against the equations and by hand."""

import dataclasses
import math

import equations
import pytest
import torch
from equality import probed, same_gradients, same_values, stacked
from hypothesis import given
from hypothesis import strategies as st
from made_up import (
    FEATURES,
    FIRST_ITEM,
    OOV,
    QUICK,
    UNTRAINED,
    made_up_table,
    model_config,
    scrambled,
    weights_of,
)
from torch import Tensor

from heterrec_model.data.chosen_features import FeatureInfo
from heterrec_model.layers.embedding_tables import (
    CategoryTable,
    GroupTable,
    ItemTables,
)
from heterrec_model.layers.initial_codes import bin_centres, initial_weights
from heterrec_schemas import MISSING
from heterrec_schemas.errors import CallError

TABLE = made_up_table()
EVERY_ITEM = list(range(1, len(TABLE.tokens_IC)))


def tables(**model: object) -> ItemTables:
    made = ItemTables(model_config(**model), TABLE, {})
    scrambled(made)
    return made


@QUICK
@given(
    items=st.lists(st.sampled_from(EVERY_ITEM), min_size=1, max_size=6),
    item_id=st.booleans(),
    width=st.sampled_from([2, 4, 6]),
    embedding_width=st.integers(1, 9),
)
def test_values_and_gradients_are_those_of_the_equations(
    items: list[int], item_id: bool, width: int, embedding_width: int
) -> None:
    made = tables(item_id=item_id, width=width, embedding_width=embedding_width)
    weights = weights_of(made)
    trained = (TABLE.train_count_I > 0).tolist()
    want = [equations.item_embeddings(weights, TABLE, trained, item) for item in items]
    got = made(torch.tensor(items))
    assert got.shape == (len(items), len(FEATURES) + item_id, width)
    same_values(got, stacked(want))
    same_gradients(probed(got), probed(stacked(want)), weights)


def test_the_id_is_the_first_token() -> None:
    assert tables().names == ("item_id", "colour", "path", "price", "look")
    assert tables().tokens == 5
    assert tables(item_id=False).names == ("colour", "path", "price", "look")
    assert "item_id.weight" not in weights_of(tables(item_id=False))


def test_an_item_without_a_token_is_refused() -> None:
    with pytest.raises(CallError, match="an item needs a token"):
        ItemTables(model_config(item_id=False), made_up_table(features=()), {})


def test_untrained_and_unknown_items_share_the_row_for_missing() -> None:
    made = tables()
    untrained = [MISSING, OOV, *UNTRAINED]
    assert made.known_ids(torch.tensor(untrained)).tolist() == [MISSING] * 4
    trained = [i for i in EVERY_ITEM if i not in untrained]
    assert made.known_ids(torch.tensor(trained)).tolist() == trained
    same_values(made(torch.tensor(UNTRAINED))[:, 0], made.item_id.weight[[MISSING, MISSING]])


def test_ids_are_dropped_in_training_only_and_features_never() -> None:
    made = tables(id_dropout=0.25)
    item = torch.tensor([FIRST_ITEM, FIRST_ITEM + 1] * 2000)
    made.eval()
    plain = made(item)
    assert torch.equal(made.known_ids(item), item)
    made.train()
    torch.manual_seed(0)
    dropped = made(item)
    lost = (dropped[:, 0] == made.item_id.weight[MISSING]).all(1)
    assert torch.equal(dropped[~lost, 0], plain[~lost, 0])
    assert torch.equal(dropped[:, 1:], plain[:, 1:])
    # five standard deviations
    assert abs(float(lost.double().mean()) - 0.25) < 5 * math.sqrt(0.25 * 0.75 / len(item))


def test_no_id_is_dropped_where_the_share_is_zero() -> None:
    made = tables(id_dropout=0.0)
    item = torch.tensor([FIRST_ITEM] * 50)
    assert torch.equal(made.train().known_ids(item), item)


def test_a_cell_of_several_values_is_their_mean_without_the_padding() -> None:
    table = CategoryTable(4, 2, std=1.0)
    with torch.no_grad():
        table.weight.copy_(torch.tensor([[100.0, 100.0], [1.0, 2.0], [3.0, 4.0], [5.0, 12.0]]))
    cells = torch.tensor([[1, 0, 0], [3, 1, 0], [1, 2, 3]])
    found = table(cells)
    assert found.tolist() == [[1.0, 2.0], [3.0, 7.0], [3.0, 6.0]]
    found.sum().backward()
    assert table.weight.grad is not None
    assert table.weight.grad[0].tolist() == [0.0, 0.0]
    assert table.weight.grad[3].tolist() == pytest.approx([1 / 2 + 1 / 3] * 2)


def look(groups: int, dims: int, quantiles: int) -> FeatureInfo:
    """An embedding feature of `groups` groups with `dims` dimensions each."""
    return FeatureInfo(
        "look",
        "embedding",
        size=2 + quantiles**dims,
        start=0,
        columns=groups,
        quantizer="quantile",
        dim=groups * dims,
        width=groups * dims,
    )


@pytest.mark.parametrize(
    ("embedding_width", "composed"), [(1, 3), (3, 3), (4, 6), (6, 6), (7, 9), (12, 12)]
)
def test_groups_share_the_composed_width_and_are_projected_where_it_is_not_d(
    embedding_width: int, composed: int
) -> None:
    table = GroupTable(look(3, 1, 2), model_config(width=6, embedding_width=embedding_width), None)
    assert table.weight.shape == (3 * 4, composed / 3)
    assert isinstance(table.project, torch.nn.Identity) == (composed == 6)
    assert table(torch.tensor([[2, 3, 2]])).shape == (1, 6)


def test_the_papers_tables_have_width_d_and_are_shared() -> None:
    config = model_config(width=6, embedding_width="width", group_tables="shared")
    table = GroupTable(look(3, 1, 2), config, None)
    assert table.weight.shape == (4, 2)
    assert isinstance(table.project, torch.nn.Identity)
    assert table(torch.tensor([[2, 3, 2]])).tolist() == [
        [*table.weight[2].tolist(), *table.weight[3].tolist(), *table.weight[2].tolist()]
    ]


def test_levels_that_do_not_divide_the_width_are_refused_with_the_nearest() -> None:
    levels = FeatureInfo("look", "embedding", 10, 0, 6, quantizer="rq", dim=7, width=7)
    with pytest.raises(CallError) as caught:
        GroupTable(levels, model_config(width=64, embedding_width="width"), None)
    message = caught.value.message
    assert "the levels of feature 'look' do not divide model.width: got 6 levels" in message
    assert "the nearest is 4. Build the generation with levels: 4, set model.width" in message


@pytest.mark.parametrize(
    ("groups", "dims", "width", "nearest"),
    [(128, 3, 64, 64), (48, 8, 64, 32), (20, 3, 64, 4), (6, 16, 64, 4), (5, 1, 16, 1)],
)
def test_groups_that_do_not_divide_the_width_are_refused_with_the_nearest(
    groups: int, dims: int, width: int, nearest: int
) -> None:
    assert (groups * dims) % nearest == width % nearest == 0
    config = model_config(width=width, embedding_width="width")
    with pytest.raises(CallError) as caught:
        GroupTable(look(groups, dims, 2), config, None)
    message = caught.value.message
    assert f"got {groups} groups and model.width: {width}" in message
    assert f"the nearest that its {groups * dims} dimensions allow is {nearest}" in message
    assert f"set model.width to a multiple of {groups}" in message


def test_items_without_interactions_may_have_their_own_embeddings() -> None:
    made = tables(share_missing=False)
    every = torch.tensor(EVERY_ITEM)
    assert made.known_ids(every).tolist() == EVERY_ITEM


def test_equal_tokens_of_different_groups_are_different_rows() -> None:
    table = GroupTable(look(2, 1, 2), model_config(width=2, embedding_width=2), None)
    with torch.no_grad():
        table.weight.copy_(torch.arange(8.0)[:, None])
    assert table(torch.tensor([[2, 2], [1, 3]])).tolist() == [[2.0, 6.0], [1.0, 7.0]]


def test_tables_start_at_the_vectors_of_their_codes() -> None:
    config = model_config(width=4, embedding_width=4, table_std=0.3)
    codes: dict[str, Tensor] = {"look": bin_centres(torch.zeros(1, 4), 2)}
    started = ItemTables(config, TABLE, codes).tables["feature_look"]
    assert isinstance(started, GroupTable)
    assert torch.equal(started.weight, initial_weights(codes["look"], 6, 2, 0.3).flatten(0, 1))
    random = ItemTables(config, TABLE, {}).tables["feature_look"]
    assert isinstance(random, GroupTable)
    assert (random.weight != 0).all()


def test_only_the_id_table_is_sparse() -> None:
    made = ItemTables(model_config(), TABLE, {}, sparse=True)
    made(torch.tensor([FIRST_ITEM])).sum().backward()
    sparse = {
        name for name, w in made.named_parameters() if w.grad is not None and w.grad.is_sparse
    }
    assert sparse == {"item_id.weight"}


def test_features_may_have_the_names_that_pytorch_uses() -> None:
    names = ("type", "items", "values", "keys", "train", "half", "forward", "training")
    features = [FeatureInfo(n, "categorical", 6, 0, 1) for n in names]
    table = dataclasses.replace(TABLE, features=tuple(features))
    assert ItemTables(model_config(), table, {})(torch.tensor([3])).shape == (1, 9, 4)
