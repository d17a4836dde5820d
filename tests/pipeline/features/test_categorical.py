from collections import Counter
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pieces import QUICK, categorical, cut, written_file

from heterrec_pipeline.features.categorical import (
    FindIds,
    collect,
    encode,
    erased_texts,
    merge,
    parse,
    texts,
)
from heterrec_pipeline.job import ErasingFeature
from heterrec_pipeline.reading.erased import ErasedList
from heterrec_pipeline.reading.formats.jsonl import typed
from heterrec_pipeline.text_lookup import Lookup
from heterrec_schemas.errors import SchemaMismatchError
from heterrec_schemas.feature_spec import CategoricalFeature
from heterrec_schemas.hashing import stable_hash
from heterrec_schemas.tokens import number_vocabulary
from heterrec_schemas.values import Seen, value_text

# Blanks, a missing value, two spellings of one text, and few distinct ones, so that they repeat.
WORDS = st.sampled_from(["a", " a ", "b", "c|a", "", "?", "e\u0301", "é", "  "])
NODES = WORDS | st.none()
CELLS = {
    "plain": NODES,
    "list": st.none() | st.lists(NODES, max_size=4),
    "paths": st.none() | st.lists(st.lists(NODES, max_size=3) | st.none(), max_size=3),
}
TYPES = {
    "plain": [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())],
    "list": [pa.list_(pa.string()), pa.large_list(pa.string()), pa.list_view(pa.string())],
    "paths": [pa.list_(pa.list_(pa.string())), pa.list_(pa.large_list(pa.string()))],
}


def vocabulary(feature: CategoricalFeature, counts: pa.Table) -> pa.Table:
    """The vocabulary of some counts, by the plain rule."""
    return number_vocabulary(
        pl.DataFrame(pl.from_arrow(counts)),
        integral=False,
        oov_buckets=feature.oov_buckets,
        shards=feature.shards,
        min_count=feature.min_count,
        max_size=feature.max_size,
    ).to_arrow()


def ids_of(fitted: pa.Table) -> FindIds:
    return Lookup(pl.Series(fitted["value"]), pl.Series(fitted["id"])).find


def column_of(cells: list[Any], kind: pa.DataType) -> pa.Array:
    if pa.types.is_dictionary(kind):
        return pa.array(cells, pa.string()).dictionary_encode()
    return pa.array(cells, kind)


def present(feature: CategoricalFeature, nodes: list[Any]) -> list[str]:
    made = [value_text(n) for n in nodes]
    return [m for m in made if m is not None and m not in feature.missing_values]


def values_of(feature: CategoricalFeature, cell: Any) -> list[str]:
    """The values of one cell, by the letter."""
    if isinstance(cell, str) and feature.separator is not None:
        cell = cell.split(feature.separator)
    if not isinstance(cell, list):
        return present(feature, [cell])
    if not any(isinstance(part, list) for part in cell):
        return present(feature, cell)
    values: list[str] = []
    for path in cell:
        nodes = present(feature, path or [])
        if feature.nested == "leaf":
            values += nodes[-1:]
        elif feature.nested == "prefixes":
            values += [" > ".join(nodes[: k + 1]) for k in range(len(nodes))]
        else:
            values += nodes
    return values


FEATURES = st.builds(
    categorical,
    missing_values=st.sampled_from([[], ["?"], ["?", "b"]]),
    oov_buckets=st.integers(0, 3),
    min_count=st.integers(1, 3),
    max_size=st.none() | st.integers(1, 3),
    shards=st.none() | st.integers(1, 3),
)
MANY_VALUED = {
    "multivalued": st.just(True),
    "nested": st.sampled_from([None, "leaf", "nodes", "prefixes"]),
    "separator": st.sampled_from([None, "|"]),
    "max_values": st.none() | st.integers(1, 3),
}


@st.composite
def features_and_cells(draw: st.DrawFn) -> tuple[CategoricalFeature, list[Any], pa.Array]:
    shape = draw(st.sampled_from(sorted(CELLS)))
    feature = draw(FEATURES)
    if shape != "plain" or draw(st.booleans()):
        feature = feature.model_copy(update={k: draw(v) for k, v in MANY_VALUED.items()})
    cells = draw(st.lists(CELLS[shape], min_size=1, max_size=7))
    column = column_of(
        ["pad", *cells] if shape == "plain" else [[], *cells], draw(st.sampled_from(TYPES[shape]))
    )
    return feature, cells, column.slice(1)


