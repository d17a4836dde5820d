from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch
from loader_helpers import write_generation

from heterrec_model.data.chosen_features import FeatureInfo
from heterrec_model.data.token_table import TokenTable, open_token_table
from heterrec_schemas import Generation, open_generation
from heterrec_schemas.errors import CallError
from heterrec_schemas.testing import Changes, Settings, child_generation, shop, small_generation

FEATURES = ["category", "brand", "path", "price", "look"]


@pytest.fixture(scope="module", params=["generation", "rich"])
def opened(request: pytest.FixtureRequest) -> tuple[Generation, TokenTable]:
    """A generation and its token table."""
    generation: Generation = request.getfixturevalue(request.param)
    return generation, open_token_table(generation)


def cell(table: TokenTable, feature: FeatureInfo, item: int) -> list[int]:
    place = slice(feature.start, feature.start + feature.columns)
    cells: list[int] = table.tokens_IC[item, place].tolist()
    return cells


def test_a_row_holds_what_the_item_shards_say(opened: tuple[Generation, TokenTable]) -> None:
    generation, table = opened
    items = generation.items().to_pylist()
    assert [feature.name for feature in table.features] == FEATURES
    for item in items:
        for feature in table.features:
            tokens = item[feature.name]
            tokens = tokens if isinstance(tokens, list) else [tokens]
            padding = [0] * (feature.columns - len(tokens))
            assert cell(table, feature, item["item_index"]) == tokens + padding
    assert table.catalogue_N.tolist() == [item["item_index"] for item in items]
    assert table.tokens_IC.dtype == torch.int32


def test_ids_without_an_item_are_missing_and_padding_is_zero(
    opened: tuple[Generation, TokenTable],
) -> None:
    generation, table = opened
    known = set(table.catalogue_N.tolist())
    without = [i for i in range(1, len(table.tokens_IC)) if i not in known]
    assert len(without) == generation.spec.first_item_index - 1
    for feature in table.features:
        for item in without:
            ones = feature.groups or 1
            missing = [1] * ones + [0] * (feature.columns - ones)
            assert cell(table, feature, item) == missing
    assert not table.tokens_IC[0].any()
    assert len(table.tokens_IC) == generation.manifest.item_vocabulary_size


def test_the_columns_are_described(generation: Generation) -> None:
    table = open_token_table(generation)
    paths = generation.items(["path"])["path"].to_pylist()
    longest = max(map(len, paths))
    sizes = {f.name: f.vocabulary_size for f in generation.manifest.features if f.side == "item"}
    assert longest > 1
    assert table.features == (
        FeatureInfo("category", "categorical", sizes["category"], 0, 1),
        FeatureInfo("brand", "categorical", sizes["brand"], 1, 1),
        FeatureInfo("path", "categorical", sizes["path"], 2, longest, multivalued=True),
        FeatureInfo("price", "numeric", sizes["price"], 2 + longest, 1),
        FeatureInfo(
            "look",
            "embedding",
            sizes["look"],
            3 + longest,
            4,
            quantizer="quantile",
            dim=16,
            width=16,
        ),
    )
    assert table.tokens_IC.shape[1] == 3 + longest + 4
    assert (table.tokens_IC < max(sizes.values())).all()
    assert table.behaviours == 5
    assert table.generation_id == generation.manifest.generation
    assert table.content_sha256 == generation.manifest.content_sha256


def test_user_features_are_described(generation: Generation, rich: Generation) -> None:
    likes = generation.sequences("latest", ["user_likes"])["user_likes"].to_pylist()
    sizes = {f.name: f.vocabulary_size for f in generation.manifest.features if f.side == "user"}
    assert open_token_table(generation).user_features == (
        FeatureInfo("age", "categorical", sizes["age"], 0, 1),
        FeatureInfo("age_bin", "numeric", sizes["age_bin"], 0, 1),
        FeatureInfo("likes", "categorical", sizes["likes"], 0, max(map(len, likes)), True),
        FeatureInfo(
            "taste", "embedding", sizes["taste"], 0, 3, quantizer="quantile", dim=6, width=6
        ),
    )
    chosen = open_token_table(rich, user_features=["age_bin"]).user_features
    assert [feature.name for feature in chosen] == ["age_bin"]


def test_values_are_equal_where_cells_are(opened: tuple[Generation, TokenTable]) -> None:
    _, table = opened
    for k, feature in enumerate(table.features):
        keys: dict[Any, int] = {}
        for item, value in enumerate(table.value_IK[:, k].tolist()):
            tokens = cell(table, feature, item)
            key = tuple(sorted(tokens)) if feature.multivalued else tuple(tokens)
            assert keys.setdefault(key, value) == value
        assert len(set(keys.values())) == len(keys)
    assert table.value_IK.dtype == torch.int64


def test_training_counts(opened: tuple[Generation, TokenTable]) -> None:
    generation, table = opened
    counts = generation.item_counts().to_pydict()
    known = dict(zip(counts["item_index"], counts["train_count"], strict=True))
    assert table.train_count_I.tolist() == [known.get(i, 0) for i in range(len(table.tokens_IC))]


def test_item_ids_are_text_in_the_order_asked_for(opened: tuple[Generation, TokenTable]) -> None:
    generation, table = opened
    items = generation.items(["item_index", "item_id"]).to_pydict()
    known = dict(zip(items["item_index"], items["item_id"], strict=True))
    asked = [*table.catalogue_N.tolist()[::-7], int(table.catalogue_N[-1])]
    assert table.item_ids(asked) == [str(known[item]) for item in asked]
    assert table.item_ids([]) == []
    with pytest.raises(CallError, match="no item with item_index 1 "):
        table.item_ids([asked[0], 1])


