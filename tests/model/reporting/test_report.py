"""The page of a run: its sections, the same bytes, what is left out, and errors."""

import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result
from typer.testing import CliRunner

from heterrec_model.commands import app

pytest.importorskip("matplotlib", reason="needs the report extra")

from heterrec_model.reporting.map_part import plane
from heterrec_model.reporting.measured import Wanted, measure
from heterrec_model.reporting.ranking_part import kind_groups, length_groups, popularity_groups
from heterrec_model.reporting.report import write_report
from heterrec_model.reporting.top_part import concentration, slots_of
from heterrec_model.reporting.training_part import thinned
from heterrec_model.serving.recommend import recommend
from heterrec_schemas.generation import open_generation

WITH_DATA = [
    "Training",
    "Metrics on the split test",
    "Where it finds the targets",
    "Coverage and concentration of the top 10",
    "Item vectors in a plane",
    "Users in words",
    "How to reproduce it",
]


def call(*arguments: Any) -> Result:
    return CliRunner().invoke(app, ["report", *map(str, arguments)])


def headings(page: Path) -> list[str]:
    return re.findall(r"<h2[^>]*>([^<]*)</h2>", page.read_text())


def test_a_page_has_all_sections_and_the_same_bytes_twice(
    run: Path, shop_data: Path, tmp_path: Path
) -> None:
    pages = []
    for name in ("a.html", "b.html"):
        page = tmp_path / name
        done = call(run, "--data", shop_data, "--baseline", "popular", "--output", page)
        assert done.exit_code == 0, done.output
        assert str(page) in done.stdout
        pages.append(page)
    assert headings(pages[0]) == WITH_DATA
    assert pages[0].read_bytes() == pages[1].read_bytes()
    text = pages[0].read_text()
    assert len(text) < 1_000_000
    assert "<script" not in text
    assert text.count("<svg") == text.count("aria-label=") - text.count('role="region"') - 1
    for shown in (
        "popular",
        "repeat",
        "best checkpoint, step",
        "train.epochs",
        "Top 10",
        "History",
    ):
        assert shown in text
    content = json.loads((run / "generation.json").read_text())["content_sha256"]
    assert content in text
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.html", "b.html"]


def test_a_baseline_may_be_a_run(run: Path, shop_data: Path, tmp_path: Path) -> None:
    other = tmp_path / "earlier"
    shutil.copytree(run, other, symlinks=True)
    page = write_report(run, shop_data, tmp_path / "a.html", wanted=Wanted(baselines=(str(other),)))
    assert "earlier" in page.read_text()


