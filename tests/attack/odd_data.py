"""Files of every format with something wrong: in their rows, by name, and in their bytes."""

import bz2
import csv
import gzip
import io
import json
import random
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import fastavro
import numpy as np
import odd_values
import pyarrow as pa
import pyarrow.orc as paorc
import pyarrow.parquet as pq
import zstandard

Columns = list[tuple[str, list[Any]]]
"""A table by columns, of which two may have one name."""
START = 1_700_000_000
ITEMS, USERS, EVENTS = 20, 10, 200
FORMATS = ("csv", "jsonl", "parquet", "avro", "orc")
PACKED: dict[str, Callable[[bytes], bytes]] = {
    "": lambda data: data,
    ".gz": lambda data: gzip.compress(data, 1, mtime=0),
    ".zst": lambda data: zstandard.ZstdCompressor(level=1).compress(data),
    ".bz2": lambda data: bz2.compress(data, 1),
}


def tables() -> dict[str, Columns]:
    """The tables of a small shop."""
    ids = [f"i{k:02d}" for k in range(ITEMS)]
    events = range(EVENTS)
    return {
        "items": [
            ("item_id", list(ids)),
            ("brand", [["Kiwi", "Lime", "Plum"][k % 3] for k in range(ITEMS)]),
            ("price", [k + 0.5 for k in range(ITEMS)]),
        ],
        "vectors": [
            ("item_id", list(ids)),
            ("vector", [[k / 8, -k / 4, float(k % 5), 1.0] for k in range(ITEMS)]),
        ],
        "users": [
            ("user_id", [f"u{k}" for k in range(USERS)]),
            ("age", [20 + k for k in range(USERS)]),
        ],
        "log": [
            ("user_id", [f"u{k % USERS}" for k in events]),
            ("item_id", [f"i{(k * 7) % ITEMS:02d}" for k in events]),
            ("time", [START + k * 600 for k in events]),
            ("event", ["buy" if k % 4 == 0 else "view" for k in events]),
            ("event_id", list(events)),
        ],
    }


# --- what is wrong with rows -------------------------------------------------------------------


_CELLS: tuple[Any, ...] = (
    *(datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, tzinfo=UTC), date(1, 1, 1)),
    *(Decimal("1e20"), Decimal("0.10"), b"\xff\xfe", "x" * 70_000, "2023-11-14T22:13:20Z", "22:13"),
    *(
        [],
        [1],
        ["a", None],
        [[1.0]],
        [float("nan")] * 4,
        [1e39, 0, 0, 0],
        [0.0] * 3,
        ["1", "2", "3", "x"],
    ),
    *({}, {"a": 1}, {"a": {"b": [1]}}, [{"a": 1}], True, None, None),
)


def _cell(rng: random.Random) -> Any:
    return rng.choice((*_CELLS, odd_values.number(rng), odd_values.text(rng)))


def _odd_cells(rng: random.Random, columns: Columns) -> None:
    _, cells = rng.choice(columns)
    for _ in range(rng.choice((1, 2, len(cells)))):
        cells[rng.randrange(len(cells))] = _cell(rng)


def _odd_column(rng: random.Random, columns: Columns) -> None:
    _, cells = rng.choice(columns)
    cells[:] = [_cell(rng)] * len(cells)


def _other_kind(rng: random.Random, columns: Columns) -> None:
    _, cells = rng.choice(columns)
    kind: Callable[[Any], Any] = rng.choice(
        (
            str,
            lambda c: [c],
            lambda c: {"a": c},
            lambda c: str(c).encode(),
            lambda _: None,
            bool,
            repr,
        )
    )
    cells[:] = [kind(cell) for cell in cells]


def _absent(rng: random.Random, columns: Columns) -> None:
    del columns[rng.randrange(len(columns))]


def _renamed(rng: random.Random, columns: Columns) -> None:
    at = rng.randrange(len(columns))
    name = rng.choice((columns[at][0].upper(), f" {columns[at][0]}", odd_values.text(rng)))
    columns[at] = (name, columns[at][1])


def _twice(rng: random.Random, columns: Columns) -> None:
    columns.insert(rng.randrange(len(columns)), rng.choice(columns))


def _another(rng: random.Random, columns: Columns) -> None:
    name = rng.choice(("__row", "__file", "__index_level_0__", "a.b", "", odd_values.text(rng)))
    columns.append((name, [_cell(rng)] * len(columns[0][1])))


def _shuffled(rng: random.Random, columns: Columns) -> None:
    rng.shuffle(columns)


def _no_rows(rng: random.Random, columns: Columns) -> None:
    for _, cells in columns:
        cells.clear()


def _repeated_rows(rng: random.Random, columns: Columns) -> None:
    stop = rng.choice((1, 5, len(columns[0][1])))
    for cells in {id(cells): cells for _, cells in columns}.values():
        cells.extend(cells[:stop])


def _one_value(rng: random.Random, columns: Columns) -> None:
    _, cells = rng.choice(columns)
    cells[:] = [cells[0]] * len(cells)


