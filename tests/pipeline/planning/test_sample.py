"""A sample of a larger input: joined tables, users, text files, and items out of the log, against real builds."""

import gzip
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from heterrec_pipeline.building import BuildConfig, build
from heterrec_pipeline.planning.estimates import Interval
from heterrec_pipeline.planning.plan import Plan, PlanConfig, plan
from heterrec_schemas.feature_spec import parse_spec
from heterrec_schemas.manifest import Manifest

ITEMS, USERS, ROWS = 3000, 2500, 30_000
SPEC = """version: 1
name: large
items:
  source: {path: items.ITEMS}
  key: item_id
  joins:
    - {source: {path: vectors.parquet}, key: item_id}
  features:
    - {name: brand, kind: categorical, column: brand, min_count: 2, oov_buckets: 4}
    - {name: tags, kind: categorical, column: tags, multivalued: true}
    - {name: look, kind: embedding, column: vector, dim: 8, groups: 2, quantiles: 4}
users:
  source: {path: users.parquet}
  key: user
  features:
    - {name: city, kind: categorical, column: city}
interactions:
  source: {path: log.LOG}
  user: user
  item: item_id
  timestamp: {column: timestamp, unit: s}
  unknown_items: UNKNOWN
sequences: {min_length: 2, max_length: 20}
split: {method: temporal, validation_at: 0.8, test_at: 0.9}
output: {item_shards: 2, sequence_shards: 4, layout: LAYOUT}
limits: {max_reject_ratio: 0.5}
"""
DENORMALISED = """version: 1
name: denormalised
items:
  source: interactions
  key: item_id
  features:
    - {name: brand, kind: categorical, column: brand, min_count: 2, oov_buckets: 4}
    - {name: price, kind: numeric, column: price, bins: 16, aggregate: median}
interactions:
  source: {path: log.parquet}
  user: user
  item: item_id
  timestamp: {column: timestamp, unit: s}
sequences: {min_length: 2, max_length: 20}
split: {method: leave_one_out}
output: {sequence_shards: 2}
"""
Columns = dict[str, Any]


def shop() -> tuple[Columns, Columns, Columns, Columns]:
    """Items, vectors of most of them, users with integer keys, and a log a tenth of which has unknown items."""
    rng = np.random.default_rng(0)
    ids = [f"i{k:05d}" for k in rng.permutation(ITEMS)]
    items = {
        "item_id": ids,
        "brand": [f"brand {k}" for k in np.minimum(rng.zipf(1.5, ITEMS), 2000).tolist()],
        "tags": [[f"t{x}" for x in rng.integers(0, 99, k)] for k in rng.integers(0, 4, ITEMS)],
    }
    some = [i for i in ids if rng.random() < 0.8]
    vectors = pa.array(list(rng.standard_normal((len(some), 8)).astype(np.float32)))
    lengths = np.round(rng.exponential(ROWS / USERS, USERS) + 0.5).astype(int)
    users = rng.permutation(np.repeat(np.arange(USERS), lengths))
    log = {
        "user": users.tolist(),
        "item_id": [
            ids[k] if rng.random() > 0.1 else f"x{k}" for k in rng.integers(0, ITEMS, len(users))
        ],
        "timestamp": (1_700_000_000 + rng.integers(0, 10**7, len(users))).tolist(),
    }
    people = {"user": list(range(USERS)), "city": [f"c{k}" for k in rng.integers(0, 200, USERS)]}
    return items, {"item_id": some, "vector": vectors}, people, log


