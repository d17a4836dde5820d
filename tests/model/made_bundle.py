"""A bundle of made-up vectors, without a model."""

import hashlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from heterrec_model.bundle.files import (
    EXPORT_VERSION,
    INFO,
    ITEM_VECTORS,
    ITEMS,
    POPULAR,
    SAMPLE,
    BundleFile,
    BundleInfo,
    Equality,
    Identity,
    fingerprint,
)
from heterrec_model.bundle.reader import Bundle, open_bundle
from heterrec_model.retrieval.exact import Floats

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
    if users is not None:
        (folder / "histories").mkdir()
        half = (len(users) + 1) // 2
        for part in (0, 1):
            file = folder / f"histories/histories-0000{part}-of-00002.parquet"
            pq.write_table(users.slice(part * half, half), file)
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
