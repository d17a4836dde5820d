"""A generated shop: raw tables with the oddities of real ones, and the feature spec for them.

Oddities: text beyond ASCII or with blanks around it, missing cells of every feature, many equal
times, duplicate rows, items outside the catalogue, users without a row.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa

BEHAVIOURS = ("view", "cart", "purchase")
CATEGORIES = ("Hair", "Make-up", "Nägel", "香水", "Skin & Sun", "Bath")
FIRST_DAY = 19_700
"""Days since 1970: the shop opens on 2023-12-09."""
DAYS = 24
"""Days that the shop is open."""
HOURS = (0, 9, 20)
GROUP_WIDTH = 4
"""Number of dimensions per group of the vector."""


@dataclass(frozen=True, kw_only=True)
class Shop:
    """The raw tables of a shop.

    Attributes:
        items: item_id, category, brand, price and, unless `details` has them, categories (lists of
            paths) and vector (`dim` float32).
        details: item_id, categories, vector of most items, vectors never missing and of a fixed
            size; None if `items` has them.
        interactions: user_id, item_id, timestamp (seconds), event_type, event_id.
        users: user_id, age of most users, and of some without interactions.
        dim: the width of the vectors.
    """

    items: pa.Table
    details: pa.Table | None
    interactions: pa.Table
    users: pa.Table
    dim: int

    def tables(self) -> dict[str, pa.Table]:
        """The tables by the names of their files."""
        named = {
            "items": self.items,
            "details": self.details,
            "interactions": self.interactions,
            "users": self.users,
        }
        return {name: table for name, table in named.items() if table is not None}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of a shop's spec and files."""

    split: Literal["leave_one_out", "temporal"] = "leave_one_out"
    targets: Literal["all", "next", "last"] = "all"
    train_windows: Literal["last", "all"] = "last"
    unknown_items: Literal["drop", "oov"] = "drop"
    layout: Literal["referenced", "flattened"] = "referenced"
    codebooks: bool = False
    """Whether the vector has further features: `parts` (pq), `rests` (rq) and `turned` (reduced)."""
    min_length: int = 3
    max_length: int = 12
    item_shards: int = 2
    sequence_shards: int = 3
    item_vocabulary_shards: int = 1
    items_format: str = "jsonl.gz"
    details_format: str = "parquet"
    interactions_format: str = "csv.gz"
    users_format: str = "parquet"
    files: int = 2
    """Number of files per table."""

    def format_of(self, table: str) -> str:
        """The suffix of a table's files."""
        return str(getattr(self, f"{table}_format"))


