from io import StringIO
from typing import Any

from rich.console import Console

from heterrec_model.evaluation.evaluation_display import show_comparisons, show_evaluations
from heterrec_model.evaluation.intervals import Comparison


def shown(show: Any, *args: Any, **settings: Any) -> str:
    console = Console(file=StringIO(), width=120, markup=False)
    show(console, *args, **settings)
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def found(name: str, **changes: Any) -> dict[str, Any]:
    part = {"recall@10": 0.5, "ndcg@10": 0.25}
    body = {
        "model": name,
        "lacks": [],
        "split": "test",
        "users": 1234,
        "catalogue": 12101,
        "candidate_set": "all",
        "candidates": 12101,
        "cold_candidates": 17,
        "metrics": {"recall@10": 0.0716, "ndcg@10": 0.031},
        "warm": {**part, "users": 1200, "targets": 1200},
        "cold": {"recall@10": 0.0, "ndcg@10": 0.0, "users": 34, "targets": 34},
        "repeated": {**part, "users": 0, "targets": 0},
        "new": {**part, "users": 1234, "targets": 1234},
        "targets": 1234,
        "targets_unknown": 0,
        "targets_without_row": 0,
        "seen_filtered": False,
    }
    return body | changes


def test_evaluations_stand_beside_each_other() -> None:
    text = shown(show_evaluations, [found("popular"), found("heterrec", targets_without_row=7)])
    assert "test, all 12,101 items (17 cold), seen ones kept in the ranking" in text
    assert "R@10" in text
    assert "N@10" in text
    assert "7.16" in text
    assert [word for word in ("warm", "cold", "1,200") if word not in text] == []
    assert "7 of 1,234 targets (0.6%) have no row in the catalogue: they are not ranked" in text


def test_candidates_and_targets_that_were_not_known_at_the_cut() -> None:
    changes = {"candidate_set": "known", "candidates": 11000, "targets_unknown": 185}
    text = shown(show_evaluations, [found(name, **changes) for name in ("heterrec", "popular")])
    assert "test, 11,000 of 12,101 items, those known at the cut (17 cold), seen" in text
    line = "185 of 1,234 targets (15.0%) were not known at the cut: they are not ranked"
    assert text.count(line) == 1  # equal for all models
    assert "misses" in text


def test_a_part_without_users_has_no_line() -> None:
    cold = {"recall@10": None, "ndcg@10": None, "users": 0, "targets": 0}
    assert "warm" not in shown(show_evaluations, [found("heterrec", cold=cold)])
    assert "warm" not in shown(show_evaluations, [found("heterrec")], parts=False)


def test_repeated_and_new_targets_stand_beside_each_other() -> None:
    part = {"recall@10": 0.1234, "ndcg@10": 0.05, "users": 77, "targets": 80}
    text = shown(show_evaluations, [found("heterrec", repeated=part)])
    heading = text.split("\n")[1] + text.split("\n")[2]
    assert [word for word in ("warm", "cold", "repeated", "new") if word not in heading] == []
    assert "12.34" in text


def test_comparisons() -> None:
    made = Comparison(
        metric="ndcg@10",
        part="all",
        users=500,
        baseline=0.05,
        candidate=0.055,
        difference=0.005,
        difference_interval=(0.001, 0.009),
        lift=0.1,
        lift_interval=(0.02, 0.18),
        p=0.012,
    )
    text = shown(show_comparisons, [made])
    assert "500 users, all targets" in text
    assert "+10.0%" in text
    assert "+2.0% to +18.0%" in text
    assert "0.0120" in text


def test_what_a_model_lacks_is_stated() -> None:
    gaps = {"lacks": ["item features title", "time gaps"]}
    models = [found("heterrec"), found("sasrec", **gaps), found("other", **gaps)]
    text = shown(show_evaluations, models)
    assert "sasrec, other lack: item features title; time gaps" in text
    assert "heterrec lack" not in text
    assert "sasrec lacks: time gaps" in shown(
        show_evaluations, [found("sasrec", lacks=["time gaps"])]
    )