@QUICK
@given(features_and_cells())
def test_texts_are_those_of_each_cell(
    drawn: tuple[CategoricalFeature, list[Any], pa.Array],
) -> None:
    feature, cells, column = drawn
    long, seen = texts(feature, column)
    rows: list[list[str]] = [[] for _ in cells]
    for row, value in long.iter_rows():
        rows[row].append(value)
    assert rows == [values_of(feature, c) for c in cells]
    assert long["row"].is_sorted()
    assert seen in (Seen.TEXT, Seen.NOTHING)


@QUICK
@given(features_and_cells(), st.lists(st.integers(0, 7), max_size=3))
def test_counting_fitting_and_encoding_by_hand(
    drawn: tuple[CategoricalFeature, list[Any], pa.Array], points: list[int]
) -> None:
    feature, cells, column = drawn
    values = [values_of(feature, c) for c in cells]
    want = Counter(v for row in values for v in set(row))
    parts = [p for p in cut(pa.table({"c": column}), points)]
    chunks = [p["c"].combine_chunks() for p in parts]
    parsed = [parse(feature, c).values for c in chunks]
    counts = merge(feature, [collect(feature, c, pl.Series([]), 9) for c in parsed])
    assert dict(zip(counts["value"].to_pylist(), counts["count"].to_pylist(), strict=True)) == want
    fitted = vocabulary(feature, counts)

    frequent = [(v, n) for v, n in want.items() if n >= feature.min_count]
    frequent.sort(key=lambda vn: (-vn[1], vn[0].encode()))
    frequent = frequent[: feature.max_size]
    shards = feature.shards or 1
    frequent.sort(key=lambda vn: (stable_hash(vn[0]) % shards, -vn[1], vn[0].encode()))
    ids = {v: 2 + feature.oov_buckets + k for k, (v, _) in enumerate(frequent)}
    assert fitted["value"].to_pylist() == list(ids)
    assert fitted["id"].to_pylist() == list(ids.values())

    def token(value: str) -> int:
        outside = 2 + stable_hash(value) % feature.oov_buckets if feature.oov_buckets else 1
        return ids.get(value, outside)

    tokens: list[Any] = []
    for row in values:
        found = list(dict.fromkeys(t for t in map(token, row) if t != 1))[: feature.max_values]
        tokens.append((found or [1]) if feature.multivalued else (token(row[0]) if row else 1))
    encoded = encode(feature, parse(feature, column).values, ids_of(fitted))
    assert encoded.tokens.to_pylist() == tokens
    assert encoded.tokens.type == (pa.list_(pa.int32()) if feature.multivalued else pa.int32())
    assert encoded.oov_rows == sum(any(v not in ids for v in row) for row in values)


@pytest.mark.parametrize(
    ("buckets", "longest", "cells", "tokens"),
    [
        (0, None, ["b", "a", "b", "a"], [[3, 2]]),
        (0, None, ["x", "b", "x"], [[3]]),
        (0, 1, ["x", "b", "a"], [[3]]),
        (0, None, ["x"], [[1]]),
        (1, None, ["x", "b", "y", "a"], [[2, 4, 3]]),
        (1, 2, ["b", "b", "y", "a"], [[4, 2]]),
    ],
)
def test_many_values_are_distinct_in_the_order_of_first_appearance(
    buckets: int, longest: int | None, cells: list[str], tokens: list[list[int]]
) -> None:
    feature = categorical(multivalued=True, oov_buckets=buckets, max_values=longest)
    counts = pa.table({"value": ["a", "b"], "count": [1, 1]})
    fitted = ids_of(vocabulary(feature, counts))
    values = parse(feature, pa.array([cells])).values
    assert encode(feature, values, fitted).tokens.to_pylist() == tokens


