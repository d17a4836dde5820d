"""Compares the quantizers of an embedding feature: time of a fit, of encoding and of a whole build, and kept neighbours.

    python benchmarks/quantizers.py ../shared/data/amazon_beauty [--builds]

Kept neighbours are the share of an item's 10 nearest items by cosine that are among its 50 nearest by tokens (by the number
of equal tokens; of several with equal numbers, the expected share) or by the vectors that the tokens stand for. One thread is
used, as by a worker of the pipeline. `--builds` also times `heterrec-pipeline build` with one worker and only this feature.
"""

import argparse
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before NumPy is imported

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import yaml

from heterrec_pipeline.statistics.neighbours import AMONG, NEAREST, share_among
from heterrec_schemas.codebooks import (
    Book,
    fit_product,
    fit_residual,
    product_tokens,
    residual_tokens,
)
from heterrec_schemas.tokens import FIRST_FREE, embedding_tokens, quantizer_edges

Vectors = npt.NDArray[np.float32]
Tokens = npt.NDArray[np.int32]
SETTINGS: list[dict[str, str | int]] = [
    {"quantizer": "quantile", "groups": 128, "quantiles": 4},
    {"quantizer": "quantile", "groups": 64, "quantiles": 2},
    {"quantizer": "pq", "groups": 64, "codes": 256},
    {"quantizer": "pq", "groups": 1, "codes": 256},
    {"quantizer": "rq", "levels": 8, "codes": 256},
]
QUERIES = 2000
"""Number of items whose neighbours are compared."""


def measured(vectors_ND: Vectors, setting: dict[str, str | int]) -> dict[str, object]:
    """Seconds of a fit and of encoding all vectors, the error, and the kept neighbours."""
    started = time.perf_counter()
    encode, restored = fitted(vectors_ND, setting)
    between = time.perf_counter()
    tokens_NZ = encode(vectors_ND)
    seconds = (between - started, time.perf_counter() - between)
    found: dict[str, object] = {**setting, "fit_s": round(seconds[0], 2)}
    found["encode_s"] = round(seconds[1], 2)
    centred_ND = restored(tokens_NZ)
    if centred_ND is not None:
        found["error"] = round(float(((vectors_ND - centred_ND) ** 2).sum(1).mean()), 4)
        found["kept_by_vectors"] = round(kept(vectors_ND, by_cosine(centred_ND)), 3)
    found["kept_by_tokens"] = round(kept(vectors_ND, by_tokens(tokens_NZ)), 3)
    return found


def fitted(
    vectors_ND: Vectors, setting: dict[str, str | int]
) -> tuple[Callable[[Vectors], Tokens], Callable[[Tokens], Vectors | None]]:
    """Functions that encode vectors, and that restore vectors from tokens if the quantizer has centroids."""
    groups, codes = int(setting.get("groups", 0)), int(setting.get("codes", 0))
    if setting["quantizer"] == "quantile":
        edges_QD = quantizer_edges(vectors_ND.T.copy(), int(setting["quantiles"]))
        return lambda v: embedding_tokens(v, edges_QD, groups), lambda _: None
    if setting["quantizer"] == "pq":
        books = fit_product(vectors_ND, groups, codes)
        return lambda v: product_tokens(v, books), lambda t: np.concatenate(parts(books, t), axis=1)
    books = fit_residual(vectors_ND, int(setting["levels"]), codes)
    return lambda v: residual_tokens(v, books), lambda t: np.sum(parts(books, t), axis=0)


def parts(books: list[Book], tokens_NZ: Tokens) -> list[Vectors]:
    """The centroids of all tokens, by codebook."""
    return [b[t - FIRST_FREE] for b, t in zip(books, tokens_NZ.T, strict=True)]


def by_cosine(vectors_ND: Vectors) -> Callable[[int], Vectors]:
    """Similarities of one item to all."""
    lengths = np.linalg.norm(vectors_ND, axis=1, keepdims=True)
    unit_ND = vectors_ND / np.maximum(lengths, 1e-12)
    return lambda item: unit_ND @ unit_ND[item]


def by_tokens(tokens_NZ: Tokens) -> Callable[[int], Vectors]:
    """The number of tokens that one item has in common with each item."""
    return lambda item: (tokens_NZ == tokens_NZ[item]).sum(1).astype(np.float32)


def kept(vectors_ND: Vectors, similarity: Callable[[int], Vectors]) -> float:
    """The mean share of the nearest items by cosine that are among the nearest by another similarity."""
    cosine, shares = by_cosine(vectors_ND), []
    for item in np.random.default_rng(0).choice(len(vectors_ND), QUERIES, replace=False).tolist():
        true, other = cosine(item), similarity(item)
        true[item] = other[item] = -np.inf
        nearest = np.argpartition(-true, NEAREST)[:NEAREST]
        shares.append(share_among(other, nearest, AMONG))
    return float(np.mean(shares))


def build_seconds(data: Path, setting: dict[str, str | int]) -> float:
    """Seconds of a build with one worker, as it reports them."""
    spec = {
        "version": 1,
        "name": "quantizers",
        "items": {
            "source": {"path": "items.jsonl.gz"},
            "key": "item_id",
            "joins": [{"source": {"path": "title_embeddings.parquet"}, "key": "item_id"}],
            "features": [
                {"name": "title", "kind": "embedding", "column": "text_embedding", "dim": 384}
                | setting
            ],
        },
        "interactions": {
            "source": {"path": "interactions.csv.gz"},
            "user": "user_id",
            "item": "item_id",
            "timestamp": {"column": "timestamp", "unit": "s"},
        },
        "sequences": {"max_length": 50},
        "split": {"method": "leave_one_out"},
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "spec.yaml"
        path.write_text(yaml.safe_dump(spec), encoding="utf-8")
        words = [sys.executable, "-m", "heterrec_pipeline", "build", "--spec", str(path)]
        words += ["--input", str(data), "--output", folder, "--workers", "1", "--json", "--quiet"]
        done = subprocess.run(words, check=True, stdout=subprocess.PIPE)
    return float(json.loads(done.stdout)["seconds"])


def main() -> None:
    """Print one JSON line per setting."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--builds", action="store_true")
    call = parser.parse_args()
    cells = pq.read_table(call.data / "title_embeddings.parquet")["text_embedding"]
    flat = cells.combine_chunks().flatten().to_numpy(zero_copy_only=False)
    vectors_ND = flat.reshape(len(cells), -1).astype(np.float32) + np.float32(0.0)
    for setting in SETTINGS:
        found = measured(vectors_ND, setting)
        if call.builds:
            found["build_s"] = build_seconds(call.data, setting)
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
