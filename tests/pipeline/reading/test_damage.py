"""Files that are cut off or have a wrong byte somewhere are read, or end in an error that names them."""

import io
import random
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import fastavro
import numpy as np
import pyarrow as pa
import pyarrow.orc as paorc
import pytest
from deltalake import write_deltalake
from pyiceberg.catalog.sql import SqlCatalog

from heterrec_pipeline.checking.estimate import row_estimate
from heterrec_pipeline.reading.files import InputFile, input_files, split_file
from heterrec_pipeline.reading.read import column_types, read_split
from heterrec_schemas.errors import HeterrecError
from heterrec_schemas.feature_spec import Source

LONGEST = 700
"""Number of characters of the longest message."""
ROWS = 20
RECORD = {
    "type": "record",
    "name": "row",
    "fields": [
        {"name": "user", "type": "string"},
        {"name": "count", "type": ["null", "long"]},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {
            "name": "price",
            "type": {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2},
        },
        {"name": "kind", "type": {"type": "enum", "name": "kinds", "symbols": ["A", "B"]}},
        {"name": "more", "type": {"type": "map", "values": "string"}},
    ],
}


def avro(codec: str) -> bytes:
    rows = [
        {
            "user": f"u{k}",
            "count": k,
            "at": k,
            "price": Decimal("1.5"),
            "kind": "A",
            "more": {"a": "b"},
        }
        for k in range(ROWS)
    ]
    out = io.BytesIO()
    fastavro.writer(out, RECORD, rows, codec=codec)
    return out.getvalue()


def npy(array: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def orc() -> bytes:
    out = pa.BufferOutputStream()
    paorc.write_table(pa.table({"user": ["a"] * ROWS, "n": list(range(ROWS))}), out)
    return bytes(out.getvalue())


def cut_off(data: bytes) -> Iterator[bytes]:
    step = max(1, len(data) // 150)
    yield from (data[:at] for at in range(0, len(data), step))


def flipped(data: bytes, count: int = 150) -> Iterator[bytes]:
    """Copies with one byte changed, at evenly spread places."""
    chance = random.Random(0)
    for at in range(0, len(data), max(1, len(data) // count)):
        for byte in (data[at] ^ 1 << chance.randrange(8), 255):
            yield data[:at] + bytes([byte]) + data[at + 1 :]


def read(file: InputFile) -> None:
    types = column_types(file)
    assert types is not None
    for split in split_file(file):
        for _ in read_split(split, list(types)):
            pass


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("avro", avro("null")),
        ("avro", avro("deflate")),
        ("npy", npy(np.ones((ROWS, 4), np.float32))),
        ("orc", orc()),
    ],
    ids=["avro", "deflate", "npy", "orc"],
)
def test_damaged_files(tmp_path: Path, kind: str, data: bytes) -> None:
    keys = tmp_path / "keys.csv"
    keys.write_text("id\n" + "".join(f"{k}\n" for k in range(ROWS)))
    source = Source(path="*", keys="keys.csv") if kind == "npy" else Source(path="*")
    path, messages = tmp_path / f"file.{kind}", list[str]()
    # A wrong byte inside an ORC file may end the process: Arrow does not check all of them.
    for damaged in [*cut_off(data), *(() if kind == "orc" else flipped(data))]:
        path.write_bytes(damaged)
        (file,) = input_files(source.model_copy(update={"path": path.name}), str(tmp_path), "items")
        for work in (read, lambda file: row_estimate((file,))):
            try:
                work(file)
            except HeterrecError as error:
                messages.append(error.message)
    assert len(messages) > 50
    assert [m for m in messages if path.name not in m or "\n" in m or len(m) > LONGEST] == []


def test_damaged_metadata_of_tables(tmp_path: Path) -> None:
    rows = pa.table({"item": ["a", "b"], "dt": ["x", "y"]})
    write_deltalake(tmp_path / "delta", rows, partition_by=["dt"])
    catalog = SqlCatalog(
        "test", uri=f"sqlite:///{tmp_path}/catalog.db", warehouse=f"file://{tmp_path}/lake"
    )
    catalog.create_namespace("shop")
    catalog.create_table("shop.items", schema=rows.schema).append(rows)
    catalog.engine.dispose()
    sources = {
        "delta/_delta_log": Source(path="delta", format="delta"),
        "lake/shop/items/metadata": Source(path="lake/shop/items", format="iceberg"),
    }
    messages: list[str] = []
    for folder, source in sources.items():
        for path in sorted((tmp_path / folder).iterdir()):
            data = path.read_bytes()
            cut = [data[: len(data) * k // 8] for k in range(8)]
            for damaged in [*cut, *flipped(data, 15)]:
                path.write_bytes(damaged)
                try:
                    input_files(source, str(tmp_path), "items")
                except HeterrecError as error:
                    messages.append(error.message)
            path.write_bytes(data)
    assert len(messages) > 20
    assert [m for m in messages if "items: " not in m or len(m) > LONGEST] == []