@pytest.mark.parametrize(
    ("column", "seen"),
    [
        (pa.array([1, None], pa.int8()), Seen.WHOLE),
        (pa.array([1.0, None]), Seen.WHOLE),
        (pa.array([1.5, 2.0]), Seen.WHOLE | Seen.FRACTION),
        (pa.array([["1"], []]), Seen.TEXT),
        (pa.array([[1], [2]]), Seen.WHOLE),
        (pa.array([[[1]], [[2, 3]]]), Seen.WHOLE),
        (pa.array([[[1.5]]]), Seen.FRACTION),
        (pa.array([[], None], pa.list_(pa.null())), Seen.NOTHING),
        (pa.array([True]), Seen.TEXT),
    ],
)
def test_what_the_values_are(column: pa.Array, seen: Seen) -> None:
    feature = categorical(multivalued=True)
    assert texts(feature, column)[1] == seen
    parsed = parse(feature, column)
    assert (parsed.seen, parsed.bad, parsed.erased) == (seen, [], False)


def test_prefixes_are_text_whatever_their_nodes() -> None:
    feature = categorical(multivalued=True, nested="prefixes")
    long, seen = texts(feature, pa.array([[[1, 2]], [[3]]]))
    assert long["value"].to_list() == ["1", "1 > 2", "3"]
    assert seen == Seen.TEXT
    assert texts(feature, pa.array([[[None]]], pa.list_(pa.list_(pa.int64()))))[1] == Seen.NOTHING


def test_cells_of_mixed_shapes_out_of_json() -> None:
    cells = ["a|b", ["c", ["d", None, "e"]], None, [["f"]], 3, [True, 2.0], ""]
    feature = categorical(multivalued=True, nested="prefixes", separator="|")
    column = typed(cells, "kind", "f")
    assert column.type == pa.binary()
    long, _ = texts(feature, column)
    assert long["row"].to_list() == [0, 0, 1, 1, 1, 3, 4, 5, 5]
    assert long["value"].to_list() == ["a", "b", "c", "d", "d > e", "f", "3", "true", "2"]


@pytest.mark.parametrize("column", [pa.array([["a"]]), pa.array([b'["a"]'], pa.binary())])
def test_lists_need_multivalued(column: pa.Array) -> None:
    with pytest.raises(SchemaMismatchError, match=r"'kind' holds lists.*multivalued: true"):
        texts(categorical(), column)


def test_no_numbers_out_of_decimals_and_structs() -> None:
    for column in (pa.array([{"a": 1}]), pa.array([[[["a"]]]])):
        with pytest.raises(SchemaMismatchError, match="'kind' cannot be a key or a category"):
            texts(categorical(multivalued=True), column)


def test_encoding_nothing_gives_nothing() -> None:
    fitted = ids_of(vocabulary(categorical(), pa.table({"value": ["a"], "count": [1]})))
    for feature, kind in (
        (categorical(), pa.int32()),
        (categorical(multivalued=True), pa.list_(pa.int32())),
    ):
        values = parse(feature, pa.array([], pa.string())).values
        assert encode(feature, values, fitted).tokens.equals(pa.array([], kind))


def test_partial_counts_add_up_whatever_their_order() -> None:
    one = pa.table({"value": ["a", "b"], "count": pa.array([1, 2])})
    two = pa.table({"value": ["b"], "count": pa.array([5])})
    empty = parse(categorical(), pa.array([], pa.string())).values
    none = collect(categorical(), empty, pl.Series([]), 9)
    for parts in ([one, two, none], [none, two, one]):
        merged = merge(categorical(), parts)
        assert sorted(zip(*merged.to_pydict().values(), strict=True)) == [("a", 1), ("b", 7)]


@pytest.mark.parametrize(
    ("nested", "gone"), [("nodes", ["b"]), ("prefixes", ["a > b", "b"]), ("leaf", ["b"])]
)
def test_erased_texts_of_paths(tmp_path: Path, nested: str, gone: list[str]) -> None:
    """A node is erased wherever it is in a path."""
    file = written_file(tmp_path / "gone.csv", b"key\nb\na > b\nz\n")
    plain = categorical(multivalued=True, nested=nested)
    feature = ErasingFeature(**dict(plain), erased=ErasedList("erase.values.kind", "key", (file,)))
    column = pa.array([[["a", "b", "c"], ["d"]], None, [["b"]]], TYPES["paths"][0])
    assert sorted(erased_texts(feature, column)) == gone
