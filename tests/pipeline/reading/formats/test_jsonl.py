import gzip
import itertools
import json
import math
from functools import reduce
from operator import or_
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from pieces import MANY, QUICK, categorical, written_file

from heterrec_pipeline.features import categorical as features
from heterrec_pipeline.reading.files import InputFile
from heterrec_pipeline.reading.formats import jsonl, text
from heterrec_schemas.errors import DataError, SchemaMismatchError
from heterrec_schemas.rejects import Reason
from heterrec_schemas.value_columns import column_text
from heterrec_schemas.values import Seen, value_text

HALF = '{"a": "\\ud83d"}'
"""Half an emoji: what a text that was cut off between two UTF-16 units becomes."""


def read(file: InputFile, *columns: str) -> tuple[dict[int, tuple[Any, ...]], dict[int, str]]:
    """Row number to cells, and the bad rows' numbers and texts."""
    rows: dict[int, tuple[Any, ...]] = {}
    bad: dict[int, str] = {}
    for batch in jsonl.read(file, columns):
        found = [batch.table[c].to_pylist() for c in columns]
        rows |= dict(zip(batch.rows.tolist(), zip(*found, strict=True), strict=True))
        assert not batch.short
        assert {b.reason for b in batch.bad} <= {Reason.MALFORMED_ROW}
        bad |= {b.row: b.text for b in batch.bad}
    return rows, bad


def test_rows_are_numbered_without_blank_lines(tmp_path: Path) -> None:
    data = (
        b'\xef\xbb\xbf{"a": 1}\r\n\r\n  \n{"a": 2, "b": "x"}\nnope\n[1]\n"x"\nnull\n3\n{"b": "y"}'
    )
    rows, bad = read(written_file(tmp_path / "a.jsonl", data), "b", "a")
    assert rows == {0: (None, 1), 1: ("x", 2), 7: ("y", None)}
    assert bad == {2: "nope", 3: "[1]", 4: '"x"', 5: "null", 6: "3"}


@QUICK
@given(
    st.lists(
        st.fixed_dictionaries({}, optional={"a": st.integers(), "b": st.text()}).map(json.dumps)
        | st.sampled_from(["", " ", "{", "{}}", "[]", HALF, '{"b": NaN}']),
        max_size=12,
    ),
    st.integers(4, 40),
    st.sampled_from(["\n", "\r\n"]),
)
def test_rows_do_not_depend_on_the_blocks(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str], block: int, end: str
) -> None:
    file = written_file(tmp_path_factory.mktemp("jsonl") / "a.jsonl", end.join(lines).encode())
    present = [line for line in lines if line.strip()]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text, "BLOCK", block)
        rows, bad = read(file, "a")
    for k, line in enumerate(present):
        try:
            value = json.loads(line)
        except json.JSONDecodeError:
            value = None
        if isinstance(value, dict) and line != HALF:
            assert value_text(rows[k][0]) == value_text(value.get("a"))
        else:
            assert bad[k] == line
    assert len(rows) + len(bad) == len(present)


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress])
def test_packed_files_read_as_plain_ones(tmp_path: Path, pack: Any) -> None:
    packed = pack(b'{"a": 1}\n' * 1000)
    suffix = "gz" if pack is gzip.compress else "zst"
    rows, _ = read(written_file(tmp_path / f"a.jsonl.{suffix}", packed), "a")
    assert rows == {k: (1,) for k in range(1000)}
    with pytest.raises(DataError, match=rf"a\.jsonl\.{suffix} .* truncated"):
        read(written_file(tmp_path / f"a.jsonl.{suffix}", packed[:-6]), "a")


def test_bytes_that_are_no_utf8_are_named(tmp_path: Path) -> None:
    file = written_file(tmp_path / "a.jsonl", b'{"a": "x"}\n{"a": "\xff"}\n')
    with pytest.raises(DataError, match="byte 0xff in line 2"):
        read(file, "a")


@pytest.mark.parametrize(
    "line",
    [
        HALF,
        '{"a": 1, "a\\udc00": 2}',
        '{"a": ' + "9" * 5000 + "}",
        "[" * 100_000,
        '{"a": 1,}',
        "{'a': 1}",
    ],
)
def test_what_python_cannot_hold_is_no_row(tmp_path: Path, line: str) -> None:
    file = written_file(tmp_path / "a.jsonl", line.encode() + b'\n{"a": 1}\n')
    rows, bad = read(file, "a")
    assert rows == {1: (1,)}
    assert bad == {0: line[:400]}


def test_integers_beyond_64_bits_stay_exact(tmp_path: Path) -> None:
    cells = [10**23 + 1, 2**64, -(2**63) - 1, [10**30, 1], [["x"], [10**25]], 10**400]
    for k, cell in enumerate(cells):
        data = json.dumps({"a": cell, "b": [1.5, None]}).encode()
        rows, _ = read(written_file(tmp_path / f"{k}.jsonl", data), "a", "b")
        found, other = rows[0]
        as_json = json.loads(found) if isinstance(found, bytes) else found
        assert as_json == (str(cell) if isinstance(cell, int) else cell)
        assert other == [1.5, None]


# --- types


def seen_in(values: list[Any]) -> Seen:
    """What a column of scalars holds, cell by cell."""
    kinds = Seen.NOTHING
    for value in values:
        if value_text(value) is None:
            continue
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or (
            math.isfinite(value) and value == int(value) and not -(2**63) <= value < 2**63
        ):
            kinds |= Seen.TEXT
        elif math.isfinite(value) and value == int(value):
            kinds |= Seen.WHOLE
        else:
            kinds |= Seen.FRACTION
    return kinds


