from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pytest
from apache_beam.pvalue import AsDict, AsSingleton, TaggedOutput
from apache_beam.testing.util import assert_that, equal_to

from heterrec_pipeline.files.shards import Written
from heterrec_pipeline.runtime.flags import LOCAL_RUNNER
from heterrec_pipeline.wiring import coder
from heterrec_pipeline.wiring.coder import TableCoder
from heterrec_pipeline.wiring.reports import (
    COUNTS,
    FILES,
    REJECTS,
    Ledger,
    report_count,
    report_file,
    report_rejects,
)
from heterrec_pipeline.wiring.step import (
    EMPTY,
    AllToOne,
    Each,
    Step,
    ValueKinds,
    of_type,
    tables_in,
)
from heterrec_schemas.errors import DataError, from_wire
from heterrec_schemas.rejects import Reason

FILE = Written("t", "a/b", 1, 2, "c")


def report(n: int) -> Iterator[Any]:
    """Yields every kind of output that a step can have, and a further tag."""
    yield pa.table({"n": [n]})
    yield report_count("rows", n)
    yield from report_rejects("log", "a.csv", [(n, "x", Reason.MISSING_KEY, None)])
    yield report_file(FILE)
    yield TaggedOutput("more", (n, "m"))


def gather(element: tuple[int, Iterable[pa.Table]], plus: int = 0) -> Iterator[Any]:
    """The sorted numbers of all tables, plus a side input."""
    tables = list(tables_in(element[1]))
    numbers = sorted(n for t in tables for n in t["n"].to_pylist())
    yield pa.table({"n": pa.array([n + plus for n in numbers], pa.int64())})
    yield TaggedOutput("more", len(tables))


def refuse(limit: int, n: int) -> Iterator[int]:
    yield n
    raise DataError("n is too large", got=n, expected=limit)


def test_an_error_of_the_project_keeps_its_class() -> None:
    outputs = Each(partial(refuse, 3)).process(4)
    assert next(outputs) == 4
    with pytest.raises(RuntimeError, match="n is too large: got 4, expected 3") as error:
        next(outputs)
    assert type(from_wire(str(error.value))) is DataError


def test_a_step_is_labelled_by_its_function() -> None:
    assert Each(partial(refuse, 3)).default_label() == "refuse"
    assert Each(report).default_label() == "report"


def numbers_of(tables: beam.PCollection, label: str = "numbers") -> beam.PCollection:
    return tables | label >> beam.Map(lambda t: t["n"].to_pylist())


def test_a_step_reports_to_the_ledger() -> None:
    coder.register()
    ledger = Ledger()
    with beam.Pipeline(runner=LOCAL_RUNNER) as pipeline:
        tables, more = (
            pipeline
            | beam.Create([1, 2])
            | "step" >> Step(fn=report, ledger=ledger, tags=("more",), spread=True)
        )
        registry = beam.coders.registry
        assert isinstance(registry.get_coder(tables.element_type), TableCoder)
        rejects = ledger.all(REJECTS)
        assert isinstance(registry.get_coder(rejects.element_type), TableCoder)
        assert_that(numbers_of(tables), equal_to([[1], [2]]), "main")
        assert_that(more, equal_to([(1, "m"), (2, "m")]), "tagged")
        assert_that(ledger.all(COUNTS), equal_to([("rows", 1), ("rows", 2)]), "counts")
        assert_that(ledger.all(FILES), equal_to([FILE, FILE]), "files")
        rows = rejects | beam.Map(lambda t: t["row"].to_pylist())
        assert_that(rows, equal_to([[1], [2]]), "rejects")


def test_everything_or_nothing_comes_to_one_call() -> None:
    coder.register()
    with beam.Pipeline(runner=LOCAL_RUNNER) as pipeline:
        some = (
            pipeline | "some" >> beam.Create([3, 1, 2]) | beam.Map(lambda n: pa.table({"n": [n]}))
        )
        plus = pipeline | "plus" >> beam.Create([10])
        for label, tables, want, count in (
            ("full", of_type(some, pa.Table), [[11, 12, 13]], 3),
            ("empty", of_type(pipeline | "none" >> beam.Create([]), pa.Table), [[]], 0),
        ):
            main, more = tables | label >> AllToOne(
                fn=gather, side_inputs=(AsSingleton(plus),), tags=("more",)
            )
            assert_that(numbers_of(main, f"{label} numbers"), equal_to(want), f"{label} main")
            assert_that(more, equal_to([count]), f"{label} more")


def test_kinds_are_joined_by_name_and_may_be_none() -> None:
    with beam.Pipeline(runner=LOCAL_RUNNER) as pipeline:
        seen = pipeline | beam.Create([("a", 1), ("b", 4), ("a", 2), ("a", 1)])
        assert_that(seen | "kinds" >> ValueKinds(), equal_to([("a", 3), ("b", 4)]))
        none = pipeline | "none" >> beam.Create([]) | "no kinds" >> ValueKinds()
        one = pipeline | "one" >> beam.Create([1])
        found = one | beam.Map(lambda _, kinds: dict(kinds), AsDict(none))
        assert_that(found, equal_to([{}]), "as a side input")


def test_placeholders_are_no_tables() -> None:
    table = pa.table({"n": pa.array([], pa.int64())})
    assert list(tables_in([EMPTY, table, EMPTY])) == [table], "an empty table still has columns"
