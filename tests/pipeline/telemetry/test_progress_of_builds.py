"""The totals of the progress line are those of real builds: each stage ends with all of its rows done."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from heterrec_pipeline.building import BuildConfig, build
from heterrec_pipeline.telemetry.progress import rows_done
from heterrec_pipeline.telemetry.recorder import RECORDER
from heterrec_schemas.feature_spec import parse_spec
from heterrec_schemas.testing import shop, write_shop

WITH_TOTALS = {"Catalogue", "Log", "Histories", "Splits", "Sequences"}


def done_at_the_end(text: str, folder: Path) -> dict[str, tuple[int, int]]:
    """By stage, the rows done and their total when a build ends."""
    found: dict[str, tuple[int, int]] = {}

    def on_event(event: str, **fields: Any) -> None:
        if event == "stage":
            stage = fields["stage"]
            found[stage] = rows_done(stage, RECORDER.progress(), RECORDER.expected)

    config = BuildConfig(parse_spec(text), text, str(folder), str(folder / "out"))
    build(config, on_event=on_event)
    return {stage: rows for stage, rows in found.items() if rows[1]}


def test_a_shop_with_tables(tmp_path: Path) -> None:
    spec = write_shop(tmp_path, shop(3))
    found = done_at_the_end(spec.read_text(encoding="utf-8"), tmp_path)
    assert found.keys() == WITH_TOTALS | {"Users"}
    for stage, (done, total) in found.items():
        assert done == pytest.approx(total, rel=0.1), stage  # rows of text files are estimated


def test_a_denormalised_log(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    count = 5000
    item = rng.integers(0, 300, count)
    table = pa.table(
        {
            "user": rng.integers(0, 400, count),
            "item": item,
            "time": 1_700_000_000 + rng.integers(0, 10**6, count),
            "price": item % 17 / 4,
            "vector": pa.array(list(rng.standard_normal((count, 4)).astype(np.float32))),
        }
    )
    pq.write_table(table, tmp_path / "log.parquet")
    spec = {
        "version": 1,
        "name": "denormalised",
        "items": {
            "source": "interactions",
            "key": "item",
            "features": [
                {"name": "price", "kind": "numeric", "column": "price", "bins": 4},
                {"name": "look", "kind": "embedding", "column": "vector", "dim": 4}
                | {"groups": 2, "quantiles": 2},
            ],
        },
        "interactions": {
            "source": {"path": "log.parquet"},
            "user": "user",
            "item": "item",
            "timestamp": {"column": "time", "unit": "s"},
        },
        "sequences": {"max_length": 20},
        "split": {"method": "leave_one_out"},
    }
    found = done_at_the_end(yaml.safe_dump(spec), tmp_path)
    assert found.keys() == WITH_TOTALS | {"Items from the log"}
    assert [stage for stage, (done, total) in found.items() if done != total] == []
