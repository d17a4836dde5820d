"""Text of Parquet that is not UTF-8."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pieces import bad_text_array

from heterrec_pipeline.reading.files import InputFile, split_file
from heterrec_pipeline.reading.formats import utf8
from heterrec_pipeline.reading.read import bad_text, bad_text_cells, located, read_split
from heterrec_schemas.rejects import VALUE_CHARACTERS, Reason

TEXT = bad_text_array(b"ok", b"caf\xe9", None, b"\xc3", b"\xa9x")
"""The last two are valid together: each cell counts alone."""
OFFSETS = [0, 1, 2, 2, 4, 5]


def as_kind(kind: pa.DataType) -> pa.Array:
    raw = TEXT.view(pa.binary())
    if pa.types.is_string_view(kind):
        return raw.cast(pa.binary_view()).view(kind)
    return raw.cast(pa.large_binary()).view(kind) if pa.types.is_large_string(kind) else TEXT


def dictionary(values: pa.Array) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array([0, 1, None, 3, 4]), values)


def cells_of(column: pa.Array) -> tuple[list[Any], dict[int, str]]:
    """The cells, and the bad ones by row number from 10."""
    record = pa.record_batch({"n": pa.array(range(len(column))), "c": column})
    checked, found = utf8.without_bad_text(record, np.arange(10, 10 + len(column)))
    checked.validate(full=True)
    assert checked["n"].to_pylist() == list(range(len(column)))
    return checked["c"].to_pylist(), dict(found.get("c", {}))


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.string_view()], ids=str)
def test_bad_cells_become_null_and_are_described(kind: pa.DataType) -> None:
    text = as_kind(kind)
    want = ["ok", None, None, None, None], {11: "caf\\xe9", 13: "\\xc3", 14: "\\xa9x"}
    assert cells_of(text) == want
    if not pa.types.is_string_view(kind):
        assert cells_of(dictionary(text)) == want
    assert cells_of(text.slice(2, 2)) == ([None, None], {11: "\\xc3"})
    assert cells_of(text.slice(0, 1)) == (["ok"], {})


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.string_view()], ids=str)
def test_a_list_is_bad_if_an_element_is(kind: pa.DataType) -> None:
    text = as_kind(kind)
    want = [["ok"], None, [], None, None]
    for column in (
        pa.ListArray.from_arrays(OFFSETS, text),
        pa.LargeListArray.from_arrays(OFFSETS, text),
        pa.ListArray.from_arrays(OFFSETS, dictionary(TEXT)),
    ):
        cells, bad = cells_of(column)
        assert (cells, sorted(bad)) == (want, [11, 13, 14])
        assert bad[13] == '[null, "\\\\xc3"]'
    nested = pa.ListArray.from_arrays([0, 2, 5], pa.ListArray.from_arrays(OFFSETS, text))
    assert cells_of(nested.slice(1)) == ([None], {10: '[[], [null, "\\\\xc3"], ["\\\\xa9x"]]'})


def test_a_value_that_only_a_dictionary_has_is_not_a_cell() -> None:
    column = pa.DictionaryArray.from_arrays(pa.array([0, 0, None]), TEXT)
    assert cells_of(column) == (["ok", "ok", None], {})


def test_good_columns_are_left_alone() -> None:
    record = pa.record_batch({"a": ["ä", None], "b": pa.array([[1.0], None]), "c": [b"\xff", b""]})
    checked, found = utf8.without_bad_text(record, np.arange(2))
    assert checked is record
    assert found == {}


def test_a_long_text_is_cut() -> None:
    _, bad = cells_of(bad_text_array(b"\xff" * 300))
    assert bad == {10: ("\\xff" * 300)[:VALUE_CHARACTERS]}


def test_batches_carry_the_bad_texts_of_their_rows(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    table = pa.table({"t": TEXT, "u": TEXT, "n": range(5)})
    pq.write_table(table, path, row_group_size=3)
    (split,) = split_file(InputFile(str(path), path.name, path.stat().st_size, "parquet"))
    batches = [located(batch, split) for batch in read_split(split, ["n", "t"])]
    (rows,) = batches
    assert rows["t"].to_pylist() == ["ok", None, None, None, None]
    assert bad_text(rows) == {"t": {1: "caf\\xe9", 3: "\\xc3", 4: "\\xa9x"}}, "of wanted columns"
    kept = rows.filter(pa.array([True, False, True, True, True])).append_column("x", rows["n"][1:])
    entries = bad_text_cells(kept, ["t", "n", "t"])
    assert entries == [(3, "t", Reason.NOT_UTF8, "\\xc3"), (4, "t", Reason.NOT_UTF8, "\\xa9x")]
