"""A log as databases and Spark export it: decimals for integers, timestamps of several units, `_SUCCESS` beside the parts."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from heterrec_pipeline.building import BuildConfig, build
from heterrec_schemas.feature_spec import parse_spec
from heterrec_schemas.manifest import Manifest

ROWS = 40
WHOLE = {"user": 10**15, "item": 2**60, "act": 1, "pos": 0, "code": 10**17}
"""First value of each column of integers."""


def table(**types: pa.DataType) -> pa.Table:
    """The log with integer columns of other types."""
    steps = {"user": 7, "item": 11, "act": 2, "pos": ROWS, "code": 5}
    columns = {}
    for name, first in WHOLE.items():
        values = [first + k % steps[name] for k in range(ROWS)]
        kind = types.get(name, pa.int64())
        made = [Decimal(v) for v in values] if pa.types.is_decimal(kind) else values
        columns[name] = pa.array(made, kind)
    seconds = [1_600_000_000 + k for k in range(ROWS)]
    time = types.get("time", pa.timestamp("s"))
    columns["time"] = pa.array(seconds, pa.timestamp("s")).cast(time)
    return pa.table(columns)


def built(folder: Path, parts: list[pa.Table]) -> Manifest:
    (folder / "log").mkdir(parents=True)
    for k, part in enumerate(parts):
        pq.write_table(part, folder / f"log/part-{k}.parquet")
    (folder / "log/_SUCCESS").touch()
    (folder / "log/_delta_log").mkdir()
    (folder / "log/_delta_log/0.json").write_text("{}\n")
    spec: dict[str, Any] = {
        "version": 1,
        "name": "exports",
        "items": {
            "source": "interactions",
            "key": "item",
            "features": [{"name": "code", "kind": "categorical", "column": "code"}],
        },
        "interactions": {
            "source": {"path": "log/**", "format": "parquet"},
            "user": "user",
            "item": "item",
            "timestamp": {"column": "time"},
            "behaviour": {"column": "act", "values": [1, 2]},
            "order": "pos",
        },
        "sequences": {"max_length": 20},
        "split": {"method": "leave_one_out"},
    }
    text = yaml.safe_dump(spec)
    return build(BuildConfig(parse_spec(text), text, str(folder), str(folder / "out"))).manifest


def test_the_same_values_in_other_types_give_the_same_bytes(tmp_path: Path) -> None:
    plain = built(tmp_path / "plain", [table()])
    decimals = {name: pa.decimal128(38, 0) for name in WHOLE}
    parts = [
        table(**decimals, time=pa.timestamp("us")).slice(0, 10),
        table(time=pa.timestamp("ns", "+05:30")).slice(10, 10),
        table().slice(20),
    ]
    mixed = built(tmp_path / "mixed", parts)
    assert plain.counts.interactions.kept == ROWS
    assert mixed.content_sha256 == plain.content_sha256
    assert [i.path for i in mixed.inputs] == [f"log/part-{k}.parquet" for k in range(3)]