_OF_ROWS = (
    *(_odd_cells, _odd_cells, _odd_cells, _odd_column, _other_kind, _absent, _renamed, _twice),
    *(_another, _shuffled, _no_rows, _repeated_rows, _one_value),
)


def spoil_rows(rng: random.Random, columns: Columns) -> None:
    """Change a table that has rows."""
    if columns and columns[0][1]:
        rng.choice(_OF_ROWS)(rng, columns)


# --- writing -----------------------------------------------------------------------------------


def write(columns: Columns, kind: str) -> bytes:
    """A table as a file; cells that the format cannot have are written as texts."""
    return {"csv": _csv, "jsonl": _jsonl, "parquet": _parquet, "avro": _avro, "orc": _orc}[kind](
        columns
    )


def _csv(columns: Columns) -> bytes:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([name for name, _ in columns])
    writer.writerows(zip(*(cells for _, cells in columns), strict=False))
    return out.getvalue().encode("utf-8", "surrogatepass")


def _jsonl(columns: Columns) -> bytes:
    names = [name for name, _ in columns]
    rows = zip(*(cells for _, cells in columns), strict=False)
    return "".join(
        json.dumps(dict(zip(names, row, strict=True)), default=str) + "\n" for row in rows
    ).encode()


def _table(columns: Columns, none: pa.DataType | None = None) -> pa.Table:
    names, arrays = [], []
    for name, cells in columns:
        try:
            array = pa.array(cells)
        except (pa.ArrowException, OverflowError, UnicodeError, ValueError):
            array = pa.array([None if c is None else _plain(str(c)) for c in cells])
        if pa.types.is_struct(array.type) and not array.type.num_fields:  # no format has it
            array = pa.array([None if c is None else str(c) for c in cells])
        if none is not None and pa.types.is_null(array.type):
            array = array.cast(none)
        names.append(_plain(name))
        arrays.append(array)
    return pa.Table.from_arrays(arrays, names=names)


