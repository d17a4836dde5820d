from collections.abc import Iterator
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pytest

from heterrec_pipeline.reading.batches import ReadBatch
from heterrec_pipeline.reading.files import InputFile, Split
from heterrec_pipeline.reading.read import located
from heterrec_pipeline.runtime.flags import pipeline_options
from heterrec_pipeline.wiring.step import Each
from heterrec_pipeline.worker_errors import as_heterrec_error, found_in, stage_of, was_stopped
from heterrec_schemas.errors import HeterrecError, RunError, SchemaMismatchError

MISTAKE = SchemaMismatchError("column 'é' <<x>>", got="a\nb", expected=1, todo="Fix it.")


def failing(element: int) -> Iterator[int]:
    """Yields its element, then fails: negative ones stand for a mistake in the data, zero for one in the code."""
    yield element
    if element < 0:
        raise MISTAKE
    if element == 0:
        raise ZeroDivisionError("zero")


def test_what_is_yielded_before_and_after_is_unchanged() -> None:
    assert list(Each(failing).process(3)) == [3]
    with pytest.raises(ZeroDivisionError):
        list(Each(failing).process(0))


def test_a_function_may_yield_nothing_at_all() -> None:
    def none(element: int) -> Any:
        return None

    assert list(Each(none).process(1)) == []


def test_the_text_of_an_error_carries_it() -> None:
    stream = Each(failing).process(-1)
    assert next(stream) == -1
    with pytest.raises(RuntimeError) as error:
        next(stream)
    for text in (str(error.value), f"worker 7 failed:\n{error.value!r} [while running 'x']"):
        found = found_in(ValueError(text))
        assert type(found) is SchemaMismatchError
        assert found.message == MISTAKE.message


class PanicException(BaseException):
    """As pyo3 raises where Rust code panics: no Exception."""


def panicking(element: object) -> Iterator[int]:
    raise PanicException("called unwrap\non None")
    yield


def test_a_panic_of_a_library_is_one_message() -> None:
    file = InputFile("/in/a.csv", "a.csv", 1, "csv")
    batch = ReadBatch(pa.record_batch({"x": [1]}), np.arange(1), [])
    located_table = pa.Table.from_batches([located(batch, Split(file))])
    for element, where in ((Split(file), " on a.csv"), (located_table, " on a.csv"), (1, "")):
        with pytest.raises(RuntimeError) as error:
            list(Each(panicking).process(element))
        found = as_heterrec_error(
            RuntimeError(f"{error.value} [while running 'Generation/read/x']"), ""
        )
        assert type(found) is RunError
        assert found.message.startswith(
            "the run failed in the stage read: a library failed"
            f"{where}: PanicException: called unwrap on None. Report it"
        )


def test_an_error_is_found_along_its_causes() -> None:
    def chain(first: BaseException, *others: BaseException) -> BaseException:
        for error in others:
            error.__cause__ = first
            first = error
        return first

    assert found_in(chain(MISTAKE, ValueError(), KeyError())) is MISTAKE
    assert found_in(ValueError("nothing")) is None
    hidden = ValueError()
    hidden.__context__ = MISTAKE
    assert found_in(hidden) is MISTAKE


@pytest.mark.parametrize("workers", [1, 2])
def test_the_engine_hands_it_over(workers: int) -> None:
    options = pipeline_options(
        [f"--direct_num_workers={workers}", "--direct_running_mode=multi_threading"]
    )
    with pytest.raises(Exception, match="while running") as error:
        with beam.Pipeline(options=options) as pipeline:
            pipeline | beam.Create([1, -1]) | "step" >> beam.ParDo(Each(failing))
    found = found_in(error.value)
    assert isinstance(found, HeterrecError)
    assert found.message == MISTAKE.message


def test_a_failure_names_its_stage() -> None:
    inside = "[while running 'Embedding/Encode/each/ParDo(encode_shard)-ptransform-7']"
    full = as_heterrec_error(ValueError(f"[Errno 28] No space left {inside}"), "Again.")
    other = as_heterrec_error(ValueError(f"odd {inside}"), "Again.")
    assert stage_of(ValueError(inside)) == "Encode"
    assert full.message.startswith("the run failed in the stage Encode: no space left")
    assert other.message.startswith("the run failed in the stage Encode: ValueError: odd")
    assert other.message.endswith("Again.")
    assert as_heterrec_error(MISTAKE, "Again.") is MISTAKE


def test_ctrl_c_is_found_in_the_error_of_an_engine() -> None:
    assert was_stopped(KeyboardInterrupt())
    assert was_stopped(RuntimeError("KeyboardInterrupt [while running 'a/b']"))
    assert not was_stopped(RuntimeError("no space"))


def test_an_error_that_is_its_own_cause_is_searched_once() -> None:
    error = RunError("lost")
    error.__cause__ = RuntimeError("[while running 'Generation/Log/Read']")
    error.__cause__.__cause__ = error
    assert found_in(error) is error
    assert stage_of(error) == "Log"
    with pytest.raises(RunError) as raised:
        raise error from error
    assert stage_of(raised.value) is None
