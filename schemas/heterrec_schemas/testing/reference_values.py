"""The reference's raw tables and the text of values: pure Python, slow and readable."""

import csv
import io
import json
import math
import re
import struct
import unicodedata
from dataclasses import dataclass, field, replace
from datetime import date, datetime, time, timedelta
from glob import glob
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

Row = dict[str, Any]


class RefusedError(Exception):
    """The contract allows no generation of this input."""


class WrongTypeError(RefusedError):
    """A value that cannot be a category or a key, such as a list."""


def stable_hash(*texts: str) -> int:
    """XXH3-64, seed 0, of texts joined with U+001F."""
    return xxhash.xxh3_64_intdigest("\x1f".join(texts).encode("utf-8"))


# --- values ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Stamp:
    """A cell of a timestamp-typed column."""

    nanoseconds: int

    @property
    def milliseconds(self) -> int:
        """Since 1970, floored."""
        return self.nanoseconds // 1_000_000

    @property
    def text(self) -> str:
        """ISO 8601 in UTC, to the microsecond."""
        moment = datetime(1970, 1, 1) + timedelta(microseconds=self.nanoseconds // 1000)
        return moment.isoformat() + "Z"


def text_of(value: Any, missing_values: Any = ()) -> str | None:
    """The cleaned text of a scalar; None when it is missing."""
    if value is None:
        return None
    if isinstance(value, str):
        text = value
    elif isinstance(value, bool):
        text = "true" if value else "false"
    elif isinstance(value, int):
        text = str(value)
    elif isinstance(value, float):
        if math.isnan(value):
            return None
        text = str(int(value)) if value.is_integer() else repr(value)
    elif isinstance(value, Stamp):
        text = value.text
    elif isinstance(value, date | time):
        text = value.isoformat()
    else:
        raise WrongTypeError(type(value).__name__)
    text = unicodedata.normalize("NFC", text).strip()
    return None if text == "" or text in map(text_of, missing_values) else text


WHOLE_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.0*)?", re.ASCII)


def key_of(value: Any, missing_values: Any = ()) -> str | None:
    """The cleaned text of a key; None when it is missing or listed as missing, whole numbers compared as numbers."""
    text = text_of(value)
    if text is None:
        return None
    for listed in map(str, map(text_of, missing_values)):
        numbers = WHOLE_NUMBER.fullmatch(text) and WHOLE_NUMBER.fullmatch(listed)
        if float(text) == float(listed) if numbers else text == listed:
            return None
    return text


def is_whole(value: Any) -> bool:
    """Whether a cell can be stored as int64."""
    if isinstance(value, bool):
        return False
    if isinstance(value, float) and math.isfinite(value) and value.is_integer():
        value = int(value)
    return isinstance(value, int) and -(2**63) <= value < 2**63


def is_plain_integer(text: str) -> bool:
    """Whether a text is that of an int64."""
    digits = re.fullmatch(r"0|-?[1-9]\d*", text, re.ASCII)
    return digits is not None and -(2**63) <= int(text) < 2**63


def is_integer_column(values: list[Any]) -> bool:
    """Whether the values of a column are stored as int64."""
    present = [v for v in values if text_of(v) is not None]
    return bool(present) and all(is_whole(v) for v in present)


def check_key(key: str, values: list[Any]) -> None:
    """RefusedError if the floats of a key column have fractions, or are beyond 2^53, where integers become other floats."""
    floats = [v for v in values if isinstance(v, float) and not math.isnan(v)]
    if any(not v.is_integer() for v in floats):
        raise RefusedError(f"the key {key} holds floats with fractions")
    if any(abs(v) >= 2**53 for v in floats):
        raise RefusedError(f"the key {key} holds floats that are too large to be exact")


NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
INFINITE = re.compile(r"[+-]?(inf|infinity)", re.ASCII | re.IGNORECASE)
NOT_A_NUMBER = re.compile(r"[+-]?nan", re.ASCII | re.IGNORECASE)


def number_of(value: Any) -> float | None:
    """The number of a cell: -0.0 becomes +0.0, missing NaN, true 1, false 0; None if the text is not a number."""
    if value is None:
        return math.nan
    if isinstance(value, str):
        text = text_of(value)
        if text is None or NOT_A_NUMBER.fullmatch(text):
            return math.nan
        if text in ("true", "false"):  # JSON lines that mix booleans with other types
            return float(text == "true")
        if not NUMBER.fullmatch(text) and not INFINITE.fullmatch(text):
            return None
        return float(text) + 0.0
    return float(value) + 0.0


def float32(value: float) -> float:
    """The nearest float32, -0.0 as +0.0; infinite beyond its range."""
    try:
        return float(struct.unpack("<f", struct.pack("<f", value))[0]) + 0.0
    except OverflowError:
        return math.inf


def vector_of(cell: Any) -> Any:
    """A cell of a vector: the list in a text with a JSON list, else the cell itself."""
    if isinstance(cell, str):
        try:
            found = json.loads(cell)
        except ValueError:
            return cell
        return found if isinstance(found, list) else cell
    return cell


