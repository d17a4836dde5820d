"""Estimates before the build: rows, keys, distinct values."""

import gzip
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from heterrec_pipeline.checking import estimate
from heterrec_pipeline.checking.check import check_tables, raise_problems
from heterrec_pipeline.checking.estimate import estimate_sizes, row_estimate
from heterrec_pipeline.reading.files import InputFile
from heterrec_pipeline.sizing import Estimate, Sizes
from heterrec_schemas.feature_spec import FeatureSpec

ROWS = 400
BRAND = {"name": "brand", "kind": "categorical", "column": "brand"}
TAGS = {"name": "tags", "kind": "categorical", "column": "tags", "multivalued": True}
PRICE = {"name": "price", "kind": "numeric", "column": "brand", "bins": 2}


def tables(folder: Path) -> None:
    items = {
        "item": [f"i{k}" for k in range(ROWS)],
        "brand": [str(k % 10) for k in range(ROWS)],
        "tags": [[str(k), str(k + 1)] for k in range(ROWS)],
    }
    pq.write_table(pa.table(items), folder / "items.parquet", row_group_size=50)
    log = "user,item,time,brand\n" + "".join(f"u{k % 9},i{k % 7},{k},b\n" for k in range(1000))
    (folder / "log.csv").write_text(log)
    (folder / "users.csv").write_text("user,brand\n" + "u1,a\n" * 30)


def sizes_of(folder: Path, limit: int, **changes: Any) -> Sizes:
    spec: dict[str, Any] = {
        "version": 1,
        "name": "estimated",
        "items": {"source": {"path": "items.parquet"}, "key": "item", "features": [BRAND, TAGS]},
        "interactions": {
            "source": {"path": "log.csv"},
            "user": "user",
            "item": "item",
            "timestamp": {"column": "time", "unit": "ms"},
        },
        "sequences": {"max_length": 5},
        "split": {"method": "leave_one_out"},
        "limits": {"broadcast_values": limit},
    }
    made = FeatureSpec.model_validate(spec | changes)
    checked = check_tables(made, str(folder))
    raise_problems(checked.problems)
    return estimate_sizes(made, checked)


def test_footers_settle_what_is_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tables(tmp_path)
    monkeypatch.setattr(estimate, "sample", None)  # is not asked
    sizes = sizes_of(tmp_path, 16 * ROWS)
    assert sizes.rows["items"] == Estimate(ROWS, "read")
    assert sizes.rows["interactions"].basis == "bytes"
    assert abs(sizes.rows["interactions"].count - 1000) <= 2
    assert sizes.values["items"] == sizes.values["item/brand"] == Estimate(ROWS, "bound")
    assert sizes.values["item/tags"] == Estimate(16 * ROWS, "bound")
    assert sizes.large() == []


def test_a_sample_settles_what_may_be_large(tmp_path: Path) -> None:
    tables(tmp_path)
    sizes = sizes_of(tmp_path, 100)
    assert sizes.values["item/brand"] == Estimate(10, "sample")
    assert ROWS < sizes.values["item/tags"].count <= 2 * ROWS
    assert sizes.large() == ["item/tags", "items"]
    assert sizes.buckets("items", None) == 1


def test_joined_tables_and_users_count_too(tmp_path: Path) -> None:
    tables(tmp_path)
    pq.write_table(pa.table({"item": ["a"] * 900, "look": ["x"] * 900}), tmp_path / "more.parquet")
    items = {
        "source": {"path": "items.parquet"},
        "key": "item",
        "joins": [{"source": {"path": "more.parquet"}, "key": "item"}],
        "features": [PRICE],
    }
    users = {"source": {"path": "users.csv"}, "key": "user", "features": [BRAND]}
    sizes = sizes_of(tmp_path, 10, items=items, users=users)
    assert sizes.values["items"] == Estimate(900, "bound")
    assert sizes.values["users"].basis == "bytes"
    assert sizes.values["user/brand"] == Estimate(1, "sample")
    assert set(sizes.values) == {"items", "users", "user/brand"}


def test_items_out_of_the_log(tmp_path: Path) -> None:
    tables(tmp_path)
    items = {"source": "interactions", "key": "item", "features": [BRAND]}
    sizes = sizes_of(tmp_path, 20, items=items)
    assert sizes.values["items"] == Estimate(7, "sample")
    assert sizes.values["item/brand"] == Estimate(7, "bound")
    assert sizes_of(tmp_path, 2000, items=items).values["items"].basis == "bound"


@pytest.mark.parametrize("suffix", ["csv", "csv.gz"])
def test_rows_of_long_text_files(tmp_path: Path, suffix: str) -> None:
    text = "".join(f"{k:07d},{k % 977}\n" for k in range(600_000)).encode()
    path = tmp_path / f"log.{suffix}"
    path.write_bytes(gzip.compress(text, 1) if suffix.endswith("gz") else text)
    file = InputFile(str(path), path.name, path.stat().st_size, "csv")
    found = row_estimate((file, file))
    assert found.basis == "bytes"
    assert abs(found.count - 1_200_000) < 60_000


def test_more_footers_than_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tables(tmp_path)
    path = tmp_path / "items.parquet"
    file = InputFile(str(path), path.name, path.stat().st_size, "parquet")
    monkeypatch.setattr(estimate, "MAX_FOOTERS", 2)
    assert row_estimate((file,) * 2) == Estimate(2 * ROWS, "read")
    assert row_estimate((file,) * 5) == Estimate(5 * ROWS, "bytes")
    assert row_estimate(()) == Estimate(0, "read")
