from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml
from pieces import categorical, embedding, numeric, spec_of

from heterrec_pipeline.checking import sample
from heterrec_pipeline.checking.check import check_tables
from heterrec_pipeline.checking.sample import Sample, sample_tables
from heterrec_pipeline.checking.validate import validate
from heterrec_schemas.errors import HeterrecError
from heterrec_schemas.feature_spec import FeatureSpec

FEATURES = [categorical().model_dump(), numeric().model_dump()]


def samples_of(spec: FeatureSpec, folder: Path) -> tuple[dict[str, Sample], list[HeterrecError]]:
    checked = check_tables(spec, str(folder))
    assert checked.problems == []
    found = sample_tables(spec, checked, checked.problems)
    return {s.table: s for s in found}, checked.problems


def reasons(found: Sample) -> dict[str, int]:
    return {str(k): v for k, v in found.reasons.items()}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "items.csv").write_text("item,kind,price\n1,a,5\n2,,x\n,a,6\n3,b\n4,a,1,2\n5,,\n")
    (tmp_path / "log.csv").write_text("user,item,time\nu,1,5\nu,1,z\nu,2\nu,2,3,4\n,1,5\nv,2,7\n")
    return tmp_path


def test_a_sample_counts_what_a_build_would_reject(folder: Path) -> None:
    found, problems = samples_of(spec_of(items={"features": FEATURES}), folder)
    assert problems == []
    items = found["items"]
    assert (items.rows, items.rejected, items.files) == (6, 4, 1)
    assert reasons(items) == {"not_a_number": 1, "missing_key": 1, "malformed_row": 2}
    assert items.missing == {"kind": 2 / 5, "price": 3 / 5}, "of the rows that are rows"
    log = found["interactions"]
    assert (log.rows, log.rejected) == (6, 4)
    assert reasons(log) == {"time_unreadable": 1, "missing_key": 1, "malformed_row": 2}
    examples = {str(k): v[0] for k, v in log.examples.items()}
    assert examples["time_unreadable"] == "log.csv row 1, column 'time': got 'z'"
    assert examples["malformed_row"].startswith("log.csv row 3: got '4 fields")


@pytest.mark.parametrize("rows", [1, 2, 3, 5, 6, 100])
def test_only_odd_rows_among_the_sampled_ones_count(
    folder: Path, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    """A batch may be larger than the sample: rows after the sample must not count."""
    monkeypatch.setattr(sample, "SAMPLE_ROWS", rows)
    found, _ = samples_of(spec_of(items={"features": FEATURES}), folder)
    # The table has the rows 0, 1, 2, 3 (short) and 5; row 4 is too long.
    last = [0, 1, 2, 3, 5][min(rows, 5) - 1]
    assert found["items"].rows == last + 1
    assert found["items"].rejected == sum(k <= last for k in (1, 2, 3, 4))
    tall = [0, 1, 2, 4, 5][min(rows, 5) - 1]
    assert found["interactions"].rows == tall + 1
    assert found["interactions"].rejected == sum(k <= tall for k in (1, 2, 3, 4))


def test_a_sample_goes_on_in_the_next_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sample, "SAMPLE_ROWS", 5)
    for k in range(4):
        (tmp_path / f"items{k}.csv").write_text("item,kind,price\n" + f"{k},a,1\n" * 2)
    (tmp_path / "log.csv").write_text("user,item,time\n")
    items = {"source": {"path": "items*.csv"}, "features": FEATURES}
    found, _ = samples_of(spec_of(items=items), tmp_path)
    assert (found["items"].rows, found["items"].files) == (5, 4)
    assert (found["interactions"].rows, found["interactions"].rejected) == (0, 0)


def test_every_table_is_sampled_and_what_cannot_be_read_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "items.csv").write_text("item\n1\n")
    (tmp_path / "log.csv").write_text("user,item,time\nu,1,5\n")
    (tmp_path / "looks.jsonl").write_text('{"item": 1, "look": [1, 2, 3]}\n{"item": 1.5}\n')
    (tmp_path / "users.jsonl").write_text('{"user": "u", "age": 3}\n{"user": "v", "age": null}\n')
    items: dict[str, Any] = {
        "features": [embedding().model_dump()],
        "joins": [{"source": {"path": "looks.jsonl"}, "key": "item"}],
    }
    users = {
        "source": {"path": "users.jsonl"},
        "key": "user",
        "features": [numeric("age").model_dump()],
    }
    found, problems = samples_of(spec_of(items=items, users=users), tmp_path)
    assert list(found) == ["items", "items.joins[0]", "users", "interactions"]
    assert found["users"].missing == {"age": 0.5}
    assert [p.message.split(":")[0] for p in problems] == ["looks.jsonl"]


def test_a_denormalised_log_is_sampled_for_its_items_too(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("user,item,time,kind,price\nu,1,5,a,x\nu,2,5,,3\n")
    spec = spec_of(items={"source": "interactions", "features": FEATURES})
    found, _ = samples_of(spec, tmp_path)
    assert found["items"].missing == {"kind": 0.5, "price": 0.5}
    assert reasons(found["items"]) == {"not_a_number": 1}
    assert found["interactions"].reasons == Counter()


def test_rows_that_are_left_out_are_counted_and_not_read_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "items.csv").write_text("item\n1\n")
    for k in range(4):
        (tmp_path / f"log{k}.csv").write_text("user,item,time\n" + "u,1,5\n,1,5\n" * 10)
    log = {"source": {"path": "log*.csv"}, "missing_user": "drop"}
    monkeypatch.setattr(sample, "SAMPLE_ROWS", 15)
    found, _ = samples_of(spec_of(interactions=log), tmp_path)
    rows = found["interactions"]
    assert (rows.rows, rows.filtered, rows.rejected, rows.whole) == (15, 15, 0, False)
    monkeypatch.setattr(sample, "LEFT_OUT_ROWS", 9)
    found, _ = samples_of(spec_of(interactions=log), tmp_path)
    assert (found["interactions"].rows, found["interactions"].filtered) == (10, 10)


def test_a_log_of_which_nothing_is_left(tmp_path: Path) -> None:
    (tmp_path / "items.csv").write_text("item\n1\n")
    (tmp_path / "log.csv").write_text("user,item,time\n,1,5\n,1,6\n")
    spec = spec_of(interactions={"missing_user": "drop"})
    found = validate(yaml.safe_dump(spec.model_dump(mode="json")), str(tmp_path))
    assert found.mistakes == [
        "interactions: the filter left nothing of 2 rows: got 2 filtered, expected rows that the spec does not leave out. "
        "Check interactions.missing_user: drop."
    ]
