"""Item and user vectors like those of a trained model: clusters of very different size, themselves around a few centres.

Vectors have length 1. An item lies around the centre of its cluster; a user lies between two clusters, with more noise. The
clusters stand for categories.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from heterrec_model.bundle.files import (
    EXPORT_VERSION,
    INFO,
    ITEM_VECTORS,
    SAMPLE,
    BundleFile,
    BundleInfo,
    Equality,
    Identity,
    fingerprint,
)

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class MadeVectors:
    """Items [N, D], the cluster of each [N], and users [S, D]."""

    items_ND: Floats
    cluster_N: npt.NDArray[np.int64]
    users_SD: Floats


def made_vectors(items: int, users: int, width: int = 64, clusters: int = 2000) -> MadeVectors:
    """The vectors of a seed; the clusters do not depend on the number of items."""
    random = np.random.default_rng(0)
    tops = random.standard_normal((50, width), dtype=np.float32)
    centres = tops[random.integers(0, 50, clusters)]
    centres = centres + 0.8 * random.standard_normal((clusters, width), dtype=np.float32)
    size = random.pareto(1.2, clusters) + 0.1
    size /= size.sum()
    cluster_N = random.choice(clusters, items, p=size)
    items_ND = centres[cluster_N] + random.standard_normal((items, width), dtype=np.float32)
    one, other = random.choice(clusters, (2, users), p=size)
    users_SD = centres[one] + 0.5 * centres[other]
    users_SD = users_SD + random.standard_normal((users, width), dtype=np.float32)
    return MadeVectors(_unit(items_ND), cluster_N, _unit(users_SD))


def _unit(vectors: Floats) -> Floats:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def vector_bundle(folder: Path, vectors: MadeVectors) -> Path:
    """A bundle with nothing but vectors, which suffices to build an index."""
    folder.mkdir(parents=True)
    np.save(folder / ITEM_VECTORS, vectors.items_ND)
    np.save(folder / SAMPLE, vectors.users_SD)
    parts = {"items": len(vectors.items_ND)}
    identity = Identity(generation="made", content_sha256="0" * 64, model="made", checkpoint="best")
    info = BundleInfo(
        export_version=EXPORT_VERSION,
        fingerprint=fingerprint(parts),
        created="2026-01-01T00:00:00Z",
        identity=identity,
        parts=parts,
        width=vectors.items_ND.shape[1],
        max_length=50,
        buckets=[50],
        items=len(vectors.items_ND),
        item_id_type="int64",
        user_id_type="int64",
        users=0,
        equality=Equality(users=0, largest_difference=0, tolerance=0),
        versions={},
        files=[_entry(folder, name) for name in (ITEM_VECTORS, SAMPLE)],
    )
    (folder / INFO).write_text(info.to_json())
    return folder


def _entry(folder: Path, name: str) -> BundleFile:
    file = folder / name
    with file.open("rb") as data:
        digest = hashlib.file_digest(data, "sha256").hexdigest()
    return BundleFile(path=name, bytes=file.stat().st_size, sha256=digest)
