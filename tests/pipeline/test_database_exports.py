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


def built(folder: Path, parts: list[pa.Table], *more: str) -> Manifest:
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
            "features": [{"name": c, "kind": "categorical", "column": c} for c in ("code", *more)],
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


def test_parts_that_differ_in_columns_and_types_are_one_table(tmp_path: Path) -> None:
    """A schema that has grown: wider types, a new column, dates that became times, an order that came later."""
    days = pa.array([0] * 20 + list(range(20)), pa.int32()).cast(pa.date32())
    whole = table(user=pa.int64(), time=pa.timestamp("ms", "UTC"))
    whole = whole.set_column(1, "item", pa.array([k % 11 for k in range(ROWS)], pa.int64()))
    code = pa.array([None] * 20 + [str(k % 5) for k in range(20)])
    whole = whole.set_column(4, "code", code)
    whole = whole.append_column("day", days.cast(pa.timestamp("us", "UTC")))
    whole = whole.set_column(3, "pos", pa.array([None] * 20 + list(range(20)), pa.int32()))
    plain = built(tmp_path / "plain", [whole], "day")
    old = (
        whole.slice(0, 20)
        .drop_columns(["code", "pos"])
        .cast(
            pa.schema(
                [
                    ("user", pa.float64()),
                    ("item", pa.uint8()),
                    ("act", pa.float32()),
                    ("time", pa.timestamp("s")),
                    ("day", pa.date32()),
                ]
            )
        )
    )
    words = whole["code"].slice(20, 10).combine_chunks().dictionary_encode()
    middle = whole.slice(20, 10).set_column(4, "code", words)
    parts = [whole.slice(30), old, middle, whole.slice(0, 0).select(["code"])]
    mixed = built(tmp_path / "mixed", parts, "day")
    assert mixed.counts == plain.counts
    assert mixed.content_sha256 == plain.content_sha256