def test_features_are_chosen_by_name_in_the_order_of_the_spec(generation: Generation) -> None:
    whole = open_token_table(generation)
    table = open_token_table(generation, features=["look", "brand"], user_features=())
    assert [(f.name, f.start) for f in table.features] == [("brand", 0), ("look", 1)]
    look = whole.features[4]
    assert torch.equal(table.tokens_IC[:, 1:], whole.tokens_IC[:, look.start :])
    assert torch.equal(table.value_IK, whole.value_IK[:, [1, 4]])
    assert table.user_features == ()


def test_no_feature_at_all(generation: Generation) -> None:
    table = open_token_table(generation, features=(), user_features=())
    assert table.features == ()
    assert table.tokens_IC.shape == (len(table.train_count_I), 0)
    assert table.value_IK.shape == (len(table.train_count_I), 0)
    assert len(table.catalogue_N) == 60


def test_unknown_features_are_named_with_near_ones(generation: Generation) -> None:
    with pytest.raises(CallError, match=r"no item feature 'brnad'.*Did you mean 'brand'"):
        open_token_table(generation, features=["brnad"])
    with pytest.raises(CallError, match=r"no user feature 'ages'.*Did you mean 'age'"):
        open_token_table(generation, user_features=["ages"])


def test_more_item_shards_than_items(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("few")
    goods = shop(1, items=3, users=5, interactions=80)
    generation = write_generation(folder, settings=Settings(item_shards=5), goods=goods)
    assert open_token_table(generation).catalogue_N.tolist() == [2, 3, 4]


def test_lists_are_compared_as_sets(tmp_path_factory: pytest.TempPathFactory) -> None:
    goods = shop(1)
    paths = [[["Hair"], ["Bath"]], [["Bath"], ["Hair"]], [["Bath"]]] * 20
    kind = goods.items.schema.field("categories").type
    items = goods.items.set_column(2, "categories", pa.array(paths, kind))
    generation = write_generation(
        tmp_path_factory.mktemp("sets"), goods=replace(goods, items=items)
    )
    table = open_token_table(generation, features=["path"])
    known = dict(zip(generation.items()["item_id"].to_pylist(), table.catalogue_N, strict=True))
    two, turned, one = (int(known[key]) for key in items["item_id"].to_pylist()[:3])
    assert table.tokens_IC[two].tolist() == table.tokens_IC[turned].tolist()[::-1]
    assert table.value_IK[two] == table.value_IK[turned] != table.value_IK[one]


@pytest.fixture
def refreshed(tmp_path: Path) -> tuple[list[dict[str, Any]], Generation]:
    """Items of a build, and its child: the first two are retired, a later one is erased.

    The brand of the first is erased too, and the second node in the path of the second.
    """
    parent = open_generation(small_generation(tmp_path))
    items = parent.items().to_pylist()
    brands, paths = (
        {r["id"]: r["value"] for r in parent.vocabulary(name).to_pylist()}
        for name in ("brand", "path")
    )
    branded = [item for item in items if item["brand"] in brands]
    retired, erased = branded[:2], branded[4]
    assert retired[0]["brand"] != retired[1]["brand"]
    changes = Changes(
        new={"NEW": retired[0]["item_id"]},
        retire=[item["item_id"] for item in retired],
        erase=[erased["item_id"]],
        erase_values={
            "brand": [brands[retired[0]["brand"]]],
            "path": [paths[retired[1]["path"][1]]],
        },
    )
    return [*retired, erased], open_generation(child_generation(tmp_path, changes))


def test_retired_items_have_tokens_and_erased_values_are_missing(
    refreshed: tuple[list[dict[str, Any]], Generation], tmp_path: Path
) -> None:
    (first, second, erased), generation = refreshed
    table = open_token_table(generation)
    new = generation.manifest.item_vocabulary_size - 1
    assert table.retired_M.tolist() == [first["item_index"], second["item_index"]]
    assert table.catalogue_N.tolist() == generation.items()["item_index"].to_pylist()
    assert not {*table.catalogue_N.tolist()} & {*table.retired_M.tolist(), erased["item_index"]}
    assert table.catalogue_N[-1] == new
    for feature in table.features:
        for item in (first, second):
            tokens = (
                item[feature.name] if isinstance(item[feature.name], list) else [item[feature.name]]
            )
            if (item, feature.name) == (first, "brand"):
                tokens = [1]
            if (item, feature.name) == (second, "path"):
                del tokens[1]
            padding = [0] * (feature.columns - len(tokens))
            assert cell(table, feature, item["item_index"]) == tokens + padding
        assert cell(table, feature, erased["item_index"])[0] == 1
    cached = [open_token_table(generation, cache=tmp_path / "cache") for _ in range(2)][1]
    for name in ("tokens_IC", "value_IK", "catalogue_N", "retired_M", "train_count_I", "trained_I"):
        assert torch.equal(getattr(cached, name), getattr(table, name))
    names = table.item_ids([new, first["item_index"]])
    assert names == ["NEW", first["item_id"]]
    with pytest.raises(CallError, match="there is no item with item_index"):
        table.item_ids([erased["item_index"]])
