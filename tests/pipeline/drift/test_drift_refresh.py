"""Refreshes of the corner shop: the report against counts in plain Python, the gate, and `inspect --drift`."""

import json
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet as pq
import pytest
from corner_shop import ITEMS, Finished, Shop, heterrec
from rich.console import Console

from heterrec_pipeline.building import BuildConfig, BuildResult, build
from heterrec_pipeline.commands.generation_display import run_inspect
from heterrec_schemas import Generation, open_generation
from heterrec_schemas.drift import DriftReport, FeatureDrift
from heterrec_schemas.feature_spec import parse_spec

BINS = {"brand": 3, "price": 4, "look": 2, "user_age": 3}


class Chain(NamedTuple):
    """A build, a refresh that drifts too far, the same with allow_drift, and a refit of unchanged input."""

    shop: Shop
    refused: Finished
    allowed: BuildResult


@pytest.fixture(scope="module")
def chain(built_shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> Chain:
    shop = built_shop.copy(tmp_path_factory.mktemp("chain") / "shop")
    shop.spec["drift"] = {"min_rows": 8}
    shop.write_spec()
    items = shop.rows("items.csv")
    changed = [[k, "Pear" if k < "i04" else b, "0.25" if k < "i15" else p] for k, b, p in items[1:]]
    shop.put("items.csv", [items[0], *changed[:-4]])
    output, text = str(shop.output), shop.spec_path.read_text()
    config = BuildConfig(parse_spec(text), text, str(shop.input), output, workers=1, base=output)
    refused = heterrec(
        "refresh", "--base", output, *shop.arguments()[:4], "--workers", "1", "--quiet"
    )
    allowed = build(replace(config, allow_drift=True))
    build(replace(config, refit=["look", "user_age"]))
    return Chain(shop, refused, allowed)


def generations(shop: Shop) -> list[Generation]:
    return [open_generation(shop.output / "generations" / g) for g in shop.generations()]


def report_of(generation: Generation) -> DriftReport:
    found = generation.drift()
    assert found is not None
    return found


def columns(generation: Generation) -> dict[str, list[Any]]:
    """The token columns, read without the project."""
    root, found = Path(generation.root), {}
    for pattern, names in (
        ("items/*", ("brand", "price", "look")),
        ("sequences/latest-*", ("user_age",)),
    ):
        tables = [pq.read_table(p) for p in sorted(root.glob(pattern))]
        for name in names:
            found[name] = [cell for t in tables for cell in t[name].to_pylist()]
    return found


def plain_counts(feature: FeatureDrift, cells: list[Any]) -> Any:
    """The number of tokens per bin."""
    if feature.name == "look":  # groups of two dimensions, two quantiles
        codes = [[t - 2 for t in cell] for cell in cells if cell != [1, 1]]
        bins = [
            [sum(c[d // 2] // 2 ** (d % 2) % 2 == b for c in codes) for b in (0, 1)]
            for d in range(4)
        ]
        return len(cells) - len(codes), bins
    counts = Counter(cells)
    if feature.bins is None:
        return [counts[t] for t in range(1, 2 + BINS[feature.stem])]
    most, largest = feature.bins.tokens, feature.bins.largest
    known = sum(n for t, n in counts.items() if 1 < t <= largest and t not in most)
    new = sum(n for t, n in counts.items() if t > largest)
    return [counts[1], 0, *(counts[t] for t in most), known, new]


def test_counts_are_those_of_the_tables(chain: Chain) -> None:
    built, _, allowed, last = generations(chain.shop)
    for parent, refresh in ((built, allowed), (allowed, last)):
        before, now, report = columns(parent), columns(refresh), report_of(refresh)
        assert report.parent == parent.manifest.generation == refresh.manifest.parent
        assert [f.stem for f in report.features] == ["brand", "price", "look", "user_age"]
        for feature in report.features:
            assert feature.present == plain_counts(feature, now[feature.stem])
            if feature.parent is not None:
                assert feature.parent == plain_counts(feature, before[feature.stem])
    assert report_of(allowed).rows.items == (ITEMS, ITEMS - 4, 0.2)
    brand = report_of(allowed).features[0]
    assert brand.values is not None
    assert brand.values.model_dump() == {
        "known": 3,
        "new": 1,
        "returned": 0,
        "retired": 0,
        "erased": 0,
    }


def test_a_refit_begins_a_new_baseline(chain: Chain) -> None:
    built, _, allowed, last = generations(chain.shop)
    first = {f.stem: f for f in report_of(allowed).features}
    for feature in report_of(last).features:
        if feature.stem in ("look", "user_age"):
            assert (feature.psi, feature.psi_fit, feature.parent) == (None, None, None)
            assert feature.baseline == feature.present
            assert feature.missing[0] == first[feature.stem].missing[1]
        else:
            assert feature.psi == 0
            assert feature.psi_fit == first[feature.stem].psi
            assert feature.baseline == plain_counts(feature, columns(built)[feature.stem])
    assert report_of(last).status == "pass"


def test_too_much_drift_is_not_published(chain: Chain) -> None:
    shop, failed, allowed = chain
    parent, refused, _, newest = shop.generations()
    assert failed.code == 1, failed
    manifest = generations(shop)[1].manifest
    report = report_of(generations(shop)[1])
    assert (manifest.drift, report.status, report.allowed) == ("fail", "fail", False)
    price = next(f for f in report.features if f.name == "price")
    assert f"not published: {refused} drifted too far from its parent {parent}" in failed.err
    assert f"price: psi {price.psi:g} (limit 0.25)" in failed.err
    for words in ("--allow-drift", f"publish {shop.output} --generation {refused}", "--drift"):
        assert words in failed.err
    assert report_of(generations(shop)[2]).allowed
    assert shop.latest() == newest
    assert f"price: psi {price.psi:g} (limit 0.25)" in allowed.warnings
    assert "items: a fall of 0.2 (limit 0.2), 16 of 20 rows left" in allowed.warnings
    # The report is listed, and says nothing about the content.
    assert [f.rows for f in manifest.files if f.path == "drift.json"] == [None]
    assert manifest.content_sha256 == generations(shop)[2].manifest.content_sha256


def test_inspect_shows_the_worst_first(chain: Chain, capsys: pytest.CaptureFixture[str]) -> None:
    built, refused = (chain.shop.output / "generations" / g for g in chain.shop.generations()[:2])
    shown = heterrec("inspect", refused, "--drift", PYTHONIOENCODING="ascii", COLUMNS="80")
    assert shown.code == 0, shown.err
    lines = shown.out.splitlines()
    assert all(line.isascii() and len(line) <= 80 for line in lines)
    worst = report_of(open_generation(refused)).worst_first()
    first = [re.sub(r"^\W*(\w*).*", r"\1", line) for line in lines]
    at = [first.index(f.stem) for f in worst]
    assert at == sorted(at)
    assert "price: psi" in shown.out
    run_inspect(str(refused), drift=True, as_json=True, console=Console())
    body = json.loads(capsys.readouterr().out)["drift"]
    assert [f["name"] for f in body["features"]] == [f.name for f in worst]
    assert body["rows"]["items"] == [20, 16, 0.2]
    run_inspect(str(refused), console=Console())
    assert "\ndrift       fail\n" in capsys.readouterr().out
    run_inspect(str(built), drift=True, console=Console())
    assert capsys.readouterr().out.startswith("This generation is a build")
