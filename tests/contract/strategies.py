"""Small nasty inputs with a valid spec: Hypothesis draws the options and sizes, a seed the cells.

The cells come from `random.Random(seed)` rather than from Hypothesis itself: hundreds of rows of
drawn cells would be too large for it, while options and sizes still shrink.
"""

import csv
import gzip
import io
import json
import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from hypothesis import strategies as st

from heterrec_schemas.testing.reference_values import is_plain_integer, text_of

Cell = Callable[[random.Random], Any]

# NFC and not, outer blanks of several kinds, texts that sort differently in UTF-8 and UTF-16,
# words that some readers treat as missing, numbers as text.
WORDS = [
    "a", "b", "c", "A", "Z", "red", "blue", " red", "blue\t", "\u3000a\xa0", "\x1fb\x1c", "\u2028c",
    "caf\u00e9", "cafe\u0301", "\u212b", "\u00c5", "A\u030a", "\uac00", "\u1100\u1161", "\u0958",
    "\U0001f600", "\uff5e", "\ufb01", "\u00df", "\u65e5\u672c", "1", "01", "1.0", "10",
    "9", "-1", "-0.0", "nan", "NaN", "null", "None", "NA", "n/a", "true", "false", 'say "x"', "x,y",
    "x|y", "x > y",
    "Unknown", " Unknown ", "inf", "\\", "'", "#c",
]  # fmt: skip
BLANK = [None, None, "", " ", "\u3000"]
DAY = 86_400


class Malformed(str):
    """A raw line that is not a row."""


@dataclass
class Table:
    """Rows of one table and how they are written."""

    name: str
    format: str
    columns: dict[str, pa.DataType]
    rows: list[Any] = field(default_factory=list)
    packed: bool = False
    """gzip, for text files."""
    sparse: bool = False
    """JSON lines: leave missing keys out."""
    empty: bool = False
    """Has a further file of no bytes, and one that decompresses to none."""
    ordered: bool = False
    """One file, with its rows in their order."""

    def __repr__(self) -> str:
        types = {name: str(kind) for name, kind in self.columns.items()}
        return f"<{self.name}.{self.suffix}, {len(self.rows)} rows of {types}: {self.rows[:3]} ...>"

    @property
    def suffix(self) -> str:
        return self.format + (".gz" if self.packed else "")


@dataclass
class Dataset:
    """Tables and the spec over them."""

    spec: dict[str, Any]
    tables: list[Table]

    @property
    def spec_text(self) -> str:
        return yaml.safe_dump(self.spec, sort_keys=False, allow_unicode=True)

    def with_rows(self, name: str, rows: list[Any]) -> "Dataset":
        """The same data set with other rows in one table."""
        tables = [replace(t, rows=rows) if t.name == name else t for t in self.tables]
        return Dataset(self.spec, tables)


# --- writing ---------------------------------------------------------------------------------


def write_input(
    folder: Path, dataset: Dataset, *, files: int = 1, shuffle_seed: int | None = None
) -> None:
    """Write every table in `files` files (some may be empty), with its rows in a shuffled order."""
    folder.mkdir(parents=True, exist_ok=True)
    for table in dataset.tables:
        rows = list(table.rows)
        if table.ordered:
            write_table(folder / f"{table.name}.{table.suffix}", table, rows)
            continue
        rng = random.Random(shuffle_seed)
        if shuffle_seed is not None:
            rng.shuffle(rows)
        cuts = sorted(rng.randint(0, len(rows)) for _ in range(files - 1))
        for k, (start, end) in enumerate(zip([0, *cuts], [*cuts, len(rows)], strict=True)):
            path = folder / f"{table.name}-{k:05d}.{table.suffix}"
            write_table(path, table, rows[start:end])
        if table.empty:
            (folder / f"{table.name}-0.{table.suffix}").write_bytes(b"")
        if table.empty and table.packed:
            (folder / f"{table.name}-1.{table.suffix}").write_bytes(gzip.compress(b"", mtime=0))


def write_table(path: Path, table: Table, rows: list[Any]) -> None:
    if table.format == "parquet":
        columns = {c: pa.array([row[c] for row in rows], kind) for c, kind in table.columns.items()}
        pq.write_table(pa.table(columns), path, row_group_size=7)
        return
    text = {"csv": _csv, "jsonl": _jsonl, "txt": _lines}[table.format](table, rows)
    data = text.encode("utf-8")
    path.write_bytes(gzip.compress(data, mtime=0) if table.packed else data)


def _csv(table: Table, rows: list[Any]) -> str:
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(table.columns)
    for k, row in enumerate(rows):
        if isinstance(row, Malformed):
            out.write(row + "\n")
        else:
            writer.writerow([csv_cell(row[c]) for c in table.columns])
        if k % 17 == 5:
            out.write("\n")  # a blank line
    return out.getvalue()


