"""What the tests of the loader share: generations, settings, batches taken apart."""

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import torch
from hypothesis import settings as hypothesis_settings

from heterrec_model.config import Config
from heterrec_model.data.batch import Batch, HistoryItems
from heterrec_schemas import Generation, open_generation
from heterrec_schemas.testing import Settings, Shop, shop, small_generation, spec_text

SOAK = int(os.environ.get("HETERREC_EXAMPLES", "0"))
QUICK = hypothesis_settings(
    deadline=None, derandomize=not SOAK, database=None, max_examples=SOAK or 25
)
MANY = hypothesis_settings(QUICK, max_examples=SOAK or 100)

Cut = Callable[[int, int], Generation]
"""Makes a generation by its number of sequence shards and the rows of its row groups."""

LIKES = """
    - {name: likes, kind: categorical, column: likes, multivalued: true, nested: prefixes}
    - {name: taste, kind: embedding, column: taste, dim: 6, groups: 3, quantiles: 2}
"""


def write_generation(
    folder: Path,
    *,
    settings: Settings | None = None,
    goods: Shop | None = None,
    row_group: int = 8,
    liked: bool = False,
) -> Generation:
    """A small generation with small row groups; `liked` adds a multivalued user feature and a vector."""
    goods = goods or shop(0)

    def text(goods: Shop, settings: Settings) -> str:
        whole = spec_text(goods, settings)
        return whole.replace("\nsequences:", f"{LIKES}sequences:") if liked else whole

    with (
        patch("heterrec_schemas.testing.generation.spec_text", text),
        patch("heterrec_schemas.testing.generation.WIDE_ROW_GROUP", row_group),
    ):
        small_generation(folder, 0, settings=settings, goods=_liking(goods) if liked else goods)
    return open_generation(folder)


def _liking(goods: Shop) -> Shop:
    """The shop, its users with what they like: nothing, or up to four words; and a vector for most."""
    rng = np.random.default_rng(3)
    likes = [
        [[f"word {n}"] for n in rng.permutation(6)[: rng.integers(0, 5)]]
        for _ in range(len(goods.users))
    ]
    taste = [
        None if rng.random() < 0.2 else rng.standard_normal(6).tolist()
        for _ in range(len(goods.users))
    ]
    users = goods.users.append_column("likes", pa.array(likes, pa.list_(pa.list_(pa.string()))))
    users = users.append_column("taste", pa.array(taste, pa.list_(pa.float32())))
    return Shop(
        items=goods.items,
        details=goods.details,
        interactions=goods.interactions,
        users=users,
        dim=goods.dim,
    )


def config(*, seed: int = 0, model: dict[str, Any] | None = None, **data: Any) -> Config:
    """Settings with small batches and windows; further ones are of the section `data`."""
    small = {"batch_items": 60, "batch_users": 9, "shuffle_rows": 11}
    return Config.model_validate(
        {"model": model or {}, "data": small | data, "train": {"seed": seed}}
    )


def same(left: Batch, right: Batch) -> bool:
    """Whether two batches are equal in every field."""

    def equal(a: Any, b: Any) -> bool:
        if isinstance(a, torch.Tensor):
            return isinstance(b, torch.Tensor) and a.dtype == b.dtype and torch.equal(a, b)
        if isinstance(a, dict):
            return a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
        if isinstance(a, HistoryItems):
            return isinstance(b, HistoryItems) and equal(vars(a), vars(b))
        if isinstance(a, list):
            return len(a) == len(b) and all(map(equal, a, b))
        return bool(a == b)

    return all(equal(x, vars(right)[name]) for name, x in vars(left).items())


def all_same(left: Iterable[Batch], right: Iterable[Batch]) -> bool:
    """Whether two streams are equal."""
    left, right = list(left), list(right)
    return len(left) == len(right) and all(map(same, left, right))


def rows_of_batches(batches: Iterable[Batch]) -> list[dict[str, Any]]:
    """The rows of some batches as plain lists, without padding, ordered so that they can be compared."""
    rows = []
    for batch in batches:
        for b, length in enumerate(batch.length_B.tolist()):
            row: dict[str, Any] = {
                "user_id": batch.user_ids[b],
                "item_index": batch.item_BT[b, :length].tolist(),
                "timestamp_ms": batch.timestamp_BT[b, :length].tolist(),
            }
            if batch.behaviour_BT is not None:
                row["behaviour"] = batch.behaviour_BT[b, :length].tolist()
            for name, x in batch.user_features.items():
                cell = x[b].tolist()
                row[f"user_{name}"] = [t for t in cell if t] if isinstance(cell, list) else cell
            if batch.targets is not None:
                row["target_item_index"] = batch.targets[b].tolist()
            rows.append(row)
    return sorted(rows, key=str)


def rows_of_split(generation: Generation, split: str, longest: int = 50) -> list[dict[str, Any]]:
    """The same out of the shards, read plainly."""
    rows = []
    for row in generation.sequences(split).to_pylist():
        kept = {
            name: cell
            for name, cell in row.items()
            if not name.startswith(("item_", "target_", "window")) or name.endswith("item_index")
        }
        for name in ("item_index", "timestamp_ms", "behaviour"):
            kept[name] = kept[name][-longest:]
        rows.append(kept)
    return sorted(rows, key=lambda row: str({name: row[name] for name in _order(row)}))


def _order(row: dict[str, Any]) -> list[str]:
    users = [name for name in row if name.startswith("user_") and name != "user_id"]
    first = ["user_id", "item_index", "timestamp_ms", "behaviour", *users]
    return first + [name for name in row if name == "target_item_index"]
