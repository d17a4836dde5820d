"""Plans of denormalised logs against real builds: unreadable times, unknown items, every aggregate, several files."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml

from heterrec_pipeline.building import BuildConfig, build
from heterrec_pipeline.planning.figures import shared_out
from heterrec_pipeline.planning.plan import Plan, PlanConfig, plan
from heterrec_schemas.feature_spec import parse_spec
from heterrec_schemas.manifest import Manifest

ROWS, FILES = 6000, 3
OUTCOMES = ("kept", "unknown_item", "duplicate", "short_user", "rejected")


def write_log(folder: Path) -> None:
    """CSV files: a tenth of the items have only rows with unreadable times, some rows an unknown behaviour."""
    rng = np.random.default_rng(0)
    item = (800 * rng.random(ROWS) ** 2).astype(int)
    late = (rng.random(ROWS) < 0.05) | (item >= 720)
    time = 1_700_000_000 + rng.integers(0, 10**6, ROWS)
    log = pl.DataFrame(
        {
            "user": [f"u{int(k)}" for k in 900 * rng.random(ROWS) ** 2],
            "item": [f"i{k}" for k in item.tolist()],
            "time": ["later" if bad else str(t) for bad, t in zip(late, time, strict=True)],
            "price": np.round(item % 37 + rng.random(ROWS), 2),
            "brand": [f"b{k % 11}" for k in item.tolist()],
            "act": rng.choice(["view", "buy", "odd"], ROWS, p=[0.6, 0.35, 0.05]),
        }
    )
    log = pl.concat([log, log.sample(200, seed=1)])  # duplicates
    for k, part in enumerate(log.iter_slices(-(-len(log) // FILES))):
        part.write_csv(folder / f"log-{k}.csv")


def spec(unknown: str = "drop") -> str:
    numbers = [
        {"name": f"price_{how}", "kind": "numeric", "column": "price", "bins": 4, "aggregate": how}
        for how in ("latest", "mean", "median")
    ]
    brand = {"name": "brand", "kind": "categorical", "column": "brand"}
    items: dict[str, Any] = {"source": "interactions", "key": "item", "features": [brand, *numbers]}
    if unknown == "oov":
        items["catalogue_vocabulary"] = {"oov_buckets": 4}
    interactions = {
        "source": {"path": "log-*.csv"},
        "user": "user",
        "item": "item",
        "timestamp": {"column": "time", "unit": "s"},
        "behaviour": {"column": "act", "values": ["view", "buy"]},
        "unknown_items": unknown,
    }
    return yaml.safe_dump(
        {
            "version": 1,
            "name": "denormalised",
            "items": items,
            "interactions": interactions,
            "sequences": {"min_length": 3, "max_length": 20},
            "split": {"method": "leave_one_out"},
            "limits": {"max_reject_ratio": 1.0},
        }
    )


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("log")
    write_log(folder)
    return folder


@pytest.fixture(scope="module")
def built(log: Path, tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    text = spec()
    output = tmp_path_factory.mktemp("out")
    return build(BuildConfig(parse_spec(text), text, str(log), str(output))).manifest


def planned(log: Path, text: str, **more: Any) -> Plan:
    return plan(PlanConfig(parse_spec(text), text, str(log), **more))


def values(found: dict[str, Any]) -> dict[str, int]:
    return {name: interval.value for name, interval in found.items()}


def assert_sums(found: Plan) -> None:
    counts, items = values(found.figures.log), values(found.figures.items)
    assert counts["read"] == sum(counts[name] for name in OUTCOMES)
    assert items["read"] == items["kept"] + items["rejected"]


def test_a_full_scan_gives_the_counts_of_the_manifest(log: Path, built: Manifest) -> None:
    figures = planned(log, spec(), full_scan=True).figures
    assert values(figures.log) == built.counts.interactions.model_dump()
    assert values(figures.items) == built.counts.items.model_dump(exclude={"repeated", "retired"})
    assert figures.rejects == built.rejects


@pytest.mark.parametrize("unknown", ["drop", "reject", "oov"])
def test_a_sample_of_a_log_that_is_read_completely(
    log: Path, built: Manifest, unknown: str
) -> None:
    found = planned(log, spec(unknown), sample_rows=1000)
    figures, counts = found.figures, built.counts
    assert not figures.read.whole
    assert_sums(found)
    assert figures.items["kept"].exact
    assert figures.items["kept"].value == counts.items.kept
    real = counts.interactions.model_dump()
    for name in ("read", "unknown_item", "rejected"):
        assert (figures.log[name].exact, figures.log[name].value) == (True, real[name]), name
    for name in ("kept", "duplicate", "short_user"):
        assert figures.log[name].value == pytest.approx(real[name], rel=0.25, abs=60), name
    assert figures.rejects == built.rejects


@pytest.mark.parametrize("budget", [40_000, 100_000])
def test_some_blocks_of_a_log(log: Path, built: Manifest, budget: int) -> None:
    found = planned(log, spec(), sample_rows=1000, sample_bytes=budget)
    assert not found.figures.read.log.part.whole
    assert_sums(found)
    kept = found.figures.items["kept"]
    assert kept.low <= built.counts.items.kept <= kept.high
    assert found.figures.log["unknown_item"].value == 0


@pytest.mark.parametrize(
    ("total", "weights", "shares"),
    [
        (10, [1, 1, 1], [3, 4, 3]),
        (10, [2, 3, 5], [2, 3, 5]),
        (7, [0, 0], [7, 0]),
        (3, [0.0, 1e-9, 0.0], [0, 3, 0]),
        (0, [1, 2], [0, 0]),
    ],
)
def test_shares_add_up(total: int, weights: list[float], shares: list[int]) -> None:
    assert shared_out(total, weights) == shares
