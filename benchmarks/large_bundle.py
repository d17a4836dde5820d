"""A bundle of any size: the towers of a small real run, with made-up items, vectors and histories.

    python benchmarks/large_bundle.py OUT [--items 1000000] [--users 100000]

A small model of width 64 is trained for a moment and exported. Its item tables are then replaced:
every item gets the tokens of some item of the small shop, and a vector near that of a user. Histories have 15 items on
average, at most 50.
"""

import argparse
import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq

from heterrec_model.bundle.files import (
    HISTORIES,
    INFO,
    ITEM_TOKENS,
    ITEM_VECTORS,
    ITEMS,
    POPULAR,
    SAMPLE,
    BundleFile,
    fingerprint,
)
from heterrec_model.bundle.reader import open_bundle
from heterrec_model.recommending.bundle_recommender import BundleRecommender, encoded
from heterrec_schemas.hashing import hash_texts

Floats = npt.NDArray[np.float32]

FIRST = 2
"""item_index of the first item."""
LONGEST, MEAN_LENGTH = 50, 15
SAMPLED = 4_000


def small_bundle(folder: Path) -> Path:
    """Train and export a small run."""
    from heterrec_model.config import load_config
    from heterrec_model.serving.export import export
    from heterrec_model.training.train import train
    from heterrec_schemas.testing import Settings, shop, small_generation

    small_generation(
        folder / "data", 0, settings=Settings(), goods=shop(0, users=60, interactions=1500)
    )
    settings = ["train.epochs=1", "train.refit_epochs=0", "data.batch_items=64"]
    settings += ["negatives.in_batch=32", "negatives.uniform=16", "negatives.token=16"]
    train(
        load_config("cpu", settings), data=str(folder / "data"), run=str(folder / "run"), quiet=True
    )
    export(str(folder / "run"), str(folder / "data"), folder / "small", evaluate=False)
    return folder / "small"


def enlarge(small: Path, out: Path, items: int, users: int) -> Path:
    """Write a bundle with the towers of a small one."""
    shutil.copytree(small, out)
    info = open_bundle(small).info
    random = np.random.default_rng(1)
    tokens_IC = np.load(small / ITEM_TOKENS)
    chosen = random.integers(FIRST, len(tokens_IC), items)
    np.save(out / ITEM_TOKENS, np.concatenate([tokens_IC[:FIRST], tokens_IC[chosen]]))
    index = np.arange(FIRST, FIRST + items)
    table = {
        "item_index": index,
        "item_id": pa.array([f"item-{n}" for n in index]),
        "retired": np.zeros(items, bool),
        "category": pa.array((index % 97).astype(str)),
    }
    pq.write_table(pa.table(table), out / ITEMS)
    counts = {
        "segment": pa.nulls(10_000, pa.string()),
        "item_index": index[:10_000],
        "count": np.arange(10_000, 0, -1),
    }
    pq.write_table(pa.table(counts), out / POPULAR)
    _write_histories(out / HISTORIES, small / HISTORIES, items, users)
    parts = info.parts | {"items": items, "users": users}
    changes = {
        "items": items,
        "users": users,
        "item_id_type": "string",
        "user_id_type": "string",
        "segment_by": None,
        "parts": parts,
        "fingerprint": fingerprint(parts),
        "identity": info.identity.model_copy(update={"fingerprint": fingerprint(parts)}),
    }
    info = info.model_copy(update=changes)
    np.save(out / ITEM_VECTORS, np.zeros((items, info.width), np.float32))
    (out / INFO).write_text(info.model_copy(update={"files": []}).to_json())
    recommender = BundleRecommender.open(out, verify="sizes")
    assert recommender.histories is not None
    rows = [encoded(row) for row in recommender.histories.rows(0, min(SAMPLED, users))]
    users_SD = recommender.encode(rows)
    np.save(out / SAMPLE, users_SD)
    np.save(out / ITEM_VECTORS, _items_near(users_SD, items))
    files = [
        BundleFile(path=p.name, bytes=p.stat().st_size, sha256=_sha256(p))
        for p in sorted(out.iterdir())
        if p.is_file() and p.name != INFO
    ]
    (out / INFO).write_text(info.model_copy(update={"files": files}).to_json())
    return out


def _items_near(users_SD: Floats, items: int) -> Floats:
    """Item vectors of length 1 in clusters of very different size; the centres are vectors of users, as after training."""
    random = np.random.default_rng(3)
    size = random.pareto(1.2, len(users_SD) // 2) + 0.1
    centre_N = random.choice(len(size), items, p=size / size.sum())
    noise_ND = random.standard_normal((items, users_SD.shape[1]), dtype=np.float32)
    items_ND = users_SD[centre_N] + 0.7 * users_SD.std(axis=0) * noise_ND
    unit: Floats = (items_ND / np.linalg.norm(items_ND, axis=1, keepdims=True)).astype(np.float32)
    return unit


def _write_histories(path: Path, small: Path, items: int, users: int) -> None:
    """Histories of users user-0, user-1, ... in the columns of a small file, in one shard."""
    random = np.random.default_rng(2)
    names = pa.array([f"user-{n}" for n in range(users)])
    hashes = np.asarray(hash_texts(names), np.uint64)
    order = np.argsort(hashes)
    lengths = np.minimum(random.geometric(1 / MEAN_LENGTH, users), LONGEST)
    offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32))
    total = int(lengths.sum())
    popular = (random.pareto(1.0, total) * items / 1000).astype(np.int64) % items
    times = 1_600_000_000_000 + np.cumsum(random.integers(0, 10**6, total))
    schema = pa.ipc.open_file(str(small)).schema
    example = pa.ipc.open_file(str(small)).read_all().slice(0, 1)
    columns = []
    for field in schema:
        if field.name == "user_id":
            columns.append(names.take(pa.array(order)))
        elif field.name == "user_hash":
            columns.append(pa.array(hashes[order]))
        elif field.name == "item_index":
            columns.append(pa.ListArray.from_arrays(offsets, pa.array(popular + FIRST)))
        elif field.name == "timestamp_ms":
            columns.append(pa.ListArray.from_arrays(offsets, pa.array(times)))
        elif field.name == "behaviour":
            ones = pa.array(np.full(total, 2), field.type.value_type)
            columns.append(pa.ListArray.from_arrays(offsets, ones))
        else:
            columns.append(
                example[field.name].combine_chunks().take(pa.array(np.zeros(users, int)))
            )
    names_of = [field.name for field in schema]
    table = pa.table(columns, names_of).replace_schema_metadata({"shard_rows": json.dumps([users])})
    with pa.ipc.new_file(str(path), table.schema) as out:
        out.write_table(table)


def _sha256(path: Path) -> str:
    with path.open("rb") as data:
        return hashlib.file_digest(data, "sha256").hexdigest()


def main() -> None:
    """Write a bundle."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path)
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--users", type=int, default=100_000)
    arguments = parser.parse_args()
    work = arguments.output.with_name(f"{arguments.output.name}-small")
    work.mkdir(parents=True)
    enlarge(small_bundle(work), arguments.output, arguments.items, arguments.users)
    shutil.rmtree(work)


if __name__ == "__main__":
    main()
