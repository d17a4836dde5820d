"""A stand-in for a model that counts its calls, and what the tests of embed share."""

import hashlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from heterrec_pipeline.embed import EmbedConfig, embed, models
from heterrec_schemas.errors import RunError

DIM = 4


class Stand:
    """What the stand-in saw, and how it shall behave."""

    def __init__(self) -> None:
        self.encoded: list[Any] = []
        self.batches: list[int] = []
        self.loads = 0
        self.fail_after: int | None = None
        self.value: float | None = None


STAND = Stand()


class StandInEncoder:
    """Vectors out of a hash of the text, or of an image's pixels."""

    def encode(self, batch: Sequence[Any]) -> models.Vectors:
        if STAND.fail_after is not None and len(STAND.encoded) >= STAND.fail_after:
            raise RunError("the power went out")
        STAND.encoded += batch
        STAND.batches.append(len(batch))
        return np.stack([vector_of(x) for x in batch])


def vector_of(content: Any) -> models.Vectors:
    if STAND.value is not None:
        return np.full(DIM, STAND.value, np.float32)
    raw = content.encode() if isinstance(content, str) else content.tobytes()
    return np.frombuffer(hashlib.sha256(raw).digest()[:DIM], np.uint8).astype(np.float32)


def load_stand_in(_model: models.EmbeddingModel, _config: EmbedConfig) -> models.Encoder:
    STAND.loads += 1
    return StandInEncoder()


def run(config: EmbedConfig, **kwargs: Any) -> Any:
    return embed(config, load=load_stand_in, **kwargs)


def items(rows: int = 40, distinct: int = 23) -> pa.Table:
    """Items whose titles repeat; every tenth has none."""
    titles = [None if k % 10 == 9 else f"title {k % distinct}" for k in range(rows)]
    return pa.table({"item_id": pa.array(range(100, 100 + rows)), "title": titles})


def put(tmp_path: Path, table: pa.Table, name: str = "items.parquet") -> None:
    pq.write_table(table, tmp_path / name)


def vectors(config: EmbedConfig, column: str = "title") -> dict[Any, tuple[float, ...]]:
    found: dict[Any, tuple[float, ...]] = {}
    for path in Path(config.output).glob(f"{column}-*.parquet"):
        table = pq.read_table(path)
        keys = table[config.key].to_pylist()
        found |= dict(zip(keys, map(tuple, table[f"{column}_embedding"].to_pylist()), strict=True))
    return found


def contents_of(folder: str) -> dict[str, bytes]:
    return {
        p.relative_to(folder).as_posix(): p.read_bytes()
        for p in Path(folder).rglob("*")
        if p.is_file()
    }


def rejects(config: EmbedConfig) -> list[tuple[Any, ...]]:
    table = pq.read_table(Path(config.output) / "rejects" / "rejects-00000-of-00001.parquet")
    return [tuple(r[c] for c in ("row", "column", "reason", "value")) for r in table.to_pylist()]


def picture(seed: int) -> bytes:
    image = pytest.importorskip("PIL.Image", reason="needs the extra heterrec[embed]")
    pixels = np.random.default_rng(seed).integers(0, 255, (20, 30, 3), dtype=np.uint8)
    out = io.BytesIO()
    image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def pictures(tmp_path: Path, *names: str) -> None:
    for seed, name in enumerate(names):
        (tmp_path / name).write_bytes(picture(seed))