def _plain(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


def _parquet(columns: Columns) -> bytes:
    out = io.BytesIO()
    pq.write_table(_table(columns), out, row_group_size=90, compression="none")
    return out.getvalue()


def _orc(columns: Columns) -> bytes:
    table = _table(columns, pa.string())
    out = pa.BufferOutputStream()
    try:
        paorc.write_table(table, out)
    except (pa.ArrowException, OSError):  # a type that ORC lacks
        texts = [(name, [str(c) for c in cells]) for name, cells in columns]
        out = pa.BufferOutputStream()
        paorc.write_table(_table(texts), out)
    return bytes(out.getvalue())


def _avro(columns: Columns) -> bytes:
    kinds = {int: "long", float: "double", str: "string", bool: "boolean", bytes: "bytes"}
    fields, cells_of = [], {}
    for k, (name, cells) in enumerate(columns):
        field = name if name.isidentifier() and name.isascii() and name not in cells_of else f"x{k}"
        found = {type(c) for c in cells if c is not None}
        inner = kinds.get(next(iter(found))) if len(found) == 1 else None
        if found == {list}:
            inner, cells = {"type": "array", "items": "double"}, _floats(cells)
        elif inner is None or (inner == "long" and any(abs(c) >= 2**63 for c in cells if c)):
            inner, cells = "string", [None if c is None else _plain(str(c)) for c in cells]
        elif inner == "string":
            cells = [None if c is None else _plain(c) for c in cells]
        fields.append({"name": field, "type": ["null", inner]})
        cells_of[field] = cells
    rows = [dict(zip(cells_of, row, strict=True)) for row in zip(*cells_of.values(), strict=False)]
    out = io.BytesIO()
    fastavro.writer(out, {"type": "record", "name": "row", "fields": fields}, rows)
    return out.getvalue()


def _floats(cells: list[Any]) -> list[Any]:
    return [[float(x) if isinstance(x, int | float) else 0.0 for x in c or []] for c in cells]


def npy(rng: random.Random) -> bytes:
    """An array of vectors, perhaps of another shape or kind."""
    shape = rng.choice(
        ((ITEMS, 4), (ITEMS, 4), (ITEMS, 3), (ITEMS + 1, 4), (ITEMS,), (0, 4), (ITEMS, 4, 1))
    )
    kind = rng.choice(("<f4", "<f4", "<f8", ">f4", "<i8", "<f2", "?", "<U3", "<c8", "V8"))
    array = np.zeros(shape, kind)
    if kind[1:] in ("f4", "f8", "f2") and array.size:
        array.flat[rng.randrange(array.size)] = rng.choice((1.0, np.nan, np.inf, -0.0))
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


# --- what is wrong with bytes ------------------------------------------------------------------


def _flipped(rng: random.Random, data: bytes) -> bytes:
    some = bytearray(data)
    for _ in range(rng.choice((1, 1, 4, 30))):
        some[rng.randrange(len(some))] ^= 1 << rng.randrange(8)
    return bytes(some)


def _cut(rng: random.Random, data: bytes) -> bytes:
    return data[: rng.randrange(len(data))]


def _without_block(rng: random.Random, data: bytes) -> bytes:
    at = rng.randrange(len(data))
    return data[:at] + data[at + rng.choice((1, 16, 500)) :]


def _swapped(rng: random.Random, data: bytes) -> bytes:
    a, b, c = sorted(rng.randrange(len(data)) for _ in range(3))
    return data[:a] + data[b:c] + data[a:b] + data[c:]


def _zeroed(rng: random.Random, data: bytes) -> bytes:
    at, size = rng.randrange(len(data)), rng.choice((1, 8, 64, 4096))
    return data[:at] + bytes(min(size, len(data) - at)) + data[at + size :]


def _inserted(rng: random.Random, data: bytes) -> bytes:
    at = rng.randrange(len(data) + 1)
    return data[:at] + rng.choice(_BYTES) + data[at:]


def _doubled(rng: random.Random, data: bytes) -> bytes:
    return data * 2


def _replaced(rng: random.Random, data: bytes) -> bytes:
    return rng.choice(
        (
            b"",
            b"\n",
            b"\x00",
            b"PAR1",
            b"ORC",
            b"Obj\x01",
            b"\x1f\x8b",
            b"{}\n",
            b"[1]\n",
            b"\xef\xbb\xbf",
        )
    )


def _line_ends(rng: random.Random, data: bytes) -> bytes:
    lines = data.split(b"\n")
    return b"".join(line + rng.choice((b"\n", b"\r\n", b"\r", b"\n\n")) for line in lines)


def _encoded(rng: random.Random, data: bytes) -> bytes:
    text = data.decode("utf-8", "replace")
    return text.encode(rng.choice(("utf-16", "utf-32", "utf-8-sig", "utf-7", "cp037")), "replace")


_BYTES = (
    *(
        b"\x00",
        b"\xff",
        b"\xef\xbb\xbf",
        b'"',
        b"'",
        b",",
        b"\n",
        b"\r",
        b"\x1a",
        b"\xed\xa0\x80",
        b"\xc3",
        b"\\",
    ),
    *(
        b"\x00" * 3000,
        b"\xff" * 3000,
        b"," * 3000,
        b'"' * 3001,
        b"\n" * 3000,
        b"a" * 200_000,
        b"9" * 5000,
    ),
    *(b'{"x": ' + b"[" * deep + b"]" * deep + b"}\n" for deep in (60, 480, 5000)),
    *(b'{"user_id": ' + b'{"a":' * deep + b"1" + b"}" * deep + b"}\n" for deep in (60, 480, 5000)),
    *(
        b'{"item_id": NaN}\n',
        b"null\n",
        b'"a"\n',
        b'{"time": 1e999}\n',
        b'{"user_id": "\\ud800"}\n',
        b'{"a":1,"a":2}\n',
    ),
)
_OF_BYTES = (
    _flipped,
    _flipped,
    _cut,
    _without_block,
    _swapped,
    _zeroed,
    _inserted,
    _inserted,
    _doubled,
    _replaced,
)
_OF_TEXTS = (*_OF_BYTES, _line_ends, _encoded)
BOMB = 80 * 2**20
"""Bytes of the largest file when it is unpacked."""


def spoil_bytes(rng: random.Random, data: bytes, kind: str) -> bytes:
    """The bytes of a file with something wrong.

    Of those for which Arrow ends the process, which are flipped ones in ORC and in the footer of Parquet, there are none: see
    `damaged`.
    """
    if kind == "orc":
        return rng.choice((_cut, _doubled, _replaced))(rng, data)
    if kind == "parquet":
        end = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
        if rng.random() < 0.6:
            return rng.choice((_flipped, _zeroed))(rng, data[:end]) + data[end:]
        return rng.choice((_cut, _doubled, _replaced))(rng, data)
    return rng.choice(_OF_TEXTS if kind in ("csv", "jsonl") else _OF_BYTES)(rng, data or b"\n")


def damaged(rng: random.Random, data: bytes) -> bytes:
    """Bytes for which a library may end the process."""
    return rng.choice((_flipped, _flipped, _zeroed, _without_block, _swapped))(rng, data)


def packed(rng: random.Random, data: bytes, kind: str) -> tuple[str, bytes]:
    """A suffix and the packed bytes: damaged before or after, of several parts, or much longer than they look."""
    suffix = rng.choice([*PACKED, ""]) if kind in ("csv", "jsonl", "avro") else ""
    pack = PACKED[suffix]
    if not suffix:
        return "", data
    found = pack(data)
    if rng.random() < 0.1 and kind != "avro":
        found = pack(data + rng.choice((b"a", b'{"user_id": "', b'u0,i00,"', b"\n")) + b"a" * BOMB)
    elif rng.random() < 0.15:
        found += pack(data)
    return suffix, found


def put(folder: Path, name: str, kind: str, made: tuple[str, bytes]) -> str:
    """Write a file; returns its name."""
    file = f"{name}.{kind}{made[0]}"
    (folder / file).write_bytes(made[1])
    return file
