"""Tables, figures and intervals from rows alone."""

import builtins
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from heterrec_model.commands import app
from heterrec_model.commands.study import shown_command
from heterrec_model.evaluation.evaluation_result import Evaluation
from heterrec_model.evaluation.metrics import TargetRanks
from heterrec_model.studies import user_metrics
from heterrec_model.studies.reporting.intervals import estimate, resampled_means
from heterrec_model.studies.reporting.report import write_report
from heterrec_model.studies.reporting.results import result_tables
from heterrec_model.studies.rows import Protocol, RowKey, Rows
from heterrec_model.studies.study_file import Study
from heterrec_model.studies.user_metrics import read_user_metrics, write_user_metrics
from heterrec_schemas.errors import CallError

USERS = 300
SEEDS = (0, 1, 2)
STUDY = Study.model_validate(
    {
        "name": "made",
        "ks": [10, 50],
        "data": {"shop": {"path": "nowhere", "splits": "test"}},
        "models": {
            "old": {"title": "SASRec | ids", "set": {"model.name": "sasrec"}},
            "new": {"curve": "HeterRec"},
            "deep": {"like": "new", "set": {"model.item_blocks": 3}, "curve": "HeterRec"},
            "cut": {"like": "new", "ablate": "gate"},
        },
        "counting": ["popular"],
        "baselines": ["old", "popular"],
    }
)
BEST_RANKS = {"popular": 60, "old": 40, "new": 20, "deep": 18, "cut": 24}
"""Ranks are drawn from 1 to these numbers."""


def evaluation(model: str, seed: int) -> Evaluation:
    random = np.random.default_rng(seed)
    users, ones = np.arange(USERS), np.ones(USERS, dtype=np.int64)
    ranks = random.integers(1, BEST_RANKS[model] + 1, USERS).astype(np.float64)
    yes = np.ones(USERS, dtype=bool)
    per_user = TargetRanks(users[::-1].copy(), users, ranks, ones, yes, yes, ~yes)
    return Evaluation(model, "test", per_user, 99, "all", 99, 0, STUDY.ks, False, None, "g", 1.0)


def write_rows(results: Path) -> None:
    rows = Rows(results, STUDY.name)
    found = []
    for model in BEST_RANKS:
        for seed in (None,) if model == "popular" else SEEDS:
            key = RowKey("shop", model, seed, "test", Protocol(False, "known"))
            made = evaluation(model, seed or 0)
            users = write_user_metrics(rows.folder / key.users_file, made)
            trained = {} if seed is None else {"train_cpu_seconds": 5.0 + seed, "parameters": 1000}
            if seed is not None and model != "old":
                trained["open_gates"] = '{"item_step2": 0.5}'
            names = ("data", "model", "seed", "split", "protocol")
            found.append(
                {
                    "study": STUDY.name,
                    **dict(zip(names, key.texts, strict=True)),
                    "filter_seen": False,
                    "candidates": "known",
                    "content_sha256": "c" * 64,
                    "settings_sha256": "s" * 16,
                    "users": USERS,
                    "users_sha256": users,
                    "targets": USERS,
                    "ranked_items": 99,
                    "cold_items": 0,
                    **made.metrics,
                    **trained,
                }
            )
    rows.add(reversed(found))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    results = tmp_path_factory.mktemp("results")
    write_rows(results)
    return results


@pytest.fixture
def results(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made, tmp_path / "results")
    return tmp_path / "results"


def test_rows_are_sorted_and_read_back(results: Path) -> None:
    text = (results / "made/rows.csv").read_text()
    lines = [line.split(",")[1:6] for line in text.splitlines()[1:]]
    assert lines == sorted(lines)
    Rows(results, "made").add([])
    assert (results / "made/rows.csv").read_text() == text
    key = RowKey("shop", "new", 2, "test", Protocol(False, "known"))
    row = Rows(results, "made").get(key)
    assert row is not None
    values = read_user_metrics(results / "made" / key.users_file, ["ndcg@50"], row["users_sha256"])
    assert values is not None
    assert values.shape == (USERS, 1)
    assert float(values.mean()) == pytest.approx(float(row["ndcg@50"]), abs=1e-6)
    own = evaluation("new", 2)
    order = np.argsort(own.per_user.user_ids)
    assert values[:, 0] == pytest.approx(own.user_metrics()["ndcg@50"][order])


def test_tables_state_means_intervals_and_lifts(results: Path) -> None:
    [table] = result_tables(STUDY, results)
    assert [m.name for m in table.models] == ["popular", "old", "new", "deep", "cut"]
    assert set(table.best.values()) == {"old"}
    new, old = table.model("new"), table.model("old")
    assert new is not None
    assert old is not None
    value = new.metrics["ndcg@10"]
    assert value.interval is not None
    assert value.interval[0] < value.value < value.interval[1]
    assert value.value == pytest.approx(
        np.mean([evaluation("new", s).metrics["ndcg@10"] for s in SEEDS]), abs=1e-6
    )
    lift = table.lift("new", "old", "ndcg@10")
    assert lift is not None
    assert lift.value == pytest.approx(value.value / old.metrics["ndcg@10"].value - 1)
    assert lift.interval is not None
    assert 0 < lift.interval[0] < lift.value
    report = write_report(STUDY, results)
    text = report.tables.read_text()
    assert "| best baseline | SASRec / ids |" in text
    assert f"| new | {100 * lift.value:+.1f}%" not in text  # the first column is R@10
    assert f"{lift.value:+.1%} ({100 * lift.interval[0]:+.1f} to" in text
    assert "| new | 1,000 |" in text
    assert text == write_report(STUDY, results).tables.read_text()