BIG = st.sampled_from(
    [2**53, 2**53 + 1, 2**60 + 1, 2**63 - 1, 2**63, -(2**63), -(2**63) - 1, 10**30]
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | BIG
    | BIG.map(float)
    | st.sampled_from([0.5, -0.0, 3.0, 1e300, math.nan, math.inf, -math.inf, 2.0**53, 1e17])
    | st.sampled_from(["", " a ", "b", "1", "NaN", "ü"])
)


def in_batches(cells: list[Any], points: list[int]) -> list[pa.Array]:
    at = [0, *sorted(p % (len(cells) + 1) for p in points), len(cells)]
    return [jsonl.typed(cells[a:b], "c", "f") for a, b in itertools.pairwise(at)]


@MANY
@given(
    st.lists(SCALARS, max_size=6) | st.lists(BIG | BIG.map(float) | st.just(math.nan), max_size=4),
    st.lists(st.integers(0, 6), max_size=3),
)
def test_scalars_read_alike_however_they_are_cut(cells: list[Any], points: list[int]) -> None:
    parts = [column_text(part) for part in in_batches(cells, points)]
    texts = [t for text_, _ in parts for t in text_.to_list()]
    assert texts == [value_text(c) for c in cells]
    seen = reduce(or_, (kinds for _, kinds in parts), Seen.NOTHING)
    assert seen.integral == seen_in(cells).integral


NODES = st.none() | st.integers(-2, 2) | st.sampled_from(["a", " b", "", 0.5, 3.0, True, 2**53 + 1])
LISTS = st.none() | st.lists(NODES | st.lists(NODES, max_size=2), max_size=3) | NODES


def values_of(cell: Any) -> list[str]:
    """The values of a cell of nodes, lists flattened."""
    if isinstance(cell, list):
        return [v for part in cell for v in values_of(part)]
    made = value_text(cell)
    return [] if made is None else [made]


@MANY
@given(
    st.lists(LISTS, max_size=5) | st.lists(st.lists(NODES, max_size=3), max_size=5),
    st.lists(st.integers(0, 6), max_size=3),
)
def test_lists_read_alike_however_they_are_cut(cells: list[Any], points: list[int]) -> None:
    feature = categorical(multivalued=True)
    found: list[list[str]] = []
    for part in in_batches(cells, points):
        long, _ = features.texts(feature, part)
        rows: list[list[str]] = [[] for _ in range(len(part))]
        for row, value in long.iter_rows():
            rows[row].append(value)
        found += rows
    assert found == [values_of(c) for c in cells]


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        ([None, None], pa.null()),
        (["a", None], pa.string()),
        ([True, None], pa.bool_()),
        ([1, None], pa.int64()),
        ([1, 2.0], pa.float64()),
        ([2**53 + 1, 2.0], pa.int64()),
        ([2**53 + 1, 2.5], pa.string()),
        ([2**63], pa.string()),
        ([1, "a"], pa.string()),
        ([True, 1], pa.string()),
        ([[1.5], None], pa.list_(pa.float64())),
        ([["a"], []], pa.list_(pa.string())),
        ([[["a"], ["b"]]], pa.list_(pa.list_(pa.string()))),
        ([["a"], "b"], pa.binary()),
        ([[True]], pa.binary()),
        ([[0.5, True]], pa.binary()),
        ([[[0.5]], [None, [0.5, True]]], pa.binary()),
        ([[[["a"]]]], pa.binary()),
        ([["a", 1]], pa.binary()),
    ],
)
def test_a_column_gets_the_narrowest_type(cells: list[Any], kind: pa.DataType) -> None:
    assert jsonl.typed(cells, "c", "f").type == kind


def test_objects_are_refused_by_name(tmp_path: Path) -> None:
    file = written_file(tmp_path / "a.jsonl", b'{"a": {"x": 1}, "b": 1}\n')
    with pytest.raises(
        SchemaMismatchError,
        match=r"a\.jsonl: column 'a' holds objects: got an object, expected text",
    ):
        read(file, "a")
    assert read(file, "b")[0] == {0: (1,)}, "only where a column is wanted"


def test_a_column_of_one_batch_is_as_long_as_its_rows() -> None:
    assert pl.Series(jsonl.typed([None, 1.0, None], "c", "f")).to_list() == [None, 1.0, None]


@pytest.mark.parametrize("levels", [40, 150, 500, 990])
def test_how_many_levels_a_line_may_have_is_no_matter_of_the_stack(
    levels: int, tmp_path: Path
) -> None:
    deep = "[" * levels + "1" + "]" * levels
    brackets = json.dumps("[{" * 300)
    lines = [
        f'{{"a": {deep}, "b": 1}}',
        f'{{"a": [{deep}, {deep}], "b": 1}}',
        f'{{"a": {deep}, "b": {2**64}}}',
        f'{{"a": {brackets}, "b": {2**64}}}',
    ]
    file = written_file(tmp_path / "a.jsonl", "\n".join(lines).encode())

    def at(depth: int) -> Any:
        return at(depth - 1) if depth else (read(file, "b"), read(file, "a", "b"))

    (cells, bad), (every, same_bad) = at(0)
    assert at(500) == ((cells, bad), (every, same_bad))
    assert {row: int(b) for row, (b,) in cells.items() if row != 2} == {0: 1, 1: 1, 3: 2**64}
    assert list(bad) == list(same_bad) == ([] if levels < 200 else [2])
    assert all(isinstance(a, bytes) for row, (a, _) in every.items() if row < 3)
