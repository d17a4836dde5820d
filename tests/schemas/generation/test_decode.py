import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heterrec_schemas import Generation
from heterrec_schemas.feature_spec import EmbeddingFeature, QuantileEmbedding, ResidualEmbedding
from heterrec_schemas.generation.decode import (
    decode_category,
    decode_cells,
    decode_embedding,
    decode_number,
    vocabulary_values,
)
from heterrec_schemas.testing import shop
from heterrec_schemas.tokens import numeric_tokens
from heterrec_schemas.values import value_text

PLAIN = {"name": "look", "kind": "embedding", "column": "look"}


def embedding(**sizes: Any) -> EmbeddingFeature:
    kind = ResidualEmbedding if "levels" in sizes else QuantileEmbedding
    return kind.model_validate(PLAIN | sizes)


EDGES = np.array([2.5, 4.0, 1e9])


@pytest.mark.parametrize(
    ("token", "words"),
    [
        (0, "(padding)"),
        (1, "(missing)"),
        (2, "[-inf, 2.5)"),
        (3, "[2.5, 4)"),
        (4, "[4, 1000000000)"),
        (5, "[1000000000, inf]"),
        (6, "(bin 4, of which there are 4)"),
    ],
)
def test_a_bin_in_words(token: int, words: str) -> None:
    assert decode_number(token, EDGES)["words"] == words


def test_one_bin_holds_everything() -> None:
    assert decode_number(2, np.array([]))["words"] == "[-inf, inf]"


@given(
    st.floats(),
    st.sets(st.floats(-1e9, 1e9) | st.integers(-3, 3).map(float), max_size=6),
)
def test_a_number_lies_in_its_decoded_bin(value: float, edges: set[float]) -> None:
    ascending = np.array(sorted(edges), np.float64)
    cell = decode_number(int(numeric_tokens(np.array([value]), ascending)[0]), ascending)
    if math.isnan(value):
        assert (cell["low"], cell["high"], cell["words"]) == (None, None, "(missing)")
        return
    assert cell["low"] is None or cell["low"] <= value
    assert cell["high"] is None or value < cell["high"]
    assert (cell["low"] is None) == (not any(e <= value for e in edges))
    assert (cell["high"] is None) == (not any(e > value for e in edges))


@pytest.mark.parametrize(
    ("token", "value", "words"),
    [
        (0, None, "(padding)"),
        (1, None, "(missing)"),
        (2, None, "(out of vocabulary, bucket 0 of 2)"),
        (3, None, "(out of vocabulary, bucket 1 of 2)"),
        (4, "Sony", "Sony"),
        (5, None, "(id 5, which the vocabulary lacks)"),
    ],
)
def test_a_category_in_words(token: int, value: str | None, words: str) -> None:
    cell = decode_category([token], {4: "Sony"}, 2, multivalued=False)
    assert cell == {"kind": "categorical", "token": token, "value": value, "words": words}


def test_the_first_id_behind_the_buckets_is_no_bucket() -> None:
    words = decode_category([4], {}, 2, multivalued=False)["words"]
    assert words == "(id 4, which the vocabulary lacks)"


def test_several_categories_in_words() -> None:
    assert decode_category([5, 2, 4], {4: 7, 5: 3}, 2, multivalued=True) == {
        "kind": "categorical",
        "tokens": [5, 2, 4],
        "values": [3, None, 7],
        "words": "3, (out of vocabulary, bucket 0 of 2), 7",
    }


def test_embedding_tokens_in_words() -> None:
    # Bins 1 0 | 2 2 with three quantiles: 1 + 0 * 3 and 2 + 2 * 3.
    assert decode_embedding([3, 10], embedding(dim=4, groups=2, quantiles=3)) == {
        "kind": "embedding",
        "tokens": [3, 10],
        "codes": [1, 8],
        "bins": [1, 0, 2, 2],
        "bin_counts": [1, 1, 2],
        "words": "2 codes (1 8); dimensions per bin: 1 1 2",
    }
    missing = decode_embedding([1, 1], embedding(dim=4, groups=2, quantiles=3))
    assert (missing["words"], missing["codes"], missing["bins"]) == ("(missing)", None, None)
    many = decode_embedding([2] * 9, embedding(dim=9, groups=9, quantiles=2))
    assert many["words"].startswith("9 codes (0 0 0 0 0 0 0 0 ...);")


def test_codes_of_codebooks_in_words() -> None:
    feature = embedding(dim=4, quantizer="rq", levels=2, codes=8)
    assert decode_embedding([3, 9], feature) == {
        "kind": "embedding",
        "tokens": [3, 9],
        "codes": [1, 7],
        "words": "2 codes (1 7)",
    }
    missing = {"kind": "embedding", "tokens": [1, 1], "codes": None, "words": "(missing)"}
    assert decode_embedding([1, 1], feature) == missing


def test_the_items_decode_to_what_the_shop_sells(generation: Generation) -> None:
    raw = {row["item_id"]: row for row in shop(0).items.to_pylist()}
    items = generation.items().to_pylist()
    cells = {
        f.name: decode_cells(generation, f.name, [item[f.name] for item in items])
        for f in generation.spec.items.features
    }
    for n, item in enumerate(items):
        sold = raw[item["item_id"]]
        assert cells["category"][n]["value"] == value_text(sold["category"])
        brand = value_text(sold["brand"])
        if cells["brand"][n]["value"] is not None:
            assert cells["brand"][n]["value"] == brand
        elif brand in (None, "Unknown"):
            assert cells["brand"][n]["words"] == "(missing)"
        else:
            assert "out of vocabulary" in cells["brand"][n]["words"]
        paths = [" > ".join(p[: k + 1]) for p in sold["categories"] or [] for k in range(len(p))]
        values: list[Any] = [*dict.fromkeys(paths)][:3]
        assert cells["path"][n]["values"] == (values or [None])
        low, high = cells["price"][n]["low"], cells["price"][n]["high"]
        if sold["price"] is None:
            assert cells["price"][n]["words"] == "(missing)"
        else:
            assert (low or -math.inf) <= sold["price"] < (high or math.inf)
        if sold["vector"] is None:
            assert cells["look"][n]["codes"] is None
        else:
            edges = generation.quantizers("look")
            assert cells["look"][n]["bins"] == (np.array(sold["vector"]) >= edges).sum(0).tolist()


def test_a_users_feature_is_decoded_by_its_side(generation: Generation) -> None:
    (cell,) = decode_cells(generation, "age", [2], side="user")
    assert cell["value"] == generation.vocabulary("user_age")["value"][0].as_py()


def test_only_the_values_asked_for_are_looked_up(generation: Generation) -> None:
    whole = generation.vocabulary("brand").to_pylist()
    some = {whole[0]["id"], whole[3]["id"]}
    assert vocabulary_values(generation, "brand", [0, 1, 2, *some]) == {
        row["id"]: row["value"] for row in whole if row["id"] in some
    }
    assert vocabulary_values(generation, "brand", [0, 1]) == {}
