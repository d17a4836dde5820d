"""`heterrec-pipeline report` and `build --report`, by the command line."""

import csv
import json
import re
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import Browser, find_chromium
from browser_pages import check_page
from corner_shop import Shop, heterrec

from heterrec_pipeline.statistics.bins import first_of_bin
from heterrec_schemas import open_generation
from heterrec_schemas.manifest import MANIFEST_NAME

TITLES = [
    *("Summary", "Rows and rejects", "Interactions", "Features", "Changes"),
    *("Items in tokens", "Users in words"),
]


def written(path: str | Path, *arguments: object) -> str:
    done = heterrec("report", path, *arguments)
    assert done.code == 0, done.err
    return Path(done.out.strip()).read_text()


def root_of(shop: Shop) -> Path:
    return shop.output / "generations" / shop.latest()


def statistics_of(root: Path) -> dict[str, Any]:
    return dict(json.loads((root / "statistics.json").read_text()))


def test_statistics_are_those_of_the_tables(built_shop: Shop) -> None:
    generation = open_generation(root_of(built_shop))
    found = generation.statistics()
    users = generation.sequences("latest")["user_id"].to_pylist()
    assert sum(n for _, n in found["history_lengths"]) == len(users)
    with (built_shop.input / "log.csv").open(newline="") as file:
        rows = Counter(row["user_id"] for row in csv.DictReader(file))
    assert found["interactions"] == sum(rows.values())
    binned = Counter(first_of_bin(np.array(list(rows.values()))).tolist())
    assert dict(map(tuple, found["history_lengths"])) == binned
    counts = generation.item_counts()["train_count"].to_pylist()
    assert sum(n for _, n in found["train_counts"]) == len(counts)
    assert sum(n for _, n in found["days"]) == found["interactions"]
    features = {f["name"]: f for f in found["features"]}
    items = generation.items()
    brands = Counter(t for t in items["brand"].to_pylist() if t >= 2)
    assert Counter(dict(map(tuple, features["brand"]["top"]))) == brands
    assert features["brand"]["ids"] == len(brands)
    prices = Counter(items["price"].to_pylist())
    assert features["price"]["tokens"] == [prices[2 + k] for k in range(max(prices) - 1)]
    looks = [tuple(cell) for cell in items["look"].to_pylist() if cell[0] > 1]
    assert features["look"]["rows"] == {"distinct": len(set(looks)), "exact": True}
    assert features["look"]["used"] == [len({c[z] for c in looks}) for z in range(2)]
    assert features["look"]["fit"]["vectors"] == len(looks)


def test_a_report_has_all_parts_and_is_the_same_again(built_shop: Shop, tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    text = written(built_shop.output, "--output", file)
    titles = re.findall(r"<h2 id=.*?>(.*?)</h2>", text)
    assert titles == TITLES
    assert len(text) < 1_000_000
    assert text.count("<svg ") == text.count('role="img" aria-label=') >= 6
    assert "<script" not in text
    assert written(built_shop.output, "--output", file) == text
    assert [p.name for p in tmp_path.iterdir()] == ["page.html"]


def test_a_build_writes_its_report_beside_the_manifest(shop: Shop) -> None:
    shutil.rmtree(shop.output)
    done = shop.build("--report")
    assert done.code == 0, done.err
    root = root_of(shop)
    assert "The report: " in done.err
    assert (root / "report.html").is_file()
    assert "report.html" not in (root / MANIFEST_NAME).read_text()
    open_generation(root)


def test_a_refresh_shows_its_drift_and_keeps_what_the_fit_measured(shop: Shop) -> None:
    first = root_of(shop)
    done = heterrec("refresh", *shop.arguments(), "--base", shop.output, "--report")
    assert done.code == 0, done.err
    root = root_of(shop)
    assert root != first
    text = (root / "report.html").read_text()
    assert "Features, the worst first" in text
    assert first.name in text
    looks = [statistics_of(r)["features"][2]["fit"] for r in (first, root)]
    assert looks[0] == looks[1]
    fitted = f"<dt>fitted in</dt><dd>{first.name}</dd>"
    assert fitted in text
    assert fitted in written(first, "--output", shop.folder / "first.html")
    compared = written(first, "--against", root, "--output", shop.folder / "other.html")
    assert "Features of both, the worst first" in compared


@pytest.mark.parametrize("workers", ["1", "2"])
def test_statistics_do_not_depend_on_workers_and_order(shop: Shop, workers: str) -> None:
    before = statistics_of(root_of(shop))
    shutil.rmtree(shop.output)
    for name in ("log.csv", "items.csv"):
        path = shop.input / name
        if path.exists():
            head, *rows = path.read_text().splitlines()
            path.write_text("\n".join([head, *rows[::-1]]) + "\n")
    assert shop.build("--workers", workers).code == 0
    assert statistics_of(root_of(shop)) == before


def test_what_cannot_be_reported(shop: Shop, tmp_path: Path) -> None:
    done = heterrec("report", tmp_path / "nothing")
    assert done.code != 0
    assert "Traceback" not in done.err
    done = heterrec("report", shop.output, "--output", tmp_path)
    assert done.code == 2
    assert f"{tmp_path} is a folder" in done.message
    done = shop.build("--report", "--no-wait", "--runner", "DataflowRunner")
    assert done.code == 2


@pytest.mark.browser
def test_a_report_in_a_browser(built_shop: Shop, tmp_path: Path) -> None:
    program = find_chromium()
    if program is None:
        pytest.skip("needs Chromium; on Debian: apt install chromium")
    file = tmp_path / "generation.html"
    written(built_shop.output, "--output", file)
    with Browser(program, tmp_path / "profile") as browser:
        check_page(browser, file, charts=6)
