"""Tables go through the engine's shuffle or through files: the groups are the same."""

from functools import partial
from pathlib import Path

import apache_beam as beam
import pyarrow as pa
import pytest
from apache_beam.testing.util import assert_that, equal_to
from pieces import job_of, spec_of

from heterrec_pipeline.files.parts import TableRef, load
from heterrec_pipeline.wiring import coder
from heterrec_pipeline.wiring.buffered import Buffered
from heterrec_pipeline.wiring.exchange import ByReference, Exchange, spill
from heterrec_pipeline.wiring.step import of_type

PIECES = [
    (2, pa.table({"n": [1, 2]})),
    (0, pa.table({"n": [3]})),
    (2, pa.table({"other": ["a"]})),
    (2, pa.table({"n": [4]}).replace_schema_metadata({"file": "x"})),
]


def as_rows(element):  # type: ignore[no-untyped-def]
    key, groups = element
    return key, {n: sorted(str(load(p).to_pylist()) for p in g) for n, g in groups.items()}


@pytest.mark.parametrize("spill", [True, False])
def test_groups_are_the_same_either_way(tmp_path: Path, spill: bool) -> None:
    coder.register()
    job = job_of(spec_of(), tmp_path, spill=spill)
    with beam.Pipeline(runner="FnApiRunner") as p:
        log = p | "log" >> beam.Create(PIECES)
        users = p | "users" >> beam.Create([(0, pa.table({"age": [7]}))])
        pair = tuple[int, pa.Table]
        groups = {"log": of_type(log, pair), "users": of_type(users, pair)} | Exchange(job=job)
        want = [
            (0, {"log": ["[{'n': 3}]"], "users": ["[{'age': 7}]"]}),
            (
                2,
                {
                    "log": ["[{'n': 1}, {'n': 2}]", "[{'n': 4}]", "[{'other': 'a'}]"],
                    "users": [],
                },
            ),
        ]
        assert_that(groups | beam.Map(as_rows), equal_to(want))
    assert bool(list(Path(job.parts).glob("log-*.arrow"))) == spill


def test_a_file_holds_many_tables_of_one_schema(tmp_path: Path) -> None:
    do = Buffered(partial(spill, str(tmp_path), "log"), enough=24)
    do.start_bundle()
    found = [p for element in PIECES for p in do.process(element)]
    assert len(found) == 2  # 16 + 8 bytes
    found += [w.value for w in do.finish_bundle()]
    assert [(k, p.batch) for k, p in found[:2]] == [(2, 0), (0, 1)]
    assert sorted(str(load(p).to_pylist()) for _, p in found) == sorted(
        str(t.to_pylist()) for _, t in PIECES
    )
    assert len({p.path for _, p in found}) == len(list(tmp_path.iterdir())) == 3


def test_a_table_becomes_a_reference(tmp_path: Path) -> None:
    coder.register()
    job = job_of(spec_of(), tmp_path)
    with beam.Pipeline(runner="FnApiRunner") as p:
        tables = of_type(p | beam.Create([pa.table({"n": [1, 2]})]), pa.Table)
        stored = tables | ByReference(job=job, stem="index")
        rows = stored | beam.Map(lambda s: (type(s), s.rows, load(s)["n"].to_pylist()))
        assert_that(rows, equal_to([(TableRef, 2, [1, 2])]))