def test_figures_are_deterministic_and_small(results: Path) -> None:
    pytest.importorskip("matplotlib")
    figures = write_report(STUDY, results).figures
    names = ("lift", "ablations", "scaling", "time", "gates")
    assert [path.name for path in figures] == [f"shop-{name}.svg" for name in names]
    before = [path.read_bytes() for path in figures]
    assert max(map(len, before)) < 40_000
    (results / "made/figures/old.svg").write_text("of an earlier call")
    assert [path.read_bytes() for path in write_report(STUDY, results).figures] == before
    assert not (results / "made/figures/old.svg").exists()
    assert "lift over the best baseline" in before[0].decode()


def test_without_matplotlib_there_are_tables(
    results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any, **named: Any) -> Any:
        if name == "heterrec_model.studies.reporting.figures":
            raise ImportError("No module named 'matplotlib'")
        return real(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.warns(UserWarning, match=r"no figures: .*with the extra study"):
        report = write_report(STUDY, results)
    assert report.figures == ()
    assert report.tables.exists()


def test_missing_files_are_notes(results: Path) -> None:
    (results / "made/users/shop/new-1-test-seen-kept.parquet").unlink()
    text = write_report(STUDY, results).tables.read_text()
    assert "- new: no interval, since files in users/ are missing." in text
    study = STUDY.model_copy(update={"seeds": (0, 1, 2, 3)})
    assert "- Without rows of seed 3: " in write_report(study, results).tables.read_text()


def test_the_command_needs_only_rows(results: Path, tmp_path: Path) -> None:
    file = tmp_path / "study.yaml"
    file.write_text(STUDY.model_dump_json())
    call = ["study", str(file), "--report-only", "--results"]
    done = CliRunner().invoke(app, [*call, str(results)])
    assert done.exit_code == 0, done.output
    assert f"Tables: {results}/made/tables.md" in done.stdout
    done = CliRunner().invoke(app, [*call, str(tmp_path / "empty")])
    assert done.exit_code == 2
    assert "there are no rows of the study made" in done.stderr
    done = CliRunner().invoke(app, ["study", str(file)])
    assert (done.exit_code, "--runs is required" in done.stderr) == (2, True)


def test_rows_name_no_place_of_a_machine() -> None:
    words = [
        "study",
        "/some where/a.yaml",
        "--data",
        "shop=/x/y/",
        "--runs=/r",
        "--set",
        "a/b",
        "/",
    ]
    shown = "heterrec-model study a.yaml --data shop=y --runs=r --set a/b /"
    assert shown_command(words) == shown


@pytest.mark.parametrize("text", ["a,b\n1,2\n", "", None])
def test_damaged_rows_are_refused(text: str | None, results: Path) -> None:
    path = results / "made/rows.csv"
    path.write_text(path.read_text() + "made,shop\n" if text is None else text)
    with pytest.raises(CallError, match="has not the rows of a study"):
        Rows(results, "made").read()


def test_intervals_cover_the_variance_of_seeds_and_users() -> None:
    """x_su = a_s + b_u: the variance of the mean is var(a) / S + var(b) / U."""
    random = np.random.default_rng(0)
    seeds, users = 3, 500
    ratios = []
    for n in range(20):
        a_S, b_U = random.normal(0, 0.05, seeds), random.normal(0, 1, users)
        x_SUM = (a_S[:, None] + b_U)[:, :, None].astype(np.float32)
        drawn = resampled_means({"m": x_SUM}, resamples=400, seed=n)["m"][:, 0]
        ratios.append(drawn.var() / (a_S.var(ddof=1) / seeds + b_U.var(ddof=1) / users))
    assert np.mean(ratios) == pytest.approx(1, abs=0.1)


def test_lifts_are_paired_by_user() -> None:
    x_SUM = np.random.default_rng(0).random((1, 200, 1)).astype(np.float32)
    drawn = resampled_means({"a": x_SUM, "b": x_SUM * 1.1, "c": x_SUM.repeat(3, 0)}, resamples=50)
    assert drawn["b"] == pytest.approx(drawn["a"] * 1.1, rel=1e-4)
    assert drawn["c"] == pytest.approx(drawn["a"], rel=1e-4)
    assert estimate(float("nan"), drawn["a"]).interval is None


def test_metrics_of_users_are_on_the_disk_before_their_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row that survives a power cut has its file."""
    flushed = list[tuple[str, bool]]()
    path = tmp_path / "users" / "made.parquet"

    def flush(found: Path) -> None:
        flushed.append((found.name, path.exists()))

    monkeypatch.setattr(user_metrics, "sync", flush)
    write_user_metrics(path, evaluation("old", 0))
    assert flushed == [(".made.parquet", False), ("users", True)]
