"""Avro container files: all fields of each record are decoded, block by block."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import IO, Any, cast
from uuid import UUID

import fastavro
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from heterrec_pipeline.reading.batches import Columns, ReadBatch, columns_in
from heterrec_pipeline.reading.files import InputFile, unreadable
from heterrec_pipeline.reading.formats.text import TextStream
from heterrec_pipeline.reading.formats.utf8 import without_bad_text
from heterrec_schemas.errors import CallError, DataError, HeterrecError, SchemaMismatchError
from heterrec_schemas.values import value_text

BATCH_BYTES = 16 * 2**20
"""Encoded bytes per batch; a block of the file is never cut."""
MAX_ROWS = 65_536
"""Number of rows after which a batch ends."""
MAX_BLOCK = 512 * 2**20
"""Largest block, in bytes, that is decoded."""
_PLAIN = {
    "null": pa.null(),
    "boolean": pa.bool_(),
    "int": pa.int32(),
    "long": pa.int64(),
    "float": pa.float32(),
    "double": pa.float64(),
    "bytes": pa.binary(),
    "string": pa.string(),
}
_LOGICAL = {
    "date": pa.date32(),
    "time-millis": pa.time32("ms"),
    "time-micros": pa.time64("us"),
    "timestamp-millis": pa.timestamp("ms", "UTC"),
    "timestamp-micros": pa.timestamp("us", "UTC"),
    "timestamp-nanos": pa.timestamp("ns", "UTC"),
    "local-timestamp-millis": pa.timestamp("ms"),
    "local-timestamp-micros": pa.timestamp("us"),
    "local-timestamp-nanos": pa.timestamp("ns"),
}
_NO_CODEC = re.compile(r"(\w+) codec is supported but you need to install .*?(\('.*)")
"""What fastavro says about a codec whose packages are not installed."""
_MIXED = pa.dense_union([pa.field("mixed", pa.null())])
"""The type of a field with types that no column can have together."""


def schema(file: InputFile) -> pa.Schema:
    """The columns of an Avro file.

    Raises:
        DataError: the file is truncated or not Avro, or its records are no records.
    """
    with _blocks(file) as blocks:
        return _Schema(file, blocks.writer_schema).columns


def read(file: InputFile, columns: Columns) -> Iterator[ReadBatch]:
    """The requested columns of an Avro file, in batches of about 16 MB of the file.

    Raises:
        SchemaMismatchError: the file lacks a column, or a column has several types.
        DataError: the file cannot be read.
    """
    row = 0
    with _blocks(file) as blocks:
        found = _Schema(file, blocks.writer_schema)
        columns = columns_in(file, columns, found.columns) or list(found.fields)[:1]
        records: list[dict[str, Any]] = []
        size = 0
        for block in blocks:
            size += _checked_size(file, block)
            data, count = block.bytes_, block.num_records
            records += (found.record(data) for _ in range(count))
            if size >= BATCH_BYTES or len(records) >= MAX_ROWS:
                yield _batch(found, columns, records, row)
                row += len(records)
                records, size = [], 0
        yield _batch(found, columns, records, row)


def _checked_size(file: InputFile, block: Any) -> int:
    size = int(block.bytes_.getbuffer().nbytes)
    if size > MAX_BLOCK:
        raise unreadable(file, f"a block of {size:,} bytes", "a block is too large for memory")
    return size


def row_estimate(file: InputFile) -> int:
    """Approximate number of records, from those of the first block and its share of the file."""
    with _blocks(file) as blocks:
        for block in blocks:
            count = int(block.num_records)
            return max(count, count * file.bytes // max(1, int(block.size)))
    return 0


@contextmanager
def _blocks(file: InputFile) -> Iterator[Any]:
    """The blocks of a file, with its schema; errors of the library name the file."""
    try:
        with TextStream(file) as stream:
            yield _block_reader(file, cast(IO[bytes], stream))
    except (HeterrecError, MemoryError):
        raise
    except EOFError as error:
        raise unreadable(file, error, "it is truncated") from None
    except Exception as error:  # damage may end in any error of the library
        raise _without_codec(file, error) or unreadable(file, error) from None


def _block_reader(file: InputFile, stream: IO[bytes]) -> Any:
    try:
        return fastavro.block_reader(stream)
    except MemoryError as error:
        raise unreadable(file, error, "its header has a length that no file has") from None


def _without_codec(file: InputFile, error: Exception) -> CallError | None:
    """The error for a codec whose package is not installed; None for another error."""
    found = _NO_CODEC.search(str(error))
    if found is None:
        return None
    codec, packages = found.groups()
    package = packages.split("'")[1]
    return CallError(
        f"{file.name} is compressed by {codec}, which needs a package that is not installed",
        expected="null, deflate, bzip2 or xz, which need none",
        todo=f"Run pip install {package}, for the workers as well.",
    )


class _Schema:
    """The schema of a file.

    Attributes:
        fields: name of each column to its schema.
        raw: the schema that records are decoded by: texts as bytes, which may be no UTF-8, dates and times as integers,
            which may be out of Python's range.
    """

    def __init__(self, file: InputFile, written: Any) -> None:
        self._file = file
        parsed: Any = fastavro.parse_schema(written)
        if not isinstance(parsed, dict) or parsed.get("type") != "record":
            raise DataError(
                f"{file.name} has no columns", got=str(written)[:80], expected="Avro records"
            )
        self._named: dict[str, Any] = parsed["__named_schemas"]
        self.fields: Mapping[str, Any] = {f["name"]: f["type"] for f in parsed["fields"]}
        self.raw = fastavro.parse_schema(_raw(parsed))

    @property
    def columns(self) -> pa.Schema:
        """The columns by their Arrow types."""
        return pa.schema([(name, self.type_of(kind)) for name, kind in self.fields.items()])

    def type_of(self, kind: Any, within: frozenset[str] = frozenset()) -> pa.DataType:
        """The Arrow type of a schema; `within` are the names of the records around it."""
        if isinstance(kind, list):
            return self._type_of_union([k for k in kind if k != "null"], within)
        if isinstance(kind, str):
            if kind in _PLAIN:
                return _PLAIN[kind]
            return _MIXED if kind in within else self.type_of(self._named[kind], within)
        logical, plain = kind.get("logicalType"), kind["type"]
        if logical in _LOGICAL:
            return _LOGICAL[logical]
        if logical == "decimal":
            make = pa.decimal128 if kind["precision"] <= 38 else pa.decimal256
            return make(kind["precision"], kind.get("scale", 0))
        if plain == "enum":
            return pa.string()
        if plain == "fixed":
            return pa.string() if logical == "uuid" else pa.binary(kind["size"])
        if plain == "array":
            return pa.list_(self.type_of(kind["items"], within))
        if plain == "map":
            return pa.map_(pa.string(), self.type_of(kind["values"], within))
        if plain in ("record", "error"):
            inside = within | {kind["name"]}
            return pa.struct([(f["name"], self.type_of(f["type"], inside)) for f in kind["fields"]])
        return self.type_of(plain, within)

    def _type_of_union(self, kinds: list[Any], within: frozenset[str]) -> pa.DataType:
        if len(kinds) < 2:
            return self.type_of(kinds[0], within) if kinds else pa.null()
        types = {self.type_of(kind, within) for kind in kinds}
        if types <= {pa.int32(), pa.int64()}:
            return pa.int64()
        if types <= {pa.int32(), pa.float32(), pa.float64()}:  # float64 has every int exactly
            return pa.float64()
        return pa.string() if all(map(_has_text, types)) else _MIXED

    def record(self, data: IO[bytes]) -> dict[str, Any]:
        """The next record of a block."""
        return cast(dict[str, Any], fastavro.schemaless_reader(data, self.raw, None))

    def column(self, name: str, records: list[dict[str, Any]]) -> pa.Array:
        """The cells of a column, as it is in `type_of`; texts are not checked.

        Raises:
            SchemaMismatchError: the column has values of several types.
        """
        kind = self.fields[name]
        target = self.type_of(kind)
        if _is_mixed(target):
            raise SchemaMismatchError(
                f"{self._file.name}: column {name!r} has several types of values",
                got=str(kind)[:200],
                expected="one type, or texts, numbers, booleans, dates and times",
            )
        cells = [record[name] for record in records]
        plain = [k for k in kind if k != "null"] if isinstance(kind, list) else [kind]
        if pa.types.is_string(target) and (len(plain) > 1 or _is_uuid(plain[0])):
            return pa.array(
                [str(c) if isinstance(c, UUID) else value_text(c) for c in cells], target
            )
        options = pc.CastOptions(target_type=target, allow_invalid_utf8=True)
        return pa.array(cells, _encoded(target)).cast(options=options)


def _raw(kind: Any) -> Any:
    """A schema with texts as bytes, and dates and times as integers; unions of several types stay as they are."""
    if isinstance(kind, list):
        several = len([k for k in kind if k != "null"]) > 1
        return kind if several else [_raw(k) for k in kind]
    if kind == "string":
        return "bytes"
    if isinstance(kind, str):
        return kind
    plain = kind["type"]
    if plain == "array":
        return kind | {"items": _raw(kind["items"])}
    if plain == "map":
        return kind | {"values": _raw(kind["values"])}
    if plain in ("record", "error"):
        fields = [f | {"type": _raw(f["type"])} for f in kind["fields"]]
        made = {"type": plain, "name": kind["name"], "fields": fields}
        return made
    if plain in ("enum", "fixed") or kind.get("logicalType") == "decimal":
        return kind
    return _raw(plain)


def _encoded(kind: pa.DataType) -> pa.DataType:
    """The Arrow type of the decoded values of a column."""
    t = pa.types
    if t.is_string(kind):
        return pa.binary()
    if t.is_date(kind) or t.is_time32(kind):
        return pa.int32()
    if t.is_timestamp(kind) or t.is_time64(kind):
        return pa.int64()
    if t.is_list(kind):
        return pa.list_(_encoded(kind.value_type))
    if t.is_map(kind):
        return pa.map_(pa.string(), _encoded(kind.item_type))
    if t.is_struct(kind):
        return pa.struct([(f.name, _encoded(f.type)) for f in kind])
    return kind


def _has_text(kind: pa.DataType) -> bool:
    """Whether values of this type have a text beside those of other types."""
    t = pa.types
    scalar = t.is_integer(kind) or t.is_floating(kind) or t.is_boolean(kind) or t.is_string(kind)
    return bool(scalar or t.is_date(kind) or t.is_timestamp(kind))


def _is_mixed(kind: pa.DataType) -> bool:
    return kind == _MIXED or any(_is_mixed(kind.field(k).type) for k in range(kind.num_fields))


def _is_uuid(kind: Any) -> bool:
    return isinstance(kind, dict) and (kind["type"], kind.get("logicalType")) == ("fixed", "uuid")


def _batch(
    found: _Schema, columns: Sequence[str], records: list[dict[str, Any]], row: int
) -> ReadBatch:
    arrays = [found.column(name, records) for name in columns]
    record = pa.RecordBatch.from_arrays(arrays, names=list(columns))
    rows = np.arange(row, row + len(records), dtype=np.int64)
    table, bad_text = without_bad_text(record, rows)
    return ReadBatch(table, rows, [], bad_text=bad_text)
