"""`plan` on made-up shops: what it reads wholly it counts, what it samples it bounds, and what it warns of."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from corner_shop import heterrec

from heterrec_pipeline.building import BuildConfig, build
from heterrec_pipeline.checking.outlook_display import size
from heterrec_pipeline.planning.estimates import Interval
from heterrec_pipeline.planning.plan import Plan, PlanConfig, plan
from heterrec_pipeline.planning.plan_display import as_json, number
from heterrec_schemas.errors import SchemaMismatchError
from heterrec_schemas.feature_spec import parse_spec
from heterrec_schemas.manifest import STATE, FeatureEntry, Manifest
from heterrec_schemas.testing import Settings, shop, write_shop

ITEMS, USERS, ROWS, DIM = 3000, 4000, 40_000, 8
SPEC = """version: 1
name: large
items:
  source: {path: items.parquet}
  key: item_id
  features:
    - {name: brand, kind: categorical, column: brand}
    - {name: price, kind: numeric, column: price, bins: 16}
    - {name: look, kind: embedding, column: vector, dim: 8, groups: 2, quantiles: 2}
interactions:
  source: {path: log.parquet}
  user: user_id
  item: item_id
  timestamp: {column: timestamp, unit: s}
sequences: {min_length: 2, max_length: 20}
split: {method: leave_one_out}
output: {item_shards: 2, sequence_shards: 4}
"""


def write_large(folder: Path, seed: int) -> str:
    """A shop in Parquet files of many row groups, so that a small budget reads some of them."""
    rng = np.random.default_rng(seed)
    ids = [f"i{k:05d}" for k in rng.permutation(ITEMS)]
    vectors = pa.array(list(rng.standard_normal((ITEMS, DIM)).astype(np.float32)))
    items = {
        "item_id": ids,
        "brand": [f"brand {k}" for k in np.minimum(rng.zipf(1.5, ITEMS), 2000)],
        "price": rng.exponential(20, ITEMS).round(2),
        "vector": vectors.cast(pa.list_(pa.float32())),
    }
    lengths = np.round(rng.exponential(ROWS / USERS, USERS) + 0.5).astype(int)
    users = rng.permutation(np.repeat(np.arange(USERS), lengths))
    log = {
        "user_id": [f"u{k}" for k in users],
        "item_id": [ids[k] for k in rng.integers(0, ITEMS, len(users))],
        "timestamp": 1_700_000_000 + rng.integers(0, 10**7, len(users)),
    }
    pq.write_table(pa.table(items), folder / "items.parquet", row_group_size=ITEMS // 60)
    pq.write_table(pa.table(log), folder / "log.parquet", row_group_size=ROWS // 80)
    return SPEC


def planned(text: str, folder: Path, **more: Any) -> Plan:
    return plan(PlanConfig(parse_spec(text), text, str(folder), **more))


def built(text: str, folder: Path, output: Path) -> Manifest:
    return build(BuildConfig(parse_spec(text), text, str(folder), str(output))).manifest


def within(found: Interval, truth: int) -> bool:
    return found.low <= truth <= found.high


def undated(entry: FeatureEntry | None) -> FeatureEntry:
    """The entry of a feature without the ids of generations."""
    assert entry is not None
    return entry.model_copy(update={"begun": None, "fitted": None})


@pytest.mark.parametrize(
    "settings",
    [
        Settings(),
        Settings(split="temporal", targets="next", train_windows="all"),
        Settings(unknown_items="oov", layout="flattened", item_vocabulary_shards=3),
    ],
)
def test_a_small_input_is_told_exactly(tmp_path: Path, settings: Settings) -> None:
    joined = settings.layout == "flattened"
    spec = write_shop(tmp_path / "in", shop(3, joined=joined), settings)
    text = spec.read_text(encoding="utf-8")
    found = planned(text, tmp_path / "in")
    manifest = built(text, tmp_path / "in", tmp_path / "out")
    counts = manifest.counts
    figures = found.figures
    for expected, real in (
        (figures.items, counts.items),
        (figures.users, counts.users),
        (figures.log, counts.interactions),
    ):
        assert real is not None
        assert expected is not None
        for name, value in real.model_dump(exclude={"repeated", "retired"}).items():
            assert expected[name] == Interval.exactly(value), name
    assert {s: e.value for s, e in figures.sequences.items()} == counts.sequences
    assert figures.rejects == manifest.rejects
    real_bytes: dict[str, int] = {}
    for file in manifest.files:
        folder = file.path.split("/")[0]
        kind = folder if file.rows is not None or folder == STATE else "texts"
        real_bytes[kind] = real_bytes.get(kind, 0) + file.bytes
    told_bytes: dict[str, int] = {}
    for entry in found.files:
        kind = entry.kind.split("/")[0]
        told_bytes[kind] = told_bytes.get(kind, 0) + entry.bytes
    told_bytes["texts"] = sum(n for name, n in found.texts.items() if name != "manifest.json")
    for kind, real_size in real_bytes.items():
        assert told_bytes[kind] == pytest.approx(real_size, rel=0.25), kind
    assert [undated(f.entry) for f in figures.features] == [*map(undated, manifest.features)]


@pytest.fixture(scope="module", params=[0, 1])
def large(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Path, Manifest]:
    """A spec, its input, and the manifest of a build."""
    folder = tmp_path_factory.mktemp("large")
    text = write_large(folder, request.param)
    return text, folder, built(text, folder, folder / "out")


def test_a_part_of_the_input_bounds_the_whole(large: tuple[str, Path, Manifest]) -> None:
    text, folder, manifest = large
    found = planned(text, folder, sample_bytes=60_000)

    figures = found.figures
    part = figures.read.log.part
    assert 8 <= part.read < part.total
    assert figures.read.items.part.share < 1
    counts, log = manifest.counts, manifest.counts.interactions
    assert within(figures.items["kept"], counts.items.kept)
    assert figures.log["read"] == Interval.exactly(log.read)
    assert figures.log["kept"].value == pytest.approx(log.kept, rel=0.25)
    assert within(figures.user_count, USERS)
    for split, rows in counts.sequences.items():
        assert figures.sequences[split].value == pytest.approx(rows, rel=0.25), split
    brand, price, look = figures.features
    values = next(f for f in manifest.features if f.name == "brand").vocabulary_size - 2
    assert within(brand.distinct, values)
    assert within(price.ids, 16)
    assert within(look.ids, 32)
    real = sum(f.bytes for f in manifest.files)
    assert found.bytes_out == pytest.approx(real, rel=0.25)


@pytest.mark.parametrize("large", [1], indirect=True)
def test_a_full_scan_is_exact_whatever_the_budget(large: tuple[str, Path, Manifest]) -> None:
    text, folder, manifest = large
    found = planned(text, folder, sample_bytes=10_000, full_scan=True)
    figures = found.figures
    assert figures.user_count == Interval.exactly(USERS)
    assert figures.items["kept"] == Interval.exactly(manifest.counts.items.kept)
    assert [undated(f.entry) for f in figures.features] == [*map(undated, manifest.features)]
    assert all(f.ids.exact for f in figures.features)


def test_equal_calls_give_equal_plans(tmp_path: Path) -> None:
    text = write_large(tmp_path, 1)
    one, two = (as_json(planned(text, tmp_path, sample_bytes=50_000)) for _ in range(2))
    assert one == two


def test_json_has_the_documented_layout(tmp_path: Path) -> None:
    spec = write_shop(tmp_path, shop(0))
    done = heterrec("plan", "--spec", str(spec), "--input", str(tmp_path), "--json")
    assert done.code == 0, done.err
    body = json.loads(done.out)
    text = Path(__file__).parents[3].joinpath("docs", "plan.md").read_text(encoding="utf-8")
    for name in body:
        assert f"`{name}`" in text, f"docs/plan.md does not describe {name}"
    assert body["plan_version"] == 1
    assert set(body["rows"]) == {"items", "users", "interactions", "sequences"}
    kept = body["rows"]["interactions"]["kept"]
    assert kept == {
        "low": kept["value"],
        "value": kept["value"],
        "high": kept["value"],
        "exact": True,
    }
    embedding = next(f for f in body["features"] if f["kind"] == "embedding")
    assert embedding["codes_used"]["value"] <= embedding["groups"] * embedding["codes_a_group"]
    assert sum(f["bytes"] for f in body["files"]) + body["text_bytes"] == body["bytes_out"]


def test_a_plan_is_shown_and_nothing_is_written(tmp_path: Path) -> None:
    spec = write_shop(tmp_path, shop(0))
    before = sorted(p.name for p in tmp_path.iterdir())
    done = heterrec("plan", "--spec", str(spec), "--input", str(tmp_path))
    assert done.code == 0, done.err
    for word in ("expected rows", "Features", "sequences/train", "Memory per worker", "never used"):
        assert word in done.out
    assert sorted(p.name for p in tmp_path.iterdir()) == before


def test_a_mistake_is_named_as_a_build_names_it(tmp_path: Path) -> None:
    text = write_large(tmp_path, 0).replace("column: brand", "column: brnad")
    with pytest.raises(SchemaMismatchError, match="brnad"):
        planned(text, tmp_path)


def test_numbers_are_written_for_people() -> None:
    assert number(Interval.exactly(12101)) == "12,101"
    assert number(Interval(900, 1000, 4000)) == "~1,000 (900 to 4,000)"
    assert [size(n) for n in (12, 1500, 2_000_000, 3.2e9)] == ["12 B", "1.5 kB", "2.0 MB", "3.2 GB"]
