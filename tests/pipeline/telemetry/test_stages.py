from datetime import UTC, datetime, timedelta
from functools import partial
from types import SimpleNamespace
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pytest

from heterrec_pipeline.reading.files import InputFile
from heterrec_pipeline.telemetry.beam_metrics import read_metrics
from heterrec_pipeline.telemetry.stages import name_steps, stages_of, step_names
from heterrec_pipeline.wiring.exchange import store_table
from heterrec_pipeline.wiring.splits import ListSplits
from heterrec_pipeline.wiring.step import Each

BEGAN = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("label", "names"),
    [
        ("Generation/Log/read/each/ParDo(read_log)", ["Log", "read"]),
        (
            "Generation/Catalogue/item keys/number/do/each/ParDo(number_key_table)",
            ["Catalogue", "item keys", "number"],
        ),
        ("Generation/List the log/split", ["List the log", "split"]),
        ("Generation/each/ParDo(X)", ["each"]),
    ],
)
def test_the_names_of_a_step(label: str, names: list[str]) -> None:
    assert step_names(label) == names


def test_steps_get_their_names() -> None:
    pipeline = beam.Pipeline(runner="FnApiRunner")
    pipeline | "Outer" >> beam.ptransform_fn(_outer)()
    name_steps(pipeline, 17, "/folder")
    found = {}

    class Look(beam.pipeline.PipelineVisitor):
        def visit_transform(self, transform_node: Any) -> None:
            found[transform_node.full_label] = getattr(
                getattr(transform_node.transform, "fn", None), "info", None
            )

    pipeline.visit(Look())
    assert found["Outer/twice"] == ("twice", "twice", 17, "/folder")
    assert found["Outer/List/split/each/ParDo(split_file)"] == ("List", "List/split", 17, "/folder")
    assert found["Outer/again"] == ("again", "again", 17, "/folder")
    assert found["Outer/mine"] is None


def _outer(root: beam.Pipeline) -> Any:
    file = InputFile("a.csv", "a.csv", "csv", 1)
    splits = root | "List" >> ListSplits(files=(file,))
    twice = beam.ParDo(Each(partial(store_table, "/parts", "stem")))
    tables = root | "tables" >> beam.Create([pa.table({"a": [1]})])
    tables | "twice" >> twice
    tables | "again" >> twice
    return splits | "mine" >> beam.Map(str)


def test_stages_in_the_order_of_their_begin() -> None:
    found = {
        "Log": {"first_ms": 2000, "last_ms": 5500, "busy_us": 1_234_567, "rows_read": 7},
        "Users": {},
        "Catalogue": {"first_ms": 0, "last_ms": 9000},
    }
    first, second = stages_of(BEGAN, found)
    assert (first.stage, first.seconds, first.busy_seconds) == ("Catalogue", 9.0, 0.0)
    assert second.started == BEGAN + timedelta(seconds=2)
    assert second.as_json() == {
        "stage": "Log",
        "started": "2026-03-01T12:00:02.000Z",
        "ended": "2026-03-01T12:00:05.500Z",
        "seconds": 3.5,
        "busy_seconds": 1.235,
        "rows_read": 7,
    } | dict.fromkeys(
        [f"{w}_{k}" for w in ("rows", "bytes") for k in ("spilled", "fetched", "written")]
        + ["bytes_read"],
        0,
    )


# --- metrics of engines ---------------------------------------------------------------------------


def metric(name: str, committed: Any, attempted: Any = None) -> Any:
    key = SimpleNamespace(step="s", metric=SimpleNamespace(name=name))
    return SimpleNamespace(key=key, committed=committed, attempted=attempted)


def result(counters: list[Any], distributions: list[Any]) -> Any:
    found = {"counters": counters, "distributions": distributions, "gauges": []}
    query = SimpleNamespace(query=lambda _: found)
    return SimpleNamespace(metrics=lambda: query)


def test_metrics_are_summed_over_steps() -> None:
    at = [SimpleNamespace(min=a, max=b) for a, b in ((5, 30), (3, 20))]
    found = read_metrics(
        result(
            [
                metric("items.rows", 3, 5),  # what failed bundles counted is no part of it
                metric("items.rows", 4),
                metric("users.rows", None, 6),
                metric("nothing", None),
                metric("stage/List the log.rows_read", 2),
            ],
            [metric("stage/List the log.at_ms", a) for a in at] + [metric("other", at[0])],
        )
    )
    assert found.counters == {"items.rows": 7, "users.rows": 6}
    assert found.stages == {"List the log": {"rows_read": 2, "first_ms": 3, "last_ms": 30}}


def test_an_engine_without_metrics_is_no_failure() -> None:
    def none() -> None:
        raise NotImplementedError

    assert read_metrics(SimpleNamespace(metrics=none)) == ({}, {})
