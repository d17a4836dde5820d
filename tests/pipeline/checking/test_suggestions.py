"""Every derived column that a message suggests is an expression that a spec accepts, and makes a value of the cell."""

import ast
import inspect
import re
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
import yaml
from pieces import categorical, spec_of, table_job

from heterrec_pipeline.checking import columns, reject_hints, time_forms
from heterrec_pipeline.checking.doubts import keys, values
from heterrec_pipeline.checking.evidence import Evidence
from heterrec_pipeline.reading import column_types, spec_lines
from heterrec_pipeline.reading.files import InputFile
from heterrec_pipeline.reading.shaping import fit
from heterrec_pipeline.reading.shaping.by_type import evaluate_by_type
from heterrec_pipeline.reading.shaping.cells import Cells, from_file
from heterrec_schemas.feature_spec import Source
from heterrec_schemas.rejects import Reason

NAME = "the order"
MODULES = (columns, fit, reject_hints, time_forms, keys, values, column_types)
FILE = InputFile("a.parquet", "a.parquet", 1, "parquet")
NOW = datetime(2026, 1, 1, tzinfo=UTC)
SPEC = spec_of(interactions={"behaviour": {"column": "event", "values": ["1", "view"]}})


def of_reject(reason: Reason, cell: str) -> str:
    return " ".join(reject_hints.reject_hints(SPEC, "interactions", reason, cell, NAME))


def of_keys(asking: str, asked: str) -> str:
    sides = (keys.Side("log.source", NAME, pl.Series([k]), True) for k in (asking, asked))
    return keys.unmet_keys("", *sides) or ""


def of_values(cell: str) -> str:
    evidence = Evidence(9)
    evidence.add(pa.table({NAME: [cell]}), [NAME])
    table = table_job(categorical(column=NAME))
    return " ".join(values.value_doubts(table, evidence, ["csv"]))


def of_expression(text: str) -> str:
    fit.fit.cache_clear()
    found = fit.fit(text, ((NAME, pl.String()),), condition=True)
    assert found.problem is not None
    return found.problem.error("log.source.where").message


UUID = pa.array([b"0123456789abcdef"], pa.binary(16)).cast(pa.uuid())
CASES: list[tuple[Callable[[], str | None], pa.Array, list[object]]] = [
    (lambda: of_reject(Reason.UNKNOWN_BEHAVIOUR, "1.0"), pa.array(["1.0"]), [1]),
    (lambda: of_reject(Reason.UNKNOWN_BEHAVIOUR, "View"), pa.array(["View"]), ["view"]),
    (lambda: of_reject(Reason.NOT_A_NUMBER, "no"), pa.array(["no", "YES"]), [0, 1]),
    (lambda: of_reject(Reason.NOT_A_NUMBER, "$5.5"), pa.array(["$5.5"]), [5.5]),
    (lambda: of_reject(Reason.NOT_A_NUMBER, "1,5"), pa.array(["1,5"]), [1.5]),
    (lambda: of_reject(Reason.TIME_UNREADABLE, "45000"), pa.array(["45000"]), [19431.0]),
    (lambda: of_keys("3.0", "3"), pa.array(["3.0", "a"]), ["3", "a"]),
    (lambda: of_keys("00", "0"), pa.array(["00", "0a"]), ["0", "0a"]),
    (lambda: of_keys("A", "a"), pa.array(["A"]), ["a"]),
    (lambda: of_keys("a b", "ab"), pa.array(["a b"]), ["ab"]),
    (lambda: of_keys("sku-7", "7"), pa.array(["sku-7"]), ["7"]),
    (lambda: of_values("['a', 'b']"), pa.array(["['a', 'b']"]), ["a, b"]),
    (lambda: column_types.cast_todo(NAME, [pa.int64(), pa.string()], FILE), pa.array([7]), ["7"]),
    (lambda: columns.cast_hint(NAME, pa.decimal128(9, 2)), pa.array([7.0]), [7]),
    (lambda: columns.cast_hint(NAME, pa.binary()), pa.array([b"a"]), ["a"]),
    (lambda: columns.cast_hint(NAME, pa.uuid()), UUID, ["30313233-3435-3637-3839-616263646566"]),
    (lambda: columns.cast_hint(NAME, pa.duration("ms")), pa.array([7], pa.duration("ms")), [7]),
    (
        lambda: columns._vector_hint(NAME, pa.list_(pa.list_(pa.float64()))),
        pa.array([[[1.0]]]),
        [[1.0]],
    ),
    (lambda: of_expression('"the order" > 5'), pa.array(["7"]), [7.0]),
]


def suggested(message: str) -> list[str]:
    """The expressions of the columns that a message suggests."""
    found = re.findall(r"columns: (\{(?:\"(?:[^\"\\]|\\.)*\"|[^{}\"])*\})", message)
    return [yaml.safe_load(line)[NAME] for line in found]


@pytest.mark.parametrize(("message", "cells", "expected"), CASES)
def test_a_suggestion_is_accepted_and_makes_values_of_the_cells(
    message: Callable[[], str | None], cells: pa.Array, expected: list[object]
) -> None:
    sql = suggested(message() or "")
    assert sql
    for text in sql:
        assert Source(path="a.csv", columns={NAME: text}).columns == {NAME: text}
    seen = {NAME: Cells((from_file(cells, empty_is_null=False),))}
    found = evaluate_by_type(seen, len(cells), sql[0])
    assert not found.failed.any()
    assert [found.values.cell(at) for at in range(len(cells))] == expected


def test_every_place_that_suggests_a_column_has_a_case(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: set[tuple[str, int]] = set()

    def recorded(*arguments: Any) -> str:
        caller = sys._getframe(1)
        while not caller.f_code.co_filename.endswith(".py"):
            assert caller.f_back is not None
            caller = caller.f_back
        seen.add((caller.f_globals["__name__"], caller.f_lineno))
        return spec_lines.derived(*arguments)

    for module in MODULES:
        monkeypatch.setattr(module, "derived", recorded)
    for message, _, _ in CASES:
        message()
    places = {
        (module.__name__, node.lineno)
        for module in MODULES
        for node in ast.walk(ast.parse(inspect.getsource(module)))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "derived"
    }
    assert places - seen == set()