def _lines(table: Table, rows: list[Any]) -> str:
    """The only column, without a header."""
    (column,) = table.columns
    return "".join(f"{csv_cell(row[column])}\n" for row in rows)


def csv_cell(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(value) if isinstance(value, float) else str(value)


def _jsonl(table: Table, rows: list[Any]) -> str:
    lines = []
    some = {c for r in table.rows if not isinstance(r, Malformed) for c in r if r[c] is not None}
    for k, row in enumerate(rows):
        if isinstance(row, Malformed):
            lines.append(str(row))
            continue
        cells = {c: _json_cell(row[c]) for c in table.columns}
        if table.sparse:
            # A column without any value would be absent from the data.
            cells = {c: v for c, v in cells.items() if v is not None or c not in some}
        lines.append(json.dumps(cells, ensure_ascii=k % 2 == 0))
    return "\n".join(lines) + ("\n" if lines and len(lines) % 2 else "")


def _json_cell(value: Any) -> Any:
    """JSON has neither NaN nor infinities."""
    if isinstance(value, list):
        return [_json_cell(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


# --- cells -----------------------------------------------------------------------------------


def sometimes(share: float, rare: Cell, usual: Cell) -> Cell:
    return lambda rng: rare(rng) if rng.random() < share else usual(rng)


def one_of(values: list[Any]) -> Cell:
    return lambda rng: rng.choice(values)


def list_of(cell: Cell, most: int) -> Cell:
    return lambda rng: [cell(rng) for _ in range(rng.randint(0, most))]


def words(rng: random.Random) -> Cell:
    """Cells of a handful of words, so that they repeat."""
    return one_of(rng.sample(WORDS, rng.randint(2, 12)))


def numbers_as_text(rng: random.Random) -> str:
    number = rng.choice([rng.randint(-5, 5), round(rng.gauss(0, 10), 2), 1e-7, -0.0, 2.5e10])
    return rng.choice(["{}", " {}", "{}\t"]).format(number)


def vector(dim: int) -> Cell:
    def draw(rng: random.Random) -> list[float]:
        return [
            rng.choice([0.0, -0.0, 1.0, -1.0, 0.1, rng.gauss(0, 1), 16777217.0]) for _ in range(dim)
        ]

    return draw


# --- keys ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Keys:
    """A pool of keys; each table may write them in another type."""

    values: list[Any]
    types: list[str]
    """text, int, float: the types in which a table may hold the keys."""

    def cell(self, kind: str, value: Any, rng: random.Random) -> Any:
        if value is None:
            return None
        if kind == "text":
            return rng.choice(["{}", "{}", "{}", " {}", "{}\u3000"]).format(value)
        return float(value) if kind == "float" else value


def make_keys(rng: random.Random, style: str, count: int, prefix: str) -> Keys:
    if style == "small":
        return Keys(rng.sample(range(-3, 3 * count), count), ["text", "int", "float"])
    if style == "large":
        wide = [2**53 + 1, 2**62, -(2**63), 2**63 - 1]
        return Keys((wide + rng.sample(range(10**6), count))[:count], ["text", "int"])
    nasty = [w for w in dict.fromkeys(w.strip() for w in WORDS) if w and "\n" not in w]
    plain = [f"{prefix}{k}" for k in range(count)]
    mixed = [rng.choice(nasty) if rng.random() < 0.4 else p for p in plain]
    return Keys(list(dict.fromkeys(mixed)), ["text"])


ARROW_KEYS = {"text": pa.string(), "int": pa.int64(), "float": pa.float64()}


# --- features --------------------------------------------------------------------------------


@dataclass
class Column:
    """A feature's entry in the spec, and its column."""

    feature: dict[str, Any]
    type: pa.DataType
    cell: Cell


def categorical(draw: Any, rng: random.Random, format: str, *, log: bool = False) -> Column:
    """One value per item, of any type that can be a category."""
    word = words(rng)
    kinds: dict[str, tuple[pa.DataType, Cell]] = {
        "text": (draw(st.sampled_from([pa.string(), pa.large_string()])), word),
        "dictionary": (pa.dictionary(pa.int8(), pa.string()), word),
        "int": (pa.int32(), one_of([1, 2, 10, -1, 3])),
        "long": (pa.int64(), one_of([2**53 + 1, 2**53, 1, 2**63 - 1])),
        "whole": (pa.float64(), one_of([1.0, 2.0, -0.0, 0.0, 10.0, math.nan])),
        "fraction": (pa.float64(), one_of([1.0, 0.1, -0.0, 1e16, 1e300, math.nan, math.inf, 1.5])),
        "float32": (pa.float32(), one_of([1.0, 0.1, 0.5])),
        "bool": (pa.bool_(), one_of([True, False])),
        "mixed": (pa.string(), one_of(["1", "x", " 1 "])),
        "date": (pa.date32(), one_of([datetime(2024, 1, d).date() for d in (1, 2, 31)])),
        "time": (
            pa.timestamp("ms"),
            one_of([datetime(2024, 1, 31, 10), datetime(1969, 7, 20, 1, 2, 3, 45000)]),
        ),
    }
    if format == "jsonl":
        kinds["mixed"] = (pa.null(), one_of([1, 2, 2.0, "1", " x ", True, 1.5, 2**53 + 1]))
        kinds["numbers"] = (pa.null(), one_of([1, 2.0, 3, 2**53 + 1, 10]))
    if format != "parquet":
        for name in ("dictionary", "date", "time", "float32"):
            del kinds[name]
    kind = draw(st.sampled_from(sorted(kinds)))
    type_, cell = kinds[kind]
    blank = one_of(BLANK) if kind in ("text", "dictionary", "mixed") else one_of([None])
    feature = {"kind": "categorical"} | options(draw, rng)
    return Column(feature, type_, sometimes(0.15, blank, cell))


def options(draw: Any, rng: random.Random) -> dict[str, Any]:
    """The options of every vocabulary."""
    found: dict[str, Any] = {}
    if draw(st.booleans()):
        found["min_count"] = draw(st.integers(1, 3))
    if draw(st.integers(0, 3)) == 0:
        found["max_size"] = draw(st.integers(1, 4))
    if draw(st.booleans()):
        found["oov_buckets"] = draw(st.sampled_from([1, 2, 16]))
    if draw(st.integers(0, 2)) == 0:
        found["shards"] = draw(st.integers(1, 4))
    if draw(st.integers(0, 2)) == 0:
        found["missing_values"] = rng.sample(["Unknown", " NA", "1", "cafe\u0301", "-1"], 2)
    return found


def multivalued(draw: Any, rng: random.Random, format: str, *, log: bool = False) -> Column:
    """A list of values per item: separated text, a list, or a list of paths."""
    word = sometimes(0.1, one_of(BLANK), words(rng))
    shape = draw(st.sampled_from(["text", "list", "paths", "ints"]))
    shape = "text" if format == "csv" else shape
    feature = {"kind": "categorical", "multivalued": True} | options(draw, rng)
    if draw(st.booleans()):
        feature["max_values"] = draw(st.integers(1, 3))
    if shape == "text":
        if draw(st.integers(0, 3)):
            feature["separator"] = draw(st.sampled_from(["|", ", "]))
        type_ = pa.string()
        cell: Cell = lambda rng: feature.get("separator", "|").join(  # noqa: E731
            (word(rng) or "") for _ in range(rng.randint(0, 4))
        )
    elif shape == "list":
        type_ = pa.list_(pa.string())
        cell = list_of(word, 4)
    elif shape == "ints":
        type_ = pa.list_(pa.int64())
        cell = list_of(one_of([1, 2, 3, 10, -1, None]), 4)
    else:
        type_ = pa.list_(pa.list_(pa.string()))
        cell = list_of(sometimes(0.1, one_of([None, []]), list_of(word, 3)), 3)
        how = draw(st.sampled_from([None, "leaf", "nodes", "prefixes"]))
        if how:
            feature["nested"] = how
    return Column(feature, type_, sometimes(0.1, one_of([None]), cell))


def numeric(draw: Any, rng: random.Random, format: str, *, log: bool = False) -> Column:
    """A number per item, or text that mostly is one."""
    lowest = [] if log else [-math.inf]  # the mean of both infinities is no number
    kinds: dict[str, tuple[pa.DataType, Cell]] = {
        "float": (
            pa.float64(),
            one_of([0.0, -0.0, 1.0, 1.5, -2.25, 1e-300, math.nan, math.inf, *lowest, 7.0, 8.0]),
        ),
        "float32": (pa.float32(), one_of([0.1, 0.5, -0.0, 3.0])),
        "int": (pa.int32(), lambda rng: rng.randint(-5, 20)),
        "bool": (pa.bool_(), one_of([True, False])),
        "text": (
            pa.string(),
            sometimes(
                0.2,
                one_of(["abc", "1,5", "--1", "x" * 300, "-1.00", "True", "FALSE", *BLANK]),
                numbers_as_text,
            ),
        ),
    }
    if format != "parquet":
        del kinds["float32"]
    if format == "jsonl":
        kinds["mixed"] = (pa.null(), one_of([1, 1.5, "2", " 3 ", "abc", True, "false", None]))
    type_, cell = kinds[draw(st.sampled_from(sorted(kinds)))]
    feature: dict[str, Any] = {"kind": "numeric"}
    if draw(st.integers(0, 3)) == 0:
        feature["boundaries"] = sorted({0.0, *rng.sample([-1.5, 1.0, 1.5, 3.0, 10.0], 2)})
    else:
        feature["bins"] = draw(st.sampled_from([2, 3, 4, 7, 32]))
    if draw(st.booleans()):
        feature["fit_sample"] = draw(st.integers(1, 12))
    if draw(st.integers(0, 2)) == 0:
        feature["missing_values"] = rng.sample(["-1.0", "0", "1.5", "abc", 0.1], 2)
    return Column(feature, type_, sometimes(0.1, one_of([None]), cell))


def embedding(draw: Any, rng: random.Random, format: str, *, log: bool = False) -> Column:
    dim = draw(st.sampled_from([1, 4, 6, 8, 12]))
    quantiles = {1: (1, 40), 4: (2, 2), 6: (1, 4), 8: (8, 4), 12: (4, 5)}
    groups, q = quantiles[dim]
    sizes: dict[str, Any] = draw(
        st.sampled_from(
            [
                {"groups": groups, "quantiles": q},
                {"groups": dim, "quantiles": 3},
                {"quantizer": "pq", "groups": groups, "codes": 4},
                {"quantizer": "rq", "levels": 3, "codes": 3},
            ]
        )
    )
    good = vector(dim)
    bad = [[], None, good(rng)[:-1], [*good(rng), 1.0]]
    bad += [[*good(rng)[:-1], x] for x in (None, math.nan, math.inf, 1e39)]
    if format == "jsonl":
        bad += ["0.5", 3]
    kinds = [pa.list_(pa.float32()), pa.list_(pa.float64()), pa.large_list(pa.float32())]
    if format == "parquet" and draw(st.booleans()):
        kinds = [pa.list_(pa.float32(), dim)]
        # pyarrow 25 writes null lists of this type but cannot read them (apache/arrow#35692).
        bad = [b for b in bad if b is not None and len(b) == dim]
    feature: dict[str, Any] = {"kind": "embedding", "dim": dim, **sizes}
    if draw(st.integers(0, 3)) == 0:
        keep = dim if "groups" not in sizes or sizes["groups"] in (1, dim) else dim // 2
        keep = dim if sizes.get("groups") and keep % sizes["groups"] else keep
        feature["reduce"] = draw(
            st.sampled_from([{"pca": keep}, {"pca": keep, "rotate": True}, {"rotate": True}])
        )
    if draw(st.booleans()):
        feature["fit_sample"] = draw(st.integers(1, 12))
    return Column(feature, draw(st.sampled_from(kinds)), sometimes(0.12, one_of(bad), good))


MAKERS = {
    "categorical": categorical,
    "multivalued": multivalued,
    "numeric": numeric,
    "embedding": embedding,
}


def columns(
    draw: Any, rng: random.Random, format: str, prefix: str, most: int, *, log: bool = False
) -> list[Column]:
    """Some features with names, one column each. A log has scalars only."""
    makers = [m for m in MAKERS if not log or m in ("categorical", "numeric")]
    makers = [m for m in makers if format != "csv" or m != "embedding"]
    found = []
    for k in range(draw(st.integers(0, most))):
        column = MAKERS[draw(st.sampled_from(makers))](draw, rng, format, log=log)
        head = {"name": f"{prefix}{k}", "column": f"col {prefix}{k}"}
        column.feature = head | column.feature
        found.append(column)
    return found


# --- tables ----------------------------------------------------------------------------------


FORMATS = ("parquet", "csv", "jsonl")


def rows_of_keys(
    rng: random.Random, keys: Keys, kind: str, key: str, parts: list[Column], chosen: list[Any]
) -> list[dict[str, Any]]:
    """One row per chosen key; some repeated, equal or not; some without a key."""
    rows = []
    for value in chosen:
        row = {p.feature["column"]: p.cell(rng) for p in parts}
        rows.append({key: keys.cell(kind, value, rng)} | row)
        while rng.random() < 0.12:
            again = dict(rng.choice(rows))
            if parts and rng.random() < 0.6:
                part = rng.choice(parts)
                again[part.feature["column"]] = part.cell(rng)
            rows.append(again)
        if rng.random() < 0.04:
            rows.append({key: None} | row)
    return rows


def with_malformed(rng: random.Random, table: Table, share: float) -> None:
    """Inserts lines that are not rows into a text table."""
    if table.format == "parquet" or not share:
        return
    width = len(table.columns)
    bad = ["x" + ",x" * width, "y" + ",y" * (width + 3)]
    if width > 2:
        bad.append("z")
    if table.format == "jsonl":
        bad = ["[1, 2]", "{", "3", '"text"', "null", '{"a": 1']
    for k in range(len(table.rows), -1, -1):
        if rng.random() < share:
            table.rows.insert(k, Malformed(rng.choice(bad)))


def source(table: Table) -> dict[str, Any]:
    skip = {"empty_files": "skip"} if table.empty else {}
    return {"path": f"{table.name}-*.{table.suffix}", **skip}


@st.composite
def datasets(
    draw: Any, most_interactions: int = 300, formats: tuple[str, ...] = FORMATS
) -> Dataset:
    """A whole small data set and a valid spec over it."""
    rng = random.Random(draw(st.integers(0, 2**32 - 1)))
    denormalised = draw(st.integers(0, 3)) == 0
    item_keys = make_keys(rng, draw(st.sampled_from(["text", "small", "large"])), 40, "i")
    user_keys = make_keys(rng, draw(st.sampled_from(["text", "small", "large"])), 25, "u")
    bad_lines = draw(st.sampled_from([0.0, 0.05]))
    format = st.sampled_from(formats)
    tables: list[Table] = []

    count = len(item_keys.values)
    catalogue = item_keys.values[: draw(st.sampled_from([2, 8, 20, count, count - 5, 1]))]
    if denormalised:
        items = {"source": "interactions", "key": "item"}
    else:
        items = _items(draw, rng, format, item_keys, catalogue, tables)
    known = catalogue if draw(st.booleans()) else item_keys.values
    log_table, log_spec, parts = _log(
        draw,
        rng,
        draw(format),
        (user_keys, Keys(known, item_keys.types)),
        denormalised,
        most_interactions,
    )
    tables.append(log_table)
    if denormalised:
        items["features"] = [aggregated(draw, p.feature) for p in parts]
    spec: dict[str, Any] = {"version": 1, "name": "nasty", "items": items, "interactions": log_spec}
    if draw(st.booleans()):
        spec["users"] = _users(draw, rng, draw(format), user_keys, tables)
    if draw(st.booleans()):
        vocabulary = {"oov_buckets": draw(st.sampled_from([0, 1, 3]))}
        if draw(st.booleans()):
            vocabulary["shards"] = draw(st.integers(1, 4))
        items["catalogue_vocabulary"] = vocabulary
    policies = ["drop", "reject"]
    if items.get("catalogue_vocabulary", {}).get("oov_buckets"):
        policies.append("oov")
    if draw(st.booleans()):
        log_spec["unknown_items"] = draw(st.sampled_from(policies))
    _policies(draw, spec)
    spec |= sequences_of(draw)
    spec["limits"] = {"max_reject_ratio": 1.0}
    if draw(st.integers(0, 2)) == 0:
        reasons = draw(st.sets(st.sampled_from(["missing_key", "time_unreadable", "not_utf8"])))
        limits = dict.fromkeys(["default", *sorted(reasons)], 1.0)
        spec["limits"] = {"max_reject_ratio": limits}
    for table in tables:
        table.packed = table.format != "parquet" and draw(st.booleans())
        table.sparse = draw(st.booleans())
        table.empty = draw(st.integers(0, 4)) == 0
        with_malformed(rng, table, bad_lines)
    if draw(st.booleans()):
        _import_vocabularies(draw, rng, spec, tables)
    if draw(st.integers(0, 2)) == 0:
        spec["erase"] = _erase(draw, rng, (user_keys, item_keys), spec, tables)
    spec["interactions"]["source"] = source(log_table)
    for owner, name in _owners(spec):
        owner["source"] = source(next(t for t in tables if t.name == name))
    _privacy(draw, spec)
    return Dataset(spec, tables)


def _privacy(draw: Any, spec: dict[str, Any]) -> None:
    """Whether user ids are hashed, and what rejects tell."""
    ways = ["full", "none"]
    if draw(st.integers(0, 2)) == 0:
        spec["users"] = spec.get("users", {}) | {"hash_key": "CONTRACT_KEY"}
        ways.append("hashed")
    if draw(st.booleans()):
        spec["rejects"] = {"values": draw(st.sampled_from(ways))}


def _policies(draw: Any, spec: dict[str, Any]) -> None:
    """What is dropped, and which keys are missing."""
    log, policy = spec["interactions"], st.sampled_from(["reject", "drop"])
    if draw(st.integers(0, 2)) == 0:
        log["missing_user"] = draw(policy)
    if "behaviour" in log and draw(st.integers(0, 2)) == 0:
        log["unlisted_behaviours"] = draw(policy)
    owners = [log, spec.get("users", {}), *spec["items"].get("joins", [])]
    owners += [] if spec["items"]["source"] == "interactions" else [spec["items"]]
    for owner in owners:
        if draw(st.integers(0, 3)) == 0:
            # Some keys that occur, and some that are spelt like them.
            words = st.sampled_from(["1", "2.0", "i3", "u4 ", "01", "3", "-1", "nan", "5"])
            owner["missing_values"] = draw(st.lists(words, min_size=1, max_size=3, unique=True))


def _import_vocabularies(
    draw: Any, rng: random.Random, spec: dict[str, Any], tables: list[Table]
) -> None:
    """Give some categorical features the vocabulary of another system; adds its file to `tables`."""
    for stem, feature, cells in list(_categorical_cells(spec, tables)):
        if draw(st.booleans()):
            continue
        mark = feature.get("separator", "|")
        texts = [part for v in cells for part in (v.split(mark) if isinstance(v, str) else [v])]
        missing = feature.get("missing_values", [])
        known = {text_of(v, missing) for v in texts} - {None}
        values = sorted(v for v in known if "\n" not in v and "\r" not in v and rng.random() < 0.6)
        values += [f"other {k}" for k in range(rng.randint(not values, 3))]
        rng.shuffle(values)
        name = f"vocabulary {stem}"
        if draw(st.booleans()):
            rows = [{"value": f"{v} " if rng.random() < 0.2 else v} for v in values]
            table = Table(name, "txt", {"value": pa.string()}, rows, packed=draw(st.booleans()))
            how = "tensorflow_transform"
        else:
            whole = all(is_plain_integer(v) for v in values) and draw(st.booleans())
            first = [{"v": None, "v_size": 1}] if draw(st.booleans()) else []
            rows = first + [{"v": int(v) if whole else v, "v_size": 1} for v in values]
            types = {"v": pa.int64() if whole else pa.string(), "v_size": pa.int64()}
            table, how = Table(name, "parquet", types, rows), "nvtabular"
        table.ordered = True
        tables.append(table)
        feature["vocabulary"] = {"path": f"{table.name}.{table.suffix}", "format": how}


def _categorical_cells(
    spec: dict[str, Any], tables: list[Table]
) -> Iterator[tuple[str, dict[str, Any], list[Any]]]:
    """The categorical features: the name of its files, its entry in the spec, the values in its column."""
    for side, prefix in (("items", ""), ("users", "user_")):
        for feature in spec.get(side, {}).get("features", []):
            if feature["kind"] == "categorical":
                holder = next(t for t in tables if feature["column"] in t.columns)
                rows = [r for r in holder.rows if not isinstance(r, Malformed)]
                cells = _scalars([r[feature["column"]] for r in rows])
                yield prefix + feature["name"], feature, cells


def _erase(
    draw: Any,
    rng: random.Random,
    keys: tuple[Keys, Keys],
    spec: dict[str, Any],
    tables: list[Table],
) -> dict[str, Any]:
    """Lists of keys and values to erase; adds their tables to `tables`."""
    pools = {"users": keys[0].values, "items": keys[1].values}
    pools |= {name: cells for name, _, cells in _categorical_cells(spec, tables)}
    found: dict[str, Any] = {"values": {}}
    for name, pool in pools.items():
        if not pool or draw(st.booleans()):
            continue
        gone = rng.choices(pool, k=rng.randint(0, max(1, len(pool) // 8)))
        texts = [csv_cell(value).replace("\r", " ").replace("\n", " ") for value in gone]
        rows = [{"gone": f" {text}"} for text in texts]
        table = Table(
            f"gone {name}", "csv", {"gone": pa.string()}, rows, packed=draw(st.booleans())
        )
        tables.append(table)
        place = found if name in ("users", "items") else found["values"]
        place[name] = {"source": source(table), "key": "gone"}
    return found


def _scalars(cells: list[Any]) -> list[Any]:
    """The present values of cells, and of the lists in them."""
    found: list[Any] = []
    for cell in cells:
        found += _scalars(cell) if isinstance(cell, list) else [] if cell is None else [cell]
    return found


def _owners(spec: dict[str, Any]) -> list[tuple[dict[str, Any], str]]:
    owners = [] if spec["items"]["source"] == "interactions" else [(spec["items"], "items")]
    owners += [(join, f"side{k}") for k, join in enumerate(spec["items"].get("joins", []))]
    return owners + ([(spec["users"], "users")] if "users" in spec else [])


def _items(
    draw: Any,
    rng: random.Random,
    formats: st.SearchStrategy[str],
    keys: Keys,
    catalogue: list[Any],
    tables: list[Table],
) -> dict[str, Any]:
    """The items of the spec; adds their tables to `tables`."""
    spec: dict[str, Any] = {"source": {}, "key": "item key", "joins": [], "features": []}
    for k in range(1 + draw(st.integers(0, 2))):
        format = draw(formats)
        kind = draw(st.sampled_from(keys.types))
        name, key = ("items", "item key") if k == 0 else (f"side{k - 1}", "id")
        parts = columns(draw, rng, format, f"f{k}", 3)
        features = [p.feature for p in parts]
        if k == 0 and draw(st.integers(0, 2)) == 0:
            spec["available_from"], type_, cell = _timestamp(draw, format)
            parts.append(Column({"column": spec["available_from"]["column"]}, type_, cell))
        chosen = catalogue if k == 0 else [v for v in keys.values if rng.random() < 0.7]
        types = {key: ARROW_KEYS[kind]} | {p.feature["column"]: p.type for p in parts}
        rows = rows_of_keys(rng, keys, kind, key, parts, chosen)
        tables.append(Table(name, format, types, rows))
        spec["features"] += features
        if k:
            spec["joins"].append({"source": {}, "key": key})
    rng.shuffle(spec["features"])
    if not spec["joins"]:
        del spec["joins"]
    return spec


def _users(
    draw: Any, rng: random.Random, format: str, keys: Keys, tables: list[Table]
) -> dict[str, Any]:
    kind = draw(st.sampled_from(keys.types))
    parts = columns(draw, rng, format, "u", 2)
    chosen = [v for v in keys.values if rng.random() < 0.7]
    types = {"user": ARROW_KEYS[kind]} | {p.feature["column"]: p.type for p in parts}
    tables.append(
        Table("users", format, types, rows_of_keys(rng, keys, kind, "user", parts, chosen))
    )
    return {"source": {}, "key": "user", "features": [p.feature for p in parts]}


# --- the log ---------------------------------------------------------------------------------

START = datetime(2023, 12, 30, tzinfo=UTC)
GARBAGE_TIMES = ["soon", "", None, "-1", "2200-01-01T00:00:00", "99999999999999999999", "1e400"]
TIMES: dict[str, tuple[pa.DataType, Callable[[datetime, random.Random], Any]]] = {
    "s": (pa.int64(), lambda t, rng: int(t.timestamp())),
    "s text": (pa.string(), lambda t, rng: rng.choice(["{}", " {} ", "{}.0"]).format(
        int(t.timestamp()))),
    "s float": (pa.float64(), lambda t, rng: t.timestamp() + rng.choice([0.0, 0.001, 0.0019])),
    "ms": (pa.int64(), lambda t, rng: int(t.timestamp()) * 1000 + rng.randint(0, 2)),
    "us": (pa.int64(), lambda t, rng: int(t.timestamp()) * 10**6 + rng.choice([0, 999, 1000])),
    "ns": (pa.int64(), lambda t, rng: int(t.timestamp()) * 10**9 + rng.choice([0, 999_999, 10**6])),
    "day": (pa.int32(), lambda t, rng: int(t.timestamp()) // DAY),
    "iso": (pa.string(), lambda t, rng: rng.choice([
        t.isoformat(), t.strftime("%Y-%m-%dT%H:%M:%SZ"), t.strftime(" %Y-%m-%d %H:%M:%S.123999 "),
        t.strftime("%Y-%m-%d"), (t + timedelta(hours=2)).strftime("%Y-%m-%dT%H:%M:%S+02:00")])),
    "format": (pa.string(), lambda t, rng: t.strftime("%d/%m/%Y %H:%M:%S")),
    "stamp": (pa.timestamp("us", "UTC"), lambda t, rng: t + timedelta(microseconds=rng.choice(
        [0, 999, 1999]))),
    "naive": (pa.timestamp("s"), lambda t, rng: t.replace(tzinfo=None)),
}  # fmt: skip


def _timestamp(draw: Any, format: str) -> tuple[dict[str, Any], pa.DataType, Cell]:
    kinds = [k for k in TIMES if format == "parquet" or k not in ("stamp", "naive")]
    kind = draw(st.sampled_from(kinds))
    type_, make = TIMES[kind]
    spec: dict[str, Any] = {"column": "when"}
    if kind == "format":
        spec["format"] = "%d/%m/%Y %H:%M:%S"
    elif kind not in ("stamp", "naive"):
        spec["unit"] = kind.split()[0]
    if format != "parquet" and kind == "s float":
        type_ = pa.null()
    step = draw(st.sampled_from([1, 3600, DAY]))  # the coarser, the fewer ties
    moments = draw(st.sampled_from([5, 40, 400]))

    def cell(rng: random.Random) -> Any:
        return make(START + timedelta(seconds=step * rng.randint(0, moments)), rng)

    garbage = one_of(GARBAGE_TIMES if pa.types.is_string(type_) else [None])
    if pa.types.is_integer(type_):
        garbage = one_of([None, -1, 2**31 - 1])
    if format != "parquet":
        garbage = one_of(GARBAGE_TIMES)
    share = draw(st.sampled_from([0.0, 0.03]))
    return spec, type_, sometimes(share, garbage, cell)


def aggregated(draw: Any, feature: dict[str, Any]) -> dict[str, Any]:
    """A feature of a denormalised log, perhaps with an aggregate of its values."""
    ways = ["latest", "mean", "median"] if feature["kind"] == "numeric" else ["latest"]
    return feature | ({"aggregate": draw(st.sampled_from(ways))} if draw(st.booleans()) else {})


def _log(
    draw: Any,
    rng: random.Random,
    format: str,
    keys: tuple[Keys, Keys],
    denormalised: bool,
    most: int,
) -> tuple[Table, dict[str, Any], list[Column]]:
    """The log, its entry in the spec, and the item features of a denormalised one."""
    user_keys, item_keys = keys
    kinds = [draw(st.sampled_from(k.types)) for k in (user_keys, item_keys)]
    time_spec, time_type, time = _timestamp(draw, format)
    spec: dict[str, Any] = {"source": {}, "user": "user", "item": "item", "timestamp": time_spec}
    types = {"user": ARROW_KEYS[kinds[0]], "item": ARROW_KEYS[kinds[1]], "when": time_type}
    cells: dict[str, Cell] = {"when": time}
    if draw(st.booleans()):
        values = draw(st.sampled_from([["view", "cart", "caf\u00e9"], ["1", "2"]]))
        spec["behaviour"] = {"column": "what", "values": values}
        types["what"] = pa.string()
        unlisted = one_of(["", None, "other"])
        cells["what"] = sometimes(0.03, unlisted, one_of([*values, " 1", "view "]))
    if draw(st.booleans()):
        spec["order"] = "order"
        types["order"] = pa.int64() if draw(st.booleans()) or format == "csv" else pa.string()
        number: Cell = lambda rng: rng.randint(-2, 5)  # noqa: E731
        if pa.types.is_string(types["order"]):
            number = lambda rng: str(rng.randint(-2, 12))  # noqa: E731
        cells["order"] = sometimes(0.1, one_of([None]), number)
        if format != "parquet":
            cells["order"] = sometimes(
                0.02, one_of(["first", "1.5", "2.0", "-1.00"]), cells["order"]
            )
    if draw(st.integers(0, 2)) == 0:
        spec["event_id"] = "event"
        types["event"] = pa.int64() if format == "parquet" and draw(st.booleans()) else pa.string()
        events = range(draw(st.sampled_from([5, 400])))
        event: Cell = lambda rng: rng.choice(events)  # noqa: E731
        if pa.types.is_string(types["event"]):
            event = lambda rng: rng.choice(["e{}", " e{} "]).format(rng.choice(events))  # noqa: E731
        cells["event"] = sometimes(0.2, one_of([None]), event)
    parts = columns(draw, rng, format, "g", 3, log=True) if denormalised else []
    types |= {p.feature["column"]: p.type for p in parts}
    cells |= {p.feature["column"]: p.cell for p in parts}
    blank = draw(st.sampled_from([0.0, 0.03]))
    rows: list[dict[str, Any]] = []
    scale = draw(st.sampled_from([3, most // 10, most // 2, most]))
    for _ in range(rng.randint(min(3, most), max(3, scale)) if rng.random() < 0.97 else 0):
        if rows and rng.random() < 0.1:
            rows.append(dict(rng.choice(rows)))
            continue
        user = None if rng.random() < blank else rng.choice(user_keys.values)
        item = None if rng.random() < blank else rng.choice(item_keys.values)
        row = {
            "user": user_keys.cell(kinds[0], user, rng),
            "item": item_keys.cell(kinds[1], item, rng),
        }
        rows.append(row | {name: cell(rng) for name, cell in cells.items()})
    return Table("log", format, types, rows), spec, parts


def sequences_of(draw: Any) -> dict[str, Any]:
    """How sequences are cut, split and written."""
    sequences: dict[str, Any] = {"max_length": draw(st.sampled_from([1, 2, 3, 5, 50]))}
    if draw(st.booleans()):
        sequences["min_length"] = draw(st.integers(1, 5))
    sequences["deduplicate"] = draw(st.sampled_from(["exact", "consecutive", "none"]))
    if draw(st.booleans()) and sequences["max_length"] > 1:
        sequences["train_windows"] = draw(st.sampled_from(["last", "all"]))
    split: dict[str, Any] = {"method": "leave_one_out"}
    if draw(st.booleans()):
        cuts = draw(
            st.sampled_from(
                [(0.5, 0.8), (0.8, 0.9), (0.3, 0.3), ("2023-12-31", "2024-01-01T12:00:00Z")]
            )
        )
        split = {"method": "temporal", "validation_at": cuts[0], "test_at": cuts[1]}
        if draw(st.booleans()):
            split["targets"] = draw(st.sampled_from(["all", "next", "last"]))
    output: dict[str, Any] = {
        "item_shards": draw(st.integers(1, 4)),
        "sequence_shards": draw(st.integers(1, 5)),
    }
    if draw(st.booleans()):
        output["layout"] = draw(st.sampled_from(["referenced", "flattened"]))
    return {"sequences": sequences, "split": split, "output": output}
