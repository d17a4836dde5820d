import bz2
import io
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import fastavro
import pyarrow as pa
import pytest
from pieces import written_file

from heterrec_pipeline.reading.files import InputFile
from heterrec_pipeline.reading.formats import avro
from heterrec_schemas.errors import CallError, DataError, SchemaMismatchError

NESTED = {
    "type": "record",
    "name": "Place",
    "fields": [
        {"name": "x", "type": "int"},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        {"name": "names", "type": {"type": "array", "items": ["null", "string"]}},
    ],
}


def avro_file(path: Path, fields: dict[str, Any], rows: list[Any], **more: Any) -> InputFile:
    data = io.BytesIO()
    listed = [{"name": name, "type": kind} for name, kind in fields.items()]
    schema = {"type": "record", "name": "Row", "namespace": "shop", "fields": listed}
    fastavro.writer(data, schema, rows, **more)
    return written_file(path, data.getvalue())


NOW = datetime(2024, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)
ID = UUID(int=7)
UUID_TEXT = {"type": "string", "logicalType": "uuid"}
DECIMAL = {"type": "bytes", "logicalType": "decimal", "precision": 10, "scale": 2}


def logical(kind: str, name: str) -> dict[str, str]:
    return {"type": kind, "logicalType": name}


@pytest.mark.parametrize(
    ("kind", "cells", "expected"),
    [
        ("long", [1, -5], pa.array([1, -5])),
        ("int", [1], pa.array([1], pa.int32())),
        ("float", [1.5], pa.array([1.5], pa.float32())),
        (["null", "string"], ["é", None], pa.array(["é", None])),
        ("null", [None], pa.nulls(1)),
        ("bytes", [b"\xff"], pa.array([b"\xff"])),
        ({"type": "enum", "name": "E", "symbols": ["A"]}, ["A"], pa.array(["A"])),
        (["null", "int", "long"], [1, 2**40, None], pa.array([1, 2**40, None])),
        (["int", "double"], [1, 0.5], pa.array([1.0, 0.5])),
        (["null", "long", "string", "boolean"], [7, "x", True], pa.array(["7", "x", "true"])),
        (logical("int", "date"), [date(2024, 1, 2)], pa.array([date(2024, 1, 2)])),
        (logical("int", "time-millis"), [time(1)], pa.array([time(1)], pa.time32("ms"))),
        (logical("long", "timestamp-millis"), [NOW], pa.array([NOW], pa.timestamp("ms", "UTC"))),
        (
            logical("long", "local-timestamp-micros"),
            [NOW.replace(tzinfo=None)],
            pa.array([NOW.replace(tzinfo=None)], pa.timestamp("us")),
        ),
        (DECIMAL, [Decimal("1.25")], pa.array([Decimal("1.25")], pa.decimal128(10, 2))),
        (["null", UUID_TEXT], [ID, None], pa.array([str(ID), None])),
        (
            {"type": "array", "items": "float"},
            [[1.0, 2.0]],
            pa.array([[1.0, 2.0]], pa.list_(pa.float32())),
        ),
        (
            {"type": "map", "values": "string"},
            [{"a": "b"}],
            pa.array([{"a": "b"}], pa.map_(pa.string(), pa.string())),
        ),
        (
            ["null", NESTED],
            [{"x": 1, "at": NOW, "names": ["a", None]}, None],
            pa.array(
                [{"x": 1, "at": NOW, "names": ["a", None]}, None],
                pa.struct(
                    [
                        ("x", pa.int32()),
                        ("at", pa.timestamp("us", "UTC")),
                        ("names", pa.list_(pa.string())),
                    ]
                ),
            ),
        ),
    ],
)
def test_types(tmp_path: Path, kind: Any, cells: list[Any], expected: pa.Array) -> None:
    file = avro_file(tmp_path / "a.avro", {"c": kind}, [{"c": cell} for cell in cells])
    assert avro.schema(file).field("c").type == expected.type
    (batch,) = avro.read(file, ["c"])
    assert batch.table["c"].equals(expected)
    assert batch.rows.tolist() == list(range(len(cells)))


