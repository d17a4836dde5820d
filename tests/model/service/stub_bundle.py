"""A bundle of made-up numbers, and a recommender on it that needs no graph: a user is the sum of the items.

Run as a program, it serves such a bundle: python stub_bundle.py BUNDLE [PORT] [MILLISECONDS PER ENCODING].
"""

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq

from heterrec_model.bundle import files
from heterrec_model.bundle.files import BundleFile, BundleInfo, Equality, Identity
from heterrec_model.bundle.reader import open_bundle
from heterrec_model.recommending.catalogue import Catalogue
from heterrec_model.recommending.history import EncodedHistory, History, Key
from heterrec_model.recommending.popular import PopularItems
from heterrec_model.recommending.recommender import Recommender
from heterrec_model.retrieval.search import Searcher
from heterrec_schemas.errors import CallError
from heterrec_schemas.hashing import file_sha256

WIDTH = 8
LENGTH = 4


def write_bundle(folder: Path, seed: int = 0, items: int = 40, users: int = 30) -> Path:
    """Items i0, i1, ...; users 1, 2, ...; two colours; two segments. The seed is in fingerprint and vectors."""
    random = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    index = np.arange(2, items + 2)
    table = {
        "item_index": pa.array(index, pa.int64()),
        "item_id": [f"i{n}" for n in range(items)],
        "retired": np.arange(items) >= items - 2,
        "colour": ["red" if n % 2 else "blue" for n in range(items)],
        "path": [["food", f"food > {n % 3}"] for n in range(items)],
    }
    pq.write_table(pa.table(table), folder / files.ITEMS)
    kept = items - 2
    np.save(folder / files.ITEM_VECTORS, random.normal(size=(kept, WIDTH)).astype(np.float32))
    counts = np.arange(kept, 0, -1)
    popular = {
        "segment": pa.array([None] * kept + ["north"] * 3, pa.string()),
        "item_index": pa.array([*index[:kept], *index[5:8]], pa.int64()),
        "count": pa.array([*counts, 9, 8, 7], pa.int64()),
    }
    pq.write_table(pa.table(popular), folder / files.POPULAR)
    rows = {
        "user_id": pa.array(np.arange(1, users + 1), pa.int64()),
        "item_index": [random.choice(index, 6, replace=False).tolist() for _ in range(users)],
    }
    history = pa.table(rows)
    with pa.ipc.new_file(str(folder / files.HISTORIES), history.schema) as writer:
        writer.write_table(history)
    parts = {"seed": seed}
    fingerprint = files.fingerprint(parts)
    info = BundleInfo(
        export_version=files.EXPORT_VERSION,
        fingerprint=fingerprint,
        created="2026-01-01T00:00:00Z",
        identity=Identity(
            generation="g",
            content_sha256="c",
            model="stub",
            checkpoint=f"step-{seed}",
            fingerprint=fingerprint,
        ),
        parts=parts,
        width=WIDTH,
        max_length=LENGTH,
        buckets=[2, LENGTH],
        items=kept,
        item_id_type="string",
        user_id_type="int64",
        users=users,
        behaviours=["view", "buy"],
        equality=Equality(users=users, largest_difference=0.0, tolerance=1e-5),
        versions={},
        files=[
            BundleFile(path=p.name, bytes=p.stat().st_size, sha256=file_sha256(p))
            for p in sorted(folder.iterdir())
        ],
    )
    (folder / files.INFO).write_text(info.to_json())
    return folder


class StubRecommender(Recommender):
    """Sums the vectors of the last items of a history."""

    delay = 0.0

    def __init__(self, folder: Path) -> None:
        bundle = open_bundle(folder)
        self.catalogue = Catalogue(bundle.items())
        self.searcher = Searcher(bundle.item_vectors_ND)
        self.popular = PopularItems(bundle.popular(), self.catalogue)
        self.identity = bundle.info.identity
        with pa.ipc.open_file(str(folder / files.HISTORIES)) as reader:
            table = reader.read_all()
        self._histories = dict(
            zip(table["user_id"].to_pylist(), table["item_index"].to_pylist(), strict=True)
        )
        self.encoded = 0

    def encode(self, histories: Sequence[EncodedHistory]) -> np.ndarray:
        time.sleep(self.delay)
        self.encoded += len(histories)
        zeros = np.zeros((1, WIDTH), np.float32)
        return np.stack(
            [
                np.concatenate(
                    [zeros, self.searcher.items_ND[self.catalogue.positions_of_index(h.item_T)]]
                )[-LENGTH:].sum(axis=0)
                for h in histories
            ]
        )

    def find(self, users: Sequence[Key]) -> list[EncodedHistory | None]:
        found = [self._histories.get(int(u)) if str(u).isdecimal() else None for u in users]
        return [None if items is None else _encoded(items) for items in found]

    def translate(self, history: History) -> EncodedHistory:
        for time_ in history.times or ():
            if not isinstance(time_, int):
                raise CallError("history.times", got=time_, expected="milliseconds")
        found = [self.catalogue.item_index_of(item) for item in history.items]
        unknown = [i for i, n in zip(history.items, found, strict=True) if n is None]
        segment = history.user_features.get("segment")
        return _encoded([n for n in found if n is not None], segment, unknown)


def _encoded(
    items: Sequence[int], segment: str | None = None, unknown: Sequence[Key] = ()
) -> EncodedHistory:
    count = len(items)
    return EncodedHistory(
        np.asarray(items, np.int64),
        np.arange(count, dtype=np.int64) * 1000,
        np.full(count, 3, np.int64),
        {},
        segment,
        tuple(unknown),
    )


if __name__ == "__main__":
    from heterrec_model.service.server import HttpService, Settings, log_to_stderr

    StubRecommender.delay = float(sys.argv[3]) / 1000 if len(sys.argv) > 3 else 0.0
    log_to_stderr()
    HttpService(
        Settings(bundle=Path(sys.argv[1]), port=int(sys.argv[2]) if len(sys.argv) > 2 else 0),
        StubRecommender,
        lambda address: print(json.dumps({"address": address}), flush=True),
    ).run()
