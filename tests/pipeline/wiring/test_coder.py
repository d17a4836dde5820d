import apache_beam as beam
import numpy as np
import pyarrow as pa
import pytest

from heterrec_pipeline.wiring import coder
from heterrec_pipeline.wiring.coder import TableCoder
from heterrec_pipeline.worker_errors import found_in
from heterrec_schemas.errors import RunError

ROWS = 100_000
LARGE = pa.table(
    {
        "n": np.arange(ROWS),
        "flag": pa.array(np.arange(ROWS) % 3 == 0),
        "word": [f"word {k}" for k in range(ROWS)],
        "ids": pa.array([[k, k] for k in range(ROWS)], pa.list_(pa.int32())),
        "look": pa.array([[k, k] for k in range(ROWS)], pa.list_(pa.float32(), 2)),
        "paths": pa.array([[[str(k)], []] for k in range(ROWS)]),
        "cell": pa.array([None if k % 2 else b"{}" for k in range(ROWS)]),
    },
    metadata={b"heterrec_file": "ä.csv".encode()},
)


@pytest.mark.parametrize(
    "table",
    [
        LARGE.slice(17, 3),
        LARGE.slice(99_999, 1),
        LARGE.slice(5, 0),
        LARGE.filter(pa.array(np.arange(ROWS) == 7)),
        pa.concat_tables([LARGE.slice(0, 2), LARGE.slice(50_000, 2)]),
    ],
)
def test_a_slice_takes_no_more_room_than_its_rows(table: pa.Table) -> None:
    encoded = TableCoder().encode(table)
    assert len(encoded) < 10_000
    found = TableCoder().decode(encoded)
    assert found.equals(table)
    assert found.schema.equals(table.schema, check_metadata=True)


@pytest.mark.parametrize(
    "table",
    [
        pa.table({}),
        pa.table({"a": pa.nulls(3)}),
        pa.table({"a": pa.array(["x", None, "x"]).dictionary_encode()}),
        pa.table({"a": pa.array(["x", "y"], pa.string_view())}),
        pa.table({"a": pa.array([1, None], pa.timestamp("ns", "UTC"))}),
        pa.table({"a": pa.array([[[1]], None, [[], None]], pa.list_(pa.list_(pa.int8())))}),
        pa.table({"a": pa.array([[[1, 2]], []], pa.list_(pa.list_(pa.int32(), 2)))}),
    ],
)
def test_tables_come_back_as_they_were(table: pa.Table) -> None:
    found = TableCoder().decode(TableCoder().encode(table))
    assert found.equals(table)
    assert found.schema.equals(table.schema)


def test_chunks_of_different_dictionaries_come_back() -> None:
    parts = [pa.table({"a": pa.array(words).dictionary_encode()}) for words in ("ab", "cab", "d")]
    table = pa.concat_tables(parts)
    assert TableCoder().decode(TableCoder().encode(table))["a"].to_pylist() == list("abcabd")


def test_equal_tables_give_equal_bytes() -> None:
    one, other = (TableCoder().encode(LARGE.slice(3, 5)) for _ in range(2))
    assert one == other
    assert TableCoder().is_deterministic()


def test_beam_chooses_it_for_tables() -> None:
    coder.register()
    assert isinstance(beam.coders.registry.get_coder(pa.Table), TableCoder)
    pair = beam.coders.registry.get_coder(beam.typehints.Tuple[int, pa.Table])
    key, table = pair.decode(pair.encode((3, LARGE.slice(1, 1))))
    assert (key, table.equals(LARGE.slice(1, 1))) == (3, True)


def test_a_table_that_no_engine_can_carry_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coder, "MAX_BYTES", 100)
    with pytest.raises(RuntimeError) as error:
        TableCoder().encode(pa.table({"a": list(range(14))}))
    found = found_in(error.value)
    assert isinstance(found, RunError)
    assert "got 14 rows of a: 112 bytes, expected at most 100 bytes" in found.message
    assert TableCoder().encode(pa.table({"a": list(range(12))}))


def test_sizes_are_told_without_encoding(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beam samples the sizes of elements between fused steps, too."""
    table = LARGE.select(["n", "look"])
    encoded = len(TableCoder().encode(table))

    def refuse(self: TableCoder, value: pa.Table) -> bytes:
        raise AssertionError("a size is asked for, not the bytes")

    monkeypatch.setattr(TableCoder, "encode", refuse)
    assert TableCoder().get_impl().estimate_size(table) == pytest.approx(encoded, rel=0.01)