def test_named_types_and_recursive_records(tmp_path: Path) -> None:
    tree = {
        "type": "record",
        "name": "Tree",
        "fields": [{"name": "left", "type": ["null", "Tree"]}, {"name": "of", "type": "E"}],
    }
    fields = {"e": {"type": "enum", "name": "E", "symbols": ["A", "B"]}, "f": "E", "t": tree}
    rows = [{"e": "A", "f": "B", "t": {"left": None, "of": "A"}}]
    file = avro_file(tmp_path / "a.avro", fields, rows)
    (batch,) = avro.read(file, ["f", "e"])
    assert batch.table.to_pydict() == {"f": ["B"], "e": ["A"]}
    with pytest.raises(SchemaMismatchError, match="'t' has several types"):
        list(avro.read(file, ["t"]))


@pytest.mark.parametrize("codec", ["null", "deflate", "bzip2"])
def test_batches_are_bounded_and_numbered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, codec: str
) -> None:
    rows = [{"c": f"value {k}"} for k in range(1000)]
    file = avro_file(tmp_path / "a.avro", {"c": "string"}, rows, codec=codec, sync_interval=500)
    monkeypatch.setattr(avro, "BATCH_BYTES", 2000)
    batches = list(avro.read(file, ["c"]))
    assert len(batches) > 4
    assert [n for b in batches for n in b.rows.tolist()] == list(range(1000))
    assert [c for b in batches for c in b.table["c"].to_pylist()] == [r["c"] for r in rows]
    assert 700 < avro.row_estimate(file) < 1400


def test_cells_that_python_cannot_hold(tmp_path: Path) -> None:
    kind = logical("long", "timestamp-millis")
    file = avro_file(tmp_path / "a.avro", {"c": kind}, [{"c": 10**15}])
    (batch,) = avro.read(file, ["c"])
    assert batch.table["c"].cast(pa.int64()).to_pylist() == [10**15]
    data = Path(avro_file(tmp_path / "b.avro", {"c": "string"}, [{"c": "abc"}]).path).read_bytes()
    file = written_file(tmp_path / "b.avro", data.replace(b"abc", b"a\xff\xfe"))
    (batch,) = avro.read(file, ["c"])
    assert batch.table["c"].to_pylist() == [None]
    assert batch.bad_text == {"c": {0: "a\\xff\\xfe"}}


def test_damaged_files_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = avro_file(tmp_path / "a.avro", {"c": "string"}, [{"c": "abc"}] * 100)
    data = Path(whole.path).read_bytes()
    for name, content, words in [
        ("t.avro", data[:-20], "truncated"),
        ("h.avro", data[:9], "Avro"),
        ("x.avro", b"a,b\n1,2\n", "Avro"),
        ("e.avro", b"", "Avro"),
    ]:
        with pytest.raises(DataError, match=words) as caught:
            list(avro.read(written_file(tmp_path / name, content), ["c"]))
        assert name in caught.value.message
    at = data.index(data[-16:]) + 16  # behind the header: a block's number of records and its size
    emptied = data[: at + 2] + b"\x00" + data[at + 4 :]
    packed = written_file(tmp_path / "z.avro.bz2", bz2.compress(emptied))
    with pytest.raises(DataError, match=r"z\.avro\.bz2 cannot be read: expected sync marker"):
        list(avro.read(packed, ["c"]))
    monkeypatch.setattr(avro, "MAX_BLOCK", 100)
    with pytest.raises(DataError, match="a block is too large"):
        list(avro.read(whole, ["c"]))
    plain = io.BytesIO()
    fastavro.writer(plain, "string", ["a"])
    with pytest.raises(DataError, match="has no columns"):
        avro.schema(written_file(tmp_path / "s.avro", plain.getvalue()))


@pytest.mark.parametrize("codec", ["null", "deflate", "bzip2", "xz"])
def test_codecs_that_need_no_package(tmp_path: Path, codec: str) -> None:
    file = avro_file(tmp_path / "a.avro", {"a": "int"}, [{"a": 1}], codec=codec)
    assert [b.table.to_pylist() for b in avro.read(file, ["a"])] == [[{"a": 1}]]


def test_a_codec_whose_package_is_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = avro_file(tmp_path / "a.avro", {"a": "int"}, [{"a": 1}], codec="deflate")
    readers = fastavro._read.BLOCK_READERS  # type: ignore[attr-defined]
    lacking = fastavro._read.missing_codec_lib("snappy", "cramjam")  # type: ignore[attr-defined]
    monkeypatch.setitem(readers, "deflate", lacking)
    with pytest.raises(CallError, match=r"a.avro is compressed by snappy.*pip install cramjam"):
        list(avro.read(file, ["a"]))