def shop(
    seed: int = 0,
    items: int = 60,
    users: int = 40,
    interactions: int = 800,
    dim: int = 16,
    *,
    integer_keys: bool = False,
    joined: bool = False,
) -> Shop:
    """Generate a shop; equal arguments give equal tables.

    Args:
        seed: of the random numbers.
        items: number of items in the catalogue.
        users: number of users with interactions.
        interactions: number of rows of the log.
        dim: the width of the vectors, a multiple of 4.
        integer_keys: items and users have int64 keys rather than text.
        joined: categories and vectors are in a separate table, which lacks some items; the other
            table of items then has no lists and can be written as CSV.

    Raises:
        ValueError: `dim` is not a multiple of 4.
    """
    if dim % GROUP_WIDTH:
        raise ValueError(f"dim: got {dim}, expected a multiple of {GROUP_WIDTH}")
    rng = np.random.default_rng(seed)
    item_ids = _keys(rng, items, "B", integer_keys)
    user_ids = _keys(rng, users + users // 10, "u", integer_keys)
    catalogue = _items(rng, item_ids, dim)
    details = None
    if joined:
        # pyarrow cannot read missing lists of a fixed size back from Parquet, so those rows are left out.
        present = catalogue.filter(catalogue["vector"].is_valid())
        details = present.select(["item_id", "categories", "vector"])
        vectors = details["vector"].cast(pa.list_(pa.float32(), dim))
        details = details.set_column(2, "vector", vectors)
        catalogue = catalogue.drop_columns(["categories", "vector"])
    return Shop(
        items=catalogue,
        details=details,
        interactions=_interactions(rng, item_ids, user_ids[:users], interactions),
        users=_users(rng, user_ids[users // 10 :]),
        dim=dim,
    )


def spec_text(goods: Shop, settings: Settings | None = None) -> str:
    """The YAML of a feature spec for a shop's files."""
    s = settings or Settings()
    split = f"method: {s.split}"
    if s.split == "temporal":
        split += f", validation_at: 0.7, test_at: 0.85, targets: {s.targets}"
    books = ""
    if s.codebooks:
        vector = f"kind: embedding, column: vector, dim: {goods.dim}"
        books = f"""
    - {{name: parts, {vector}, quantizer: pq, groups: 2, codes: 8}}
    - {{name: rests, {vector}, quantizer: rq, levels: 3, codes: 4}}
    - {{name: turned, {vector}, reduce: {{pca: 4, rotate: true}}, groups: 2, quantiles: 3}}"""
    joins = ""
    if goods.details is not None:
        joins = (
            f'\n  joins:\n    - {{source: {{path: "details-*.{s.details_format}"}}, key: item_id}}'
        )
    return f"""version: 1
name: shop
items:
  source: {{path: "items-*.{s.items_format}"}}
  key: item_id{joins}
  features:
    - {{name: category, kind: categorical, column: category}}
    - {{name: brand, kind: categorical, column: brand, missing_values: [Unknown], min_count: 2,
       oov_buckets: 4}}
    - {{name: path, kind: categorical, column: categories, multivalued: true, nested: prefixes,
       max_values: 3}}
    - {{name: price, kind: numeric, column: price, bins: 8}}
    - {{name: look, kind: embedding, column: vector, dim: {goods.dim},
       groups: {goods.dim // GROUP_WIDTH}, quantiles: 3}}{books}
  catalogue_vocabulary: {{oov_buckets: {4 if s.unknown_items == "oov" else 0},
                         shards: {s.item_vocabulary_shards}}}
interactions:
  source: {{path: "interactions-*.{s.interactions_format}"}}
  user: user_id
  item: item_id
  timestamp: {{column: timestamp, unit: s}}
  behaviour: {{column: event_type, values: [{", ".join(BEHAVIOURS)}]}}
  order: event_id
  unknown_items: {s.unknown_items}
users:
  source: {{path: "users-*.{s.users_format}"}}
  key: user_id
  features:
    - {{name: age, kind: categorical, column: age, min_count: 2}}
    - {{name: age_bin, kind: numeric, column: age, bins: 4}}
sequences: {{min_length: {s.min_length}, max_length: {s.max_length}, deduplicate: exact,
            train_windows: {s.train_windows}}}
split: {{{split}}}
output: {{item_shards: {s.item_shards}, sequence_shards: {s.sequence_shards}, layout: {s.layout}}}
"""


def _keys(rng: np.random.Generator, count: int, letter: str, integers: bool) -> list[Any]:
    """Distinct keys in random order; integers have different numbers of digits, so that 9 comes before 10."""
    numbers = [int(n) for n in rng.permutation(3 * count)[:count]]
    return numbers if integers else [f"{letter}{n:05d}" for n in numbers]


def _items(rng: np.random.Generator, ids: list[Any], dim: int) -> pa.Table:
    count = len(ids)
    category = rng.integers(0, len(CATEGORIES), count)
    centres = rng.standard_normal((len(CATEGORIES), dim))
    vectors = (centres[category] + rng.standard_normal((count, dim))).astype(np.float32)
    prices = np.round(np.exp(rng.normal(2.5, 0.8, count)) * 2) / 2
    return pa.table(
        {
            "item_id": ids,
            "category": [CATEGORIES[c] for c in category],
            "categories": pa.array(
                _gaps(rng, [_paths(rng, CATEGORIES[c]) for c in category]),
                pa.list_(pa.list_(pa.string())),
            ),
            "brand": pa.array(_gaps(rng, _brands(rng, count)), pa.string()),
            "price": pa.array(_gaps(rng, prices.tolist()), pa.float64()),
            "vector": pa.array(_gaps(rng, vectors.tolist()), pa.list_(pa.float32())),
        }
    )


def _brands(rng: np.random.Generator, count: int) -> list[str]:
    """Few frequent and many rare names, some with blanks around them, some `Unknown`."""
    names = [f"Brand {n}" for n in (rng.pareto(1.0, count) * 3).astype(int)]
    for position in rng.permutation(count)[: count // 5]:
        names[position] = f" {names[position]} "
    for position in rng.permutation(count)[: count // 12]:
        names[position] = "Unknown"
    return names


def _paths(rng: np.random.Generator, category: str) -> list[list[str]]:
    """Zero to two paths of one to three nodes."""
    paths = []
    for _ in range(int(rng.integers(0, 3))):
        nodes = ["Shop", category, f"{category} {int(rng.integers(0, 3))}"]
        paths.append(nodes[: int(rng.integers(1, 4))])
    return paths


def _gaps(rng: np.random.Generator, cells: list[Any]) -> list[Any]:
    """The cells, one in twelve of them missing."""
    for position in rng.permutation(len(cells))[: len(cells) // 12]:
        cells[position] = None
    return cells


def _interactions(
    rng: np.random.Generator, items: list[Any], users: list[Any], count: int
) -> pa.Table:
    """The log: one row in fifty is a duplicate, one in fifty has an item outside the catalogue."""
    strange = [max(items) + 1 + n for n in range(5)] if isinstance(items[0], int) else ["X1", "X2"]
    distinct = count - count // 50
    item = _popular(rng, items, distinct, 0.7)
    for position in rng.permutation(distinct)[: distinct // 50]:
        item[position] = strange[int(rng.integers(0, len(strange)))]
    hours = 24 * (FIRST_DAY + rng.integers(0, DAYS, distinct)) + rng.choice(HOURS, distinct)
    behaviour = rng.choice(len(BEHAVIOURS), distinct, p=[0.7, 0.2, 0.1])
    columns = {
        "user_id": _popular(rng, users, distinct, 1.3),
        "item_id": item,
        "timestamp": (hours * 3600).tolist(),
        "event_type": [BEHAVIOURS[b] for b in behaviour],
    }
    order = rng.permutation(np.concatenate([np.arange(distinct), np.arange(count - distinct)]))
    event_ids = [int(n) for n in rng.permutation(count) + 1]
    table = pa.table(columns).take(pa.array(order))
    return table.append_column("event_id", pa.array(_gaps(rng, event_ids), pa.int64()))


def _popular(rng: np.random.Generator, names: list[Any], count: int, steepness: float) -> list[Any]:
    """Random names: the first ones are frequent, the last ones rare."""
    weights = 1 / np.arange(1, len(names) + 1) ** steepness
    return [names[n] for n in rng.choice(len(names), count, p=weights / weights.sum())]


def _users(rng: np.random.Generator, ids: list[Any]) -> pa.Table:
    ages = [int(a) for a in rng.normal(35, 6, len(ids))]
    return pa.table({"user_id": ids, "age": pa.array(_gaps(rng, ages), pa.int64())})