def written(folder: Path, *, texts: bool) -> None:
    items, vectors, users, log = shop()
    tables = {"items": items, "vectors": vectors, "users": users, "log": log}
    for name, columns in tables.items():
        table = pa.table(columns)
        if texts and name == "items":
            lines = "".join(json.dumps(row) + "\n" for row in table.to_pylist())
            (folder / "items.jsonl").write_text(lines)
        elif texts and name == "log":
            rows = "".join(f"{u},{i},{t}\n" for u, i, t in zip(*log.values(), strict=True))
            body = f"user,item_id,timestamp\n{rows}" + "no,row,at,all\n" * 30
            (folder / "log.csv.gz").write_bytes(gzip.compress(body.encode()))
        else:
            pq.write_table(table, folder / f"{name}.parquet", row_group_size=len(table) // 60)


def spec_of(*, texts: bool, unknown: str, layout: str) -> str:
    text = SPEC.replace("UNKNOWN", unknown).replace("LAYOUT", layout)
    kinds = ("jsonl", "csv.gz") if texts else ("parquet", "parquet")
    return text.replace("items.ITEMS", f"items.{kinds[0]}").replace("log.LOG", f"log.{kinds[1]}")


@dataclass(frozen=True)
class Shop:
    """A spec, its input, and the manifest of a build."""

    text: str
    folder: Path
    manifest: Manifest

    def planned(self, **sample: int) -> Plan:
        return plan(PlanConfig(parse_spec(self.text), self.text, str(self.folder), **sample))


def built(text: str, folder: Path) -> Shop:
    config = BuildConfig(parse_spec(text), text, str(folder), str(folder / "out"))
    return Shop(text, folder, build(config).manifest)


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """Parquet tables; unknown items are dropped."""
    folder = tmp_path_factory.mktemp("tables")
    written(folder, texts=False)
    return built(spec_of(texts=False, unknown="drop", layout="referenced"), folder)


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """Text files; unknown items are rejected."""
    folder = tmp_path_factory.mktemp("texts")
    written(folder, texts=True)
    return built(spec_of(texts=True, unknown="reject", layout="flattened"), folder)


@pytest.fixture(scope="module")
def from_log(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """A denormalised log."""
    folder = tmp_path_factory.mktemp("from_log")
    items, _, _, log = shop()
    at = {item: k for k, item in enumerate(items["item_id"])}
    log["item_id"] = [i if i in at else "i00000" for i in log["item_id"]]
    log["brand"] = [items["brand"][at[i]] for i in log["item_id"]]
    log["price"] = [float(at[i] % 97) for i in log["item_id"]]
    table = pa.table(log)
    pq.write_table(table, folder / "log.parquet", row_group_size=len(table) // 80)
    return built(DENORMALISED, folder)


def assert_near(found: Plan, manifest: Manifest) -> None:
    """Rows and bytes are within a quarter, cardinalities within their intervals."""
    figures, counts = found.figures, manifest.counts
    assert not figures.read.whole
    for name in ("read", "kept", "rejected", "unknown_item"):
        real = getattr(counts.interactions, name)
        assert figures.log[name].value == pytest.approx(real, rel=0.25, abs=60), name
    for split, rows in counts.sequences.items():
        assert figures.sequences[split].value == pytest.approx(rows, rel=0.3), split
    assert within(figures.items["kept"], counts.items.kept)
    for feature, entry in zip(figures.features, manifest.features, strict=True):
        rows = counts.items.kept if entry.side == "item" else counts.users.kept
        assert feature.missing_share == pytest.approx(entry.missing / rows, abs=0.05)
        if entry.kind == "categorical":
            oov = feature.feature.oov_buckets
            assert within(feature.ids, entry.vocabulary_size - 2 - oov), entry.name
            assert feature.ids.high <= feature.distinct.high
        elif entry.kind == "embedding":
            assert within(feature.ids, 2 * 4**4)
    assert found.bytes_out == pytest.approx(sum(f.bytes for f in manifest.files), rel=0.25)


def within(found: Interval, truth: int) -> bool:
    return found.low <= truth <= found.high


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tables", "texts"])
def test_whole_users_of_a_log_that_is_read_completely(
    name: str, request: pytest.FixtureRequest
) -> None:
    real: Shop = request.getfixturevalue(name)
    found = real.planned(sample_rows=6000)
    assert_near(found, real.manifest)
    figures = found.figures
    assert figures.read.log.part.whole
    assert figures.user_count.exact
    assert figures.log["rejected"].value == real.manifest.counts.interactions.rejected
    assert figures.rejects == real.manifest.rejects


@pytest.mark.slow
def test_blocks_of_every_table(tables: Shop) -> None:
    found = tables.planned(sample_bytes=40_000)
    assert_near(found, tables.manifest)
    parts = [t.part for t in found.figures.read.tables.values()]
    assert all(part.read < part.total for part in parts[:2])
    assert within(found.figures.user_count, USERS)


@pytest.mark.slow
def test_beginnings_of_text_files_give_a_warning(texts: Shop) -> None:
    found = texts.planned(sample_bytes=60_000)
    assert any("only the beginnings" in line for line in found.warnings)
    assert within(found.figures.items["kept"], texts.manifest.counts.items.kept)
    assert within(found.figures.user_count, USERS)


@pytest.mark.slow
@pytest.mark.parametrize("sample", [{"sample_rows": 6000}, {"sample_bytes": 40_000}])
def test_items_out_of_the_log(from_log: Shop, sample: dict[str, int]) -> None:
    assert_near(from_log.planned(**sample), from_log.manifest)
