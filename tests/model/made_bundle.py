"""A bundle of made-up vectors, without a model."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq

from heterrec_model.bundle.files import (
    EXPORT_VERSION,
    HISTORIES,
    INFO,
    ITEM_VECTORS,
    ITEMS,
    POPULAR,
    SAMPLE,
    USER_VALUES,
    BundleFile,
    BundleInfo,
    Equality,
    Identity,
    fingerprint,
)
from heterrec_model.bundle.reader import Bundle, open_bundle
from heterrec_model.recommending import bundle_recommender
from heterrec_model.retrieval.exact import Floats, Ints
from heterrec_schemas.hashing import stable_hash

FIRST = 3
"""item_index of the first item."""


def clustered(rows: int, width: int, seed: int, clusters: int = 20) -> Floats:
    """Vectors of length 1 around a few centres, which are the same for every seed."""
    centres = np.random.default_rng(99).standard_normal((clusters, width))
    random = np.random.default_rng(seed)
    vectors = centres[random.integers(0, clusters, rows)] + 0.5 * random.standard_normal(
        (rows, width)
    )
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors.astype(np.float32)


def made_bundle(
    folder: Path,
    items_ND: Floats,
    users_SD: Floats,
    name: str = "one",
    users: pa.Table | None = None,
) -> Bundle:
    """Write a bundle; `users` are its histories."""
    folder.mkdir(parents=True)
    np.save(folder / ITEM_VECTORS, items_ND)
    np.save(folder / SAMPLE, users_SD)
    index = np.arange(FIRST, FIRST + len(items_ND))
    ids = pa.array([f"i{n}" for n in index])
    colour = pa.array(["red" if n % 5 else "blue" for n in index])
    table = {
        "item_index": index,
        "item_id": ids,
        "retired": np.zeros(len(index), bool),
        "colour": colour,
    }
    pq.write_table(pa.table(table), folder / ITEMS)
    counts = {
        "segment": pa.nulls(len(index), pa.string()),
        "item_index": index,
        "count": np.arange(len(index))[::-1] + 1,
    }
    pq.write_table(pa.table(counts), folder / POPULAR)
    nothing = {
        "feature": pa.array([], pa.string()),
        "value": pa.array([], pa.string()),
        "token": pa.array([], pa.int64()),
    }
    pq.write_table(pa.table(nothing), folder / USER_VALUES)
    if users is not None:
        with pa.ipc.new_file(str(folder / HISTORIES), users.schema) as out:
            out.write_table(users)
    parts = {"name": name}
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    info = BundleInfo(
        export_version=EXPORT_VERSION,
        fingerprint=fingerprint(parts),
        created="2026-01-01T00:00:00Z",
        identity=Identity(
            generation="g1",
            content_sha256="0" * 64,
            model="heterrec",
            checkpoint="best",
            fingerprint=fingerprint(parts),
        ),
        parts=parts,
        width=items_ND.shape[1],
        max_length=10,
        buckets=[10],
        items=len(items_ND),
        item_id_type="string",
        user_id_type="string",
        users=0 if users is None else len(users),
        equality=Equality(users=1, largest_difference=0.0, tolerance=1e-5),
        versions={},
        files=[
            BundleFile(
                path=p.relative_to(folder).as_posix(),
                bytes=p.stat().st_size,
                sha256=hashlib.sha256(p.read_bytes()).hexdigest(),
            )
            for p in files
        ],
    )
    (folder / INFO).write_text(info.to_json())
    return open_bundle(folder)


def made_histories(count: int, items: int, seed: int = 0) -> pa.Table:
    """Histories of users u0, u1, ..., in one shard; every tenth is empty."""
    random = np.random.default_rng(seed)
    names = sorted((f"u{n}" for n in range(count)), key=stable_hash)
    lengths = [0 if row % 10 == 3 else int(random.integers(1, 12)) for row in range(count)]
    histories = [random.integers(FIRST, FIRST + items, length) for length in lengths]
    columns = {
        "user_id": pa.array(names),
        "user_hash": pa.array([stable_hash(name) for name in names], pa.uint64()),
        "item_index": pa.array([h.tolist() for h in histories], pa.list_(pa.int64())),
        "timestamp_ms": pa.array([list(range(n)) for n in lengths], pa.list_(pa.int64())),
    }
    return pa.table(columns).replace_schema_metadata({"shard_rows": json.dumps([count])})


class MeanEncoder:
    """Instead of a model: the mean of the item vectors of a history."""

    def __init__(self, bundle: Bundle, *, threads: int = 1) -> None:
        self._items_ND = bundle.item_vectors_ND

    def encode(self, items: Sequence[Ints], *others: object) -> Floats:
        return np.stack([self._items_ND[item_T - FIRST].mean(axis=0) for item_T in items])


def open_stub(path: str) -> bundle_recommender.BundleRecommender:
    """A recommender with `MeanEncoder`."""
    with patch.object(bundle_recommender, "BundleEncoder", MeanEncoder):
        return bundle_recommender.BundleRecommender.open(path, verify="sizes")