def test_without_a_generation_the_page_says_what_is_left_out(run: Path, tmp_path: Path) -> None:
    page = tmp_path / "run.html"
    done = call(run, "--output", page, "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout) == {"report": str(page), "bytes": page.stat().st_size}
    assert headings(page) == ["Training", "Ranking", "How to reproduce it"]
    assert "--data" in page.read_text()


def test_without_a_log_the_page_says_how_to_get_one(run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(run, copy, symlinks=True)
    (copy / "metrics.jsonl").unlink()
    text = write_report(copy).read_text()
    assert "train.log_every" in text
    assert "train.validate_every" in text
    assert (copy / "report.html").is_file()


def test_errors_are_one_message(run: Path, shop_data: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    shutil.copytree(run, bare, symlinks=True)
    shutil.rmtree(bare / "checkpoints")
    (bare / "checkpoints").mkdir()
    data = ("--data", shop_data)
    cases = [
        ((tmp_path / "none",), "contains no run"),
        ((bare,), "contains no checkpoint yet"),
        ((run, "--output", tmp_path), "is a folder"),
        ((run, "--output", tmp_path / "no" / "page.html"), "cannot write"),
        ((run, *data, "--feature", "brnd"), "Did you mean 'brand'"),
        ((run, *data, "--split", "train"), "no split 'train'"),
        ((run, *data, "--baseline", tmp_path / "none"), "contains no run"),
    ]
    for arguments, message in cases:
        failed = call(*arguments, "--quiet")
        assert failed.exit_code in (1, 2), failed.output
        assert message in failed.stderr, failed.stderr
        assert failed.stderr.count("error:") == 1
    assert not (tmp_path / "report.html").exists()


def test_without_matplotlib_the_extra_is_named(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [
        n
        for n in sys.modules
        if n.startswith(("heterrec_model.reporting", "heterrec_schemas.pages"))
    ]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    failed = call(run)
    assert failed.exit_code == 2
    assert "with the extra report" in failed.stderr


def test_the_top_items_are_those_of_recommend(run: Path, shop_data: Path) -> None:
    generation = open_generation(shop_data)
    measured = measure(run, generation, "best", Wanted(), lambda _: None)
    top = measured.model.top.position_UK
    users = measured.model.evaluation.per_user.user_ids.tolist()
    candidates = measured.model.evaluation.candidate_set
    items_N = measured.scorer.table.catalogue_N.numpy()
    filtered = measured.loaded.config.evaluation.filter_seen
    wanted = recommend(
        measured.loaded, generation, users=users, k=len(items_N), split="test", filter_seen=filtered
    )
    listed = set(top[top >= 0].tolist())
    assert candidates == "known" or len(listed) > 10
    known = set(items_N[sorted(listed)].tolist())
    for row, answer in zip(top, wanted, strict=True):
        found = items_N[row].tolist()
        order = [item["item_index"] for item in answer.items]
        ranks = [order.index(item) for item in found]
        assert ranks == sorted(ranks)
        assert set(order[: ranks[-1]]) - set(found) <= set(order) - known


def test_groups_cut_all_targets() -> None:
    count_P = np.array([0] * 50 + list(range(1, 51)))
    groups = list(popularity_groups(count_P))
    assert groups[0].name == "0"
    assert groups[0].chosen_P.sum() == 50
    assert np.array_equal(sum(g.chosen_P.astype(int) for g in groups), np.ones(100))
    lengths = list(length_groups(np.array([1, 3, 4, 9, 700])))
    assert [g.name for g in lengths] == ["1", "3 to 4", "5 to 9", "500 or more"]


def test_kinds_of_targets_are_the_parts_of_evaluate(run: Path, shop_data: Path) -> None:
    evaluation = measure(
        run, open_generation(shop_data), "best", Wanted(), lambda _: None
    ).model.evaluation
    for group in kind_groups(evaluation.per_user):
        part: Any = group.name
        assert group.chosen_P.sum() == evaluation.part(part)["targets"]


def test_concentration() -> None:
    even = concentration(slots_of(np.array([[0, 1], [2, 3]]), 4))
    assert even.coverage == 1
    assert even.gini == pytest.approx(0)
    one = concentration(slots_of(np.array([[0, -1], [0, -1]]), 100))
    assert (one.items, one.coverage, one.top_share) == (1, 0.01, 1)
    assert one.gini == pytest.approx(0.99)


def test_the_signs_of_a_plane_are_fixed() -> None:
    vectors_ND = np.random.default_rng(0).normal(size=(50, 5))
    points_N2, shares = plane(vectors_ND)
    again_N2, _ = plane(vectors_ND[::-1])
    assert np.allclose(points_N2, again_N2[::-1])
    centred = vectors_ND - vectors_ND.mean(0)
    variance = np.linalg.svd(centred, compute_uv=False) ** 2
    assert np.allclose(shares, variance[:2] / variance.sum())
    assert np.allclose((points_N2**2).sum(0), variance[:2])


def test_long_lines_are_thinned_to_means() -> None:
    x = [float(n) for n in range(1000)]
    found_x, found_y = thinned({"a": (x, x)}, 10)["a"]
    assert found_x == found_y
    assert found_x[0] == pytest.approx(49.5)
    assert len(found_x) == 10
