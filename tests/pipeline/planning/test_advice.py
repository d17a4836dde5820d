"""Each warning comes where it should, and a sound input gives none."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from heterrec_pipeline.planning.plan import PlanConfig, plan
from heterrec_schemas.feature_spec import parse_spec

SPEC = """version: 1
name: odd
items:
  source: {path: items.parquet}
  key: item_id
  features:
    - {name: brand, kind: categorical, column: brand, min_count: MIN}
    - {name: look, kind: embedding, column: vector, dim: 8, groups: GROUPS, quantiles: 2}
interactions:
  source: {path: log.parquet}
  user: user_id
  item: item_id
  timestamp: {column: timestamp, unit: s}
  unknown_items: UNKNOWN
sequences: {max_length: 20}
split: {method: leave_one_out}
output: {sequence_shards: SHARDS}
limits: {max_reject_ratio: 0.01}
"""
Tables = dict[str, dict[str, Any]]


def tables() -> Tables:
    """500 items and 300 users with nothing odd about them."""
    rng = np.random.default_rng(0)
    items = [f"i{k}" for k in range(500)]
    return {
        "items": {
            "item_id": items,
            "brand": [f"b{k % 20}" for k in range(500)],
            "vector": rng.standard_normal((500, 8)).astype(np.float32).tolist(),
        },
        "log": {
            "user_id": [f"u{k % 300}" for k in range(3000)],
            "item_id": [items[k] for k in rng.integers(0, 500, 3000)],
            "timestamp": list(range(1_700_000_000, 1_700_003_000)),
        },
    }


def warnings_of(folder: Path, found: Tables, **words: object) -> list[str]:
    text = SPEC
    defaults = {"GROUPS": 4, "MIN": 1, "UNKNOWN": "drop", "SHARDS": 2}
    for name, value in (defaults | words).items():
        text = text.replace(name, str(value))
    for name, columns in found.items():
        pq.write_table(pa.table(columns), folder / f"{name}.parquet")
    return plan(PlanConfig(parse_spec(text), text, str(folder))).warnings


def no_brands(found: Tables) -> None:
    found["items"]["brand"] = pa.array(["b"] * 20 + [None] * 480)


def without_any_brand(found: Tables) -> None:
    found["items"]["brand"] = pa.nulls(500, pa.string())


def equal_vectors(found: Tables) -> None:
    found["items"]["vector"] = [[1.0] * 8] * 500


def robot(found: Tables) -> None:
    found["log"]["user_id"][:2000] = ["robot"] * 2000


def strangers(found: Tables) -> None:
    found["log"]["item_id"][:400] = ["x"] * 400


def bad_times(found: Tables) -> None:
    found["log"]["timestamp"][:100] = [-5] * 100


def test_a_sound_input_gives_no_warning(tmp_path: Path) -> None:
    assert warnings_of(tmp_path, tables()) == []


@pytest.mark.parametrize(
    ("spoil", "words", "said"),
    [
        (no_brands, {}, "feature 'brand' is missing in 96.0% of the rows read"),
        (without_any_brand, {}, "a build rejects a feature without any value"),
        (equal_vectors, {}, "of its codes are never used"),
        (lambda _: None, {"GROUPS": 1}, "a group has 256 codes for 500 items"),
        (lambda _: None, {"MIN": 26}, "have a value outside the vocabulary"),
        (robot, {}, "one user has 66.7% of the interactions"),
        (robot, {"SHARDS": 8}, "sequence shards are unbalanced"),
        (strangers, {}, "sampled rows have an item that the item table lacks: 'item_id' has 'x', "),
        (strangers, {"UNKNOWN": "reject"}, "would be rejected"),
        (bad_times, {}, "interactions: about 3.3% of the rows would be rejected"),
    ],
)
def test_what_is_odd_is_said(
    tmp_path: Path, spoil: Callable[[Tables], None], words: dict[str, object], said: str
) -> None:
    found = tables()
    spoil(found)
    lines = warnings_of(tmp_path, found, **words)
    assert any(said in line for line in lines), lines


def test_the_share_of_rejected_items_is_that_of_the_rows_that_count(tmp_path: Path) -> None:
    found = tables()
    # 6 of 300 rows that `where` leaves are rejected, 6 of 500 in all.
    found["items"]["keep"] = [k >= 200 for k in range(500)]
    found["items"]["item_id"][200:206] = [None] * 6
    found["log"]["item_id"] = found["items"]["item_id"][300:] * 15
    lines = warnings_of(
        tmp_path, found, **{"0.01": 0.015, "items.parquet}": "items.parquet, where: keep}"}
    )
    assert any("items: about 2.0% of the rows would be rejected" in line for line in lines), lines