def raw_text(value: Any, *, vector: bool) -> str:
    """A raw cell in the hash that distinguishes rows of one key."""
    if vector:
        value = vector_of(value)
    if value is None:
        return ""
    if vector and isinstance(value, list) and not any(isinstance(x, str | list) for x in value):
        return b"".join(
            struct.pack("<f", float32(math.nan if x is None else x)) for x in value
        ).hex()
    if isinstance(value, list):
        return json.dumps(_texts(value), separators=(",", ":"), ensure_ascii=False)
    return text_of(value) or ""


def _texts(value: Any) -> Any:
    return [_texts(v) for v in value] if isinstance(value, list) else text_of(value)


def shown(value: Any) -> str | None:
    """A cell as `rejects/` records it."""
    text = text_of(value)
    if text is None:
        return None
    return (value if isinstance(value, str) else text)[:200]


# --- tables ----------------------------------------------------------------------------------


@dataclass
class RawTable:
    """All rows of a source; None is a malformed row that cannot be used at all."""

    rows: list[Row | None] = field(default_factory=list)
    places: list[tuple[str, int]] = field(default_factory=list)
    """File and row number of each row."""
    columns: set[str] = field(default_factory=set)
    short: set[int] = field(default_factory=set)
    """Positions of CSV rows that end early: rejected as malformed, yet their cells are used."""
    keyless: bool = False
    """JSON lines: without a single object their columns are unknown."""

    def has(self, column: str) -> bool:
        """Whether there is such a column, as far as it can be known."""
        return column in self.columns or (self.keyless and not self.columns)

    def only(self, kept: list[int]) -> "RawTable":
        """The table with some of its rows, by their positions in ascending order."""
        return replace(
            self,
            rows=[self.rows[k] for k in kept],
            places=[self.places[k] for k in kept],
            short={new for new, k in enumerate(kept) if k in self.short},
        )

    def column(self, name: str) -> list[Any]:
        """The cells of all usable rows."""
        return [row.get(name) for row in self.rows if row is not None]


def read_table(source: Row, folder: Path) -> RawTable:
    """Every row of the files of a source, file after file."""
    patterns = source["path"] if isinstance(source["path"], list) else [source["path"]]
    names = {name for pattern in patterns for name in glob(pattern, root_dir=folder)}
    files = sorted(str(Path(folder) / name) for name in names)
    if source.get("empty_files") == "skip":
        files = [file for file in files if not _is_empty(file)]
    if not files:
        raise RefusedError(f"no file with anything in it matches {patterns}")
    table = RawTable()
    for file in files:
        stem = re.sub(r"\.(gz|zst)$", "", file)
        kind = source.get("format") or stem.rsplit(".", 1)[-1]
        reader = {"parquet": _read_parquet, "csv": _read_csv}.get(kind, _read_jsonl)
        before = len(table.rows)
        reader(file, table)
        table.places += [(Path(file).name, k) for k in range(len(table.rows) - before)]
    return table


def _is_empty(file: str) -> bool:
    if Path(file).stat().st_size == 0:
        return True
    if not file.endswith((".gz", ".zst")):
        return False
    with pa.input_stream(file, compression="detect") as stream:
        return not stream.read(1)


def file_text(file: str) -> str:
    """The text of a file, decompressed by its suffix, without a byte order mark."""
    with pa.input_stream(file, compression="detect") as stream:
        return bytes(stream.read()).decode("utf-8-sig")


def _read_csv(file: str, table: RawTable) -> None:
    lines = csv.reader(io.StringIO(file_text(file), newline=""))
    header = next(lines, None)
    if header is None:
        return
    table.columns.update(header)
    for cells in lines:
        if not cells:
            continue  # a blank line
        if len(cells) < len(header):
            table.short.add(len(table.rows))
        long = len(cells) > len(header)
        table.rows.append(None if long else dict(zip(header, cells, strict=False)))


def _read_jsonl(file: str, table: RawTable) -> None:
    table.keyless = True
    for line in file_text(file).split("\n"):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            row = None
        if not isinstance(row, dict):
            table.rows.append(None)
            continue
        table.columns.update(row)
        table.rows.append(row)


UNITS = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}


def _read_parquet(file: str, table: RawTable) -> None:
    read = pq.ParquetFile(file).read()
    table.columns.update(read.column_names)
    columns: dict[str, list[Any]] = {}
    for name in read.column_names:
        column = read[name]
        if pa.types.is_timestamp(column.type):
            scale = UNITS[column.type.unit]
            counts = column.cast(pa.int64()).to_pylist()
            columns[name] = [None if c is None else Stamp(c * scale) for c in counts]
        elif pa.types.is_decimal(column.type) and column.type.scale == 0:
            columns[name] = [None if c is None else int(c) for c in column.to_pylist()]
        else:
            columns[name] = column.to_pylist()
    for k in range(read.num_rows):
        table.rows.append({name: cells[k] for name, cells in columns.items()})
