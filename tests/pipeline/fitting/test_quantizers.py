from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from apache_beam.pvalue import TaggedOutput
from hypothesis import given
from hypothesis import strategies as st
from pieces import QUICK, embedding, excluded_rows, table_job, written_file

from heterrec_pipeline.fitting import quantizers
from heterrec_pipeline.fitting.quantizers import (
    blocks,
    fit_blocks,
    join_blocks,
    plan_passes,
)
from heterrec_pipeline.fitting.sample import SLACK, BlockSample
from heterrec_pipeline.reading.files import Split
from heterrec_schemas.codebooks import books_of
from heterrec_schemas.errors import DataError
from heterrec_schemas.hashing import stable_hash
from heterrec_schemas.testing.reference_codebooks import fit_books


def by_hand(rows: dict[str, list[float]], limit: int, quantiles: int) -> list[list[float]]:
    """Edges [q - 1][W] over the rows of the smallest (hash, key)."""
    keys = sorted(rows, key=lambda k: (stable_hash(k), k))[:limit]
    columns = [sorted(c) for c in zip(*(rows[k] for k in keys), strict=True)]
    n = len(keys)
    ranks = [-(-(n - 1) * i // quantiles) for i in range(1, quantiles)]
    return [[column[r] for column in columns] for r in ranks]


@QUICK
@given(st.data(), st.integers(1, 8), st.integers(1, 3), st.integers(2, 5))
def test_edges_hold_for_any_order_and_any_batches(
    data: st.DataObject, limit: int, width: int, quantiles: int
) -> None:
    value = st.integers(-3, 3).map(float) | st.just(-0.0)
    vector = st.lists(value, min_size=width, max_size=width)
    rows = data.draw(st.dictionaries(st.text(max_size=2), vector, min_size=1, max_size=25))
    keys = data.draw(st.permutations(sorted(rows)))
    sizes = data.draw(st.lists(st.integers(1, 9), min_size=25, max_size=25))
    sample = BlockSample(width, len(rows), limit)
    start = 0
    for size in sizes:
        some = keys[start : start + size]
        start += size
        values = np.array([rows[k] for k in some], np.float32).reshape(-1, width)
        sample.add(values, pl.Series(some, dtype=pl.String))
    found = sample.edges(quantiles)
    want = by_hand(rows, limit if len(rows) > limit else len(rows), quantiles)
    assert found.tolist() == want
    assert not np.signbit(found[found == 0]).any(), "-0.0 is +0.0"
    assert sample.values_WN.shape[1] <= max(int(limit * SLACK) + 1, 1) or len(rows) <= limit


def test_fewer_vectors_than_items_are_enough() -> None:
    """Items without a usable vector leave room in the sample."""
    sample = BlockSample(1, 10, 100)
    sample.add(np.array([[3.0], [1.0]], np.float32), pl.Series(["a", "b"]))
    assert sample.edges(2).tolist() == [[3.0]]


@pytest.mark.parametrize(("population", "room"), [(10, 10), (5, 5), (1000, 15)])
def test_blocks_cover_every_dimension_within_their_bytes(
    monkeypatch: pytest.MonkeyPatch, population: int, room: int
) -> None:
    monkeypatch.setattr(quantizers, "BLOCK_BYTES", 200)
    feature = embedding(dim=24, groups=24, quantiles=2, fit_sample=12)
    cuts = list(blocks(feature, population))
    assert [first for _, first, _ in cuts] == [0, *(last for _, _, last in cuts[:-1])]
    assert cuts[-1][2] == 24
    assert all(0 < (last - first) * 4 * room <= 200 for _, first, last in cuts)
    assert len(cuts) == -(-24 // (200 // (4 * room))), "and there are no more than needed"


def test_a_block_is_never_narrower_than_a_dimension(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantizers, "BLOCK_BYTES", 1)
    assert len(list(blocks(embedding(dim=4), 100))) == 4
    assert len(list(blocks(embedding(dim=4), 0))) == 4


def fitted(
    folder: Path,
    feature: Any,
    lines: list[list[str]],
    population: int,
    excluded: Sequence[int] = (),
) -> Any:
    """The quantizer of a feature over files of JSON lines, block by block."""
    table = table_job(feature)
    splits = [
        Split(written_file(folder / f"{k}.jsonl", "\n".join(some).encode()))
        for k, some in enumerate(lines)
    ]
    plan = list(plan_passes(table, feature.name, population))
    out = {}
    if excluded:
        out = excluded_rows(folder, table, splits[1], list(excluded))
    found = [
        one
        for b in plan
        for one in fit_blocks(table, str(folder / "parts"), b, reversed(splits), population, out)
    ]
    sampled = [one.value for one in found if isinstance(one, TaggedOutput)]
    assert [name for name, _ in sampled] == [feature.name], "by the first reading alone"
    parts = [one[1] for one in found if not isinstance(one, TaggedOutput)]
    ((name, quantizer),) = join_blocks(table, (feature.name, reversed(parts)))
    assert name == feature.name
    return quantizer, plan


@pytest.mark.parametrize("block_bytes", [1, 2**20])
def test_blocks_fitted_alone_join_to_the_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block_bytes: int
) -> None:
    monkeypatch.setattr(quantizers, "BLOCK_BYTES", block_bytes)
    rng = np.random.default_rng(0)
    rows = {str(k): rng.integers(-9, 9, 4).astype(float).tolist() for k in range(40)}
    lines = [f'{{"item": {k}, "look": {v}}}' for k, v in rows.items()]
    odd = ['{"item": 100, "look": [1]}', '{"item": 101}', '{"item": 999, "look": [0,0,0,0]}']
    feature = embedding(quantiles=3, fit_sample=30)
    every = [lines[:15], odd, lines[15:]]
    quantizer, plan = fitted(tmp_path, feature, every, len(rows) + 2, excluded=[2])
    assert [len(together) for together in plan] == ([2, 2] if block_bytes == 1 else [1])
    edges = np.array(quantizer["edge"].to_pylist()).reshape(2, 4)
    assert edges.tolist() == by_hand(rows, 30, 3)


PQ: dict[str, Any] = {"quantizer": "pq", "groups": 3, "codes": 4}
RQ: dict[str, Any] = {"quantizer": "rq", "levels": 2, "codes": 4}


@pytest.mark.parametrize(("sizes", "blocks"), [(PQ, 3), (RQ, 1)])
@pytest.mark.parametrize("limit", [30, 100])
def test_codebooks_are_fitted_to_the_sample_in_the_order_of_hash_and_key(
    tmp_path: Path, sizes: dict[str, Any], blocks: int, limit: int
) -> None:
    rng = np.random.default_rng(0)
    rows = {str(k): rng.normal(size=6).astype(np.float32).tolist() for k in range(40)}
    lines = [f'{{"item": {k}, "look": {v}}}' for k, v in rows.items()]
    feature = embedding(dim=6, fit_sample=limit, **sizes)
    quantizer, plan = fitted(tmp_path, feature, [lines[25:], lines[:25]], len(rows))
    keys = sorted(rows, key=lambda k: (stable_hash(k), k))[:limit]
    want = fit_books({"dim": 6, **sizes}, [rows[k] for k in keys])
    assert [book.tolist() for book in books_of(quantizer)] == want
    assert [len(together) for together in plan] == [1] * blocks, "a group is never cut"


@pytest.mark.parametrize(
    ("line", "detail"),
    [
        ('{"item": 1}', "is missing: expected at least one usable value"),
        (
            '{"item": 1, "look": [1]}',
            r"is missing or bad \(1 bad vectors; expected 4 finite numbers\)",
        ),
    ],
)
def test_a_feature_without_a_vector_is_refused(tmp_path: Path, line: str, detail: str) -> None:
    with pytest.raises(DataError, match=f"'look': every value of column 'look' in items {detail}"):
        fitted(tmp_path, embedding(), [[line]], 1)
