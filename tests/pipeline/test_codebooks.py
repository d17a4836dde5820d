"""Codebooks and a reduction in a whole build: the same bytes for any threads and files, the tokens, frozen by a refresh."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from corner_shop import Shop

from heterrec_pipeline.building import BuildConfig, build
from heterrec_schemas import Generation, open_generation
from heterrec_schemas.errors import HeterrecError
from heterrec_schemas.feature_spec import parse_spec
from heterrec_schemas.generation.decode import decode_cells
from heterrec_schemas.testing.reference_reductions import reduced

VECTOR = {"kind": "embedding", "column": "vector", "dim": 4}
FEATURES: list[dict[str, Any]] = [
    {"name": "parts", **VECTOR, "quantizer": "pq", "groups": 2, "codes": 5},
    {"name": "rests", **VECTOR, "quantizer": "rq", "levels": 3, "codes": 4, "fit_sample": 12},
    {"name": "whole", **VECTOR, "quantizer": "pq", "groups": 1, "codes": 256},
    {
        **{"name": "turned", **VECTOR, "groups": 2, "quantiles": 3},
        "reduce": {"pca": 2, "rotate": True},
    },
]
WITHOUT = "i04"
"""An item without a vector."""


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    shop = Shop(tmp_path_factory.mktemp("codebooks"))
    shop.spec["items"]["features"] = FEATURES
    shop.spec["items"]["joins"][0]["source"]["path"] = "vectors*.parquet"
    shop.write()
    ids, vectors = shop.vectors()
    rng = np.random.default_rng(0)
    vectors = [None if i == WITHOUT else rng.normal(size=4).tolist() for i in ids]
    vectors[7] = vectors[6]
    shop.put_vectors(ids, vectors)
    return shop


def config_of(shop: Shop, output: str, **more: Any) -> BuildConfig:
    text = shop.spec_path.read_text()
    return replace(BuildConfig(parse_spec(text), text, str(shop.input), output, workers=1), **more)


@pytest.fixture(scope="module")
def first(shop: Shop) -> Generation:
    return open_generation(build(config_of(shop, str(shop.output))).path)


def nearest(vectors_ND: np.ndarray, book_CD: np.ndarray) -> np.ndarray:
    """The nearest centroids in float64, all differences at once."""
    distances = ((vectors_ND[:, None].astype(np.float64) - book_CD[None]) ** 2).sum(-1)
    return np.asarray(distances.argmin(1))


def by_edges(generation: Generation, name: str, vectors_ND: np.ndarray) -> list[list[int]]:
    """Tokens of reduced vectors with one dimension per group."""
    mean_D, reach_D, weights_DP = generation.reduction(name)
    by_hand = (mean_D.tolist(), reach_D.tolist(), weights_DP.T.tolist())
    edges_QP = generation.quantizers(name)
    rows = [np.array(reduced(vector, by_hand)) for vector in vectors_ND.tolist()]
    return [(2 + (row_P >= edges_QP).sum(axis=0)).tolist() for row_P in rows]


def recomputed(generation: Generation, name: str, vectors_ND: np.ndarray) -> list[list[int]]:
    if name == "turned":
        return by_edges(generation, name, vectors_ND)
    books = generation.codebooks(name)
    if name == "rests":
        tokens = []
        for book in books:
            code = nearest(vectors_ND, book)
            tokens.append(2 + code)
            vectors_ND = vectors_ND - book[code].astype(np.float64)
    else:
        groups = np.split(vectors_ND, len(books), axis=1)
        tokens = [2 + nearest(g, b) for g, b in zip(groups, books, strict=True)]
    found: list[list[int]] = np.stack(tokens, axis=1).tolist()
    return found


def assert_tokens(shop: Shop, generation: Generation) -> None:
    table = pa.concat_tables(pq.read_table(p) for p in sorted(shop.input.glob("vectors*.parquet")))
    vector_of = dict(zip(table["item_id"].to_pylist(), table["vector"].to_pylist(), strict=True))
    rows = generation.items().to_pylist()
    valued = [r for r in rows if r["item_id"] != WITHOUT]
    vectors = np.array([vector_of[r["item_id"]] for r in valued], np.float32)
    for feature in FEATURES:
        name = feature["name"]
        assert [r[name] for r in valued] == recomputed(generation, name, vectors)
        (missing,) = [r[name] for r in rows if r["item_id"] == WITHOUT]
        assert set(missing) == {1}


def test_tokens_are_those_of_the_stored_centroids(shop: Shop, first: Generation) -> None:
    assert_tokens(shop, first)
    assert [len(b) for b in first.codebooks("parts")] == [5, 5]
    assert [len(b) for b in first.codebooks("rests")] == [4, 4, 4]
    assert [len(b) for b in first.codebooks("whole")] == [18], "one for each distinct vector"
    entries = {e.name: e for e in first.manifest.features if e.side == "item"}
    assert {n: (e.groups, e.codes, e.vocabulary_size, e.missing) for n, e in entries.items()} == {
        "parts": (2, 5, 7, 1),
        "rests": (3, 4, 6, 1),
        "whole": (1, 256, 258, 1),
        "turned": (2, None, 5, 1),
    }
    assert entries["turned"].reduced_dim == 2
    cells = first.items(["rests"])["rests"].to_pylist()
    shown = decode_cells(first, "rests", cells)[0]
    assert shown["codes"] is None or [c + 2 for c in shown["codes"]] == cells[0]


def test_the_same_bytes_from_several_threads_and_other_files(
    shop: Shop, first: Generation, tmp_path: Path
) -> None:
    other = shop.copy(tmp_path / "other")
    table = pq.read_table(other.input / "vectors.parquet")
    (other.input / "vectors.parquet").unlink()
    backwards = table.take(list(range(len(table)))[::-1])
    for k, start in enumerate(range(0, len(table), 7)):
        pq.write_table(backwards.slice(start, 7), other.input / f"vectors-{k}.parquet")
    threads = ["--direct_num_workers=2", "--direct_running_mode=multi_threading"]
    made = build(config_of(other, str(tmp_path / "out"), workers=None, pipeline_args=threads))
    assert made.manifest.content_sha256 == first.manifest.content_sha256


def test_a_refresh_encodes_new_items_with_the_frozen_centroids_unless_refitted(
    shop: Shop, first: Generation, tmp_path: Path
) -> None:
    today = shop.copy(tmp_path / "today")
    today.add("items.csv", [[f"new{k}", "Fig", "1"] for k in range(3)])
    ids, vectors = today.vectors()
    today.put_vectors([*ids, "new0", "new1", "new2"], [*vectors, *np.eye(4)[:3].tolist()])
    output = str(today.output)
    made = open_generation(build(config_of(today, output, base=output, refit=["rests"])).path)
    for name in (*(f["name"] for f in FEATURES), "turned.reduce"):
        path = f"quantizers/{name}.parquet"
        same = made.folder.read_bytes(path) == first.folder.read_bytes(path)
        assert same == (name != "rests")
    assert_tokens(today, made)
    report = made.drift()
    assert report is not None
    bins = {f.name: f.present for f in report.features}
    assert [len(b) for b in bins["parts"][1]] == [5, 5]
    assert [len(b) for b in bins["whole"][1]] == [16]
    assert [len(b) for b in bins["turned"][1]] == [3, 3]


def test_a_refresh_refits_a_reduction_with_its_edges(
    shop: Shop, first: Generation, tmp_path: Path
) -> None:
    today = shop.copy(tmp_path / "today")
    ids, vectors = today.vectors()
    today.put_vectors(ids, [v and [x * 2 + 1 for x in v] for v in vectors])
    output = str(today.output)
    made = open_generation(build(config_of(today, output, base=output, refit=["turned"])).path)
    for name in ("turned", "turned.reduce"):
        path = f"quantizers/{name}.parquet"
        assert made.folder.read_bytes(path) != first.folder.read_bytes(path)
    assert_tokens(today, made)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("levels: 3", "levels: 2", "levels is not the parent's: got 2, expected 3"),
        ("rotate: true", "rotate: false", "reduce is not the parent's"),
    ],
)
def test_a_refresh_of_other_settings_is_refused(
    shop: Shop, first: Generation, tmp_path: Path, old: str, new: str, words: str
) -> None:
    today = shop.copy(tmp_path / "today")
    text = today.spec_path.read_text()
    assert old in text
    today.spec_path.write_text(text.replace(old, new))
    output = str(today.output)
    with pytest.raises(HeterrecError, match=words):
        build(config_of(today, output, base=output))
