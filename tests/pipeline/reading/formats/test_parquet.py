import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pieces import QUICK

from heterrec_pipeline.reading import files
from heterrec_pipeline.reading.files import InputFile, Split, split_file
from heterrec_pipeline.reading.formats import parquet
from heterrec_schemas.errors import DataError, RunError, SchemaMismatchError
from heterrec_schemas.feature_spec import Source


def written(path: Path, table: pa.Table, **more: Any) -> InputFile:
    pq.write_table(table, path, **more)
    return InputFile(str(path), path.name, path.stat().st_size, "parquet")


def rows_of(split: Split, *columns: str) -> list[tuple[Any, ...]]:
    """Row numbers and cells."""
    found: list[tuple[Any, ...]] = []
    for batch in parquet.read(split, columns):
        assert batch.table.column_names == list(columns)
        cells = (batch.table[c].to_pylist() for c in columns)
        found += zip(batch.rows.tolist(), *cells, strict=True)
    return found


@QUICK
@given(st.integers(0, 60), st.integers(1, 20), st.integers(1, 2000))
def test_splits_hold_every_row_once_with_its_number(
    tmp_path_factory: pytest.TempPathFactory, rows: int, group: int, split_bytes: int
) -> None:
    table = pa.table({"a": pa.array(range(rows), pa.int64()), "b": [str(k) for k in range(rows)]})
    file = written(tmp_path_factory.mktemp("parquet") / "a.parquet", table, row_group_size=group)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "SPLIT_BYTES", split_bytes)
        splits = list(split_file(file))
    meta = pq.read_metadata(file.path)
    assert [g for s in splits for g in s.row_groups or ()] == list(range(meta.num_row_groups))
    for split in splits:
        groups = [meta.row_group(g) for g in split.row_groups or ()]
        size = sum(g.total_byte_size for g in groups)
        assert len(groups) == 1 or size <= split_bytes
    found = [row for split in splits for row in rows_of(split, "b", "a")]
    assert found == [(k, str(k), k) for k in range(rows)]


def test_batches_are_cut_by_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = pa.table({"a": np.random.default_rng(0).random(10_000), "b": ["x"] * 10_000})
    (split,) = split_file(written(tmp_path / "a.parquet", table, row_group_size=3000))
    monkeypatch.setattr(parquet, "BATCH_BYTES", 16_000)
    sizes = [len(b.rows) for b in parquet.read(split, ["a"])]
    assert sum(sizes) == 10_000
    assert max(sizes) <= 2048
    assert rows_of(split, "a") == list(enumerate(table["a"].to_pylist()))
    assert len(list(parquet.read(split, ["b"]))) < len(sizes), "b takes next to nothing"


def test_no_columns_may_be_wanted_of_a_nested_one_by_its_inner_name(tmp_path: Path) -> None:
    table = pa.table({"a": [["x"], ["y", "z"]], "b": [{"a": 1}, {"a": 2}]})
    (split,) = split_file(written(tmp_path / "a.parquet", table))
    assert rows_of(split, "a") == [(0, ["x"]), (1, ["y", "z"])]
    with pytest.raises(SchemaMismatchError, match=r"has no column 'b\.a'"):
        rows_of(split, "b.a")


def test_a_missing_column_is_named_with_near_ones(tmp_path: Path) -> None:
    (split,) = split_file(written(tmp_path / "a.parquet", pa.table({"price": [1]})))
    with pytest.raises(SchemaMismatchError, match=r"a\.parquet has no column 'prise'.*'price'"):
        rows_of(split, "prise")


@pytest.mark.parametrize("width", [2, 3])
def test_fixed_size_lists_with_nulls_are_read(tmp_path: Path, width: int) -> None:
    cells = [None if k % 3 == 0 else [float(k)] * width for k in range(50)]
    table = pa.table({"v": pa.array(cells, pa.list_(pa.float32(), width)), "k": range(50)})
    file = written(tmp_path / "a.parquet", table, row_group_size=7)
    splits = [Split(file, (2, 3), 14), Split(file, (0, 1), 0), Split(file, None, 0)]
    for split, first, last in zip(splits, (14, 0, 0), (28, 14, 50), strict=True):
        assert rows_of(split, "k", "v") == [(k, k, cells[k]) for k in range(first, last)]


def test_null_vectors_are_read_beside_columns_of_any_type(tmp_path: Path) -> None:
    vector = pa.array([None, [1.0, 2.0]], pa.list_(pa.float32(), 2))
    used = {
        "zone": pa.array([1, 2], pa.timestamp("us", "+05:30")),
        "words": pa.array(["x", None]).dictionary_encode(),
        "wide": pa.array([2**64 - 1, 1], pa.uint64()),
        "half": pa.array([1.5, None], pa.float16()),
        "day": pa.array([1, 2], pa.date32()),
        "tags": pa.array([["a"], None], pa.large_list(pa.large_string())),
        "vectors": pa.array([[[1, 2]], None], pa.list_(pa.list_(pa.int8(), 2))),
    }
    unused = {
        "span": pa.array([1, 2], pa.duration("s")),
        "object": pa.array([{"a": None}, {"a": [1]}]),
        "map": pa.array([[("a", 1)], []], pa.map_(pa.string(), pa.int32())),
        "zones": pa.array([[1], None], pa.list_(pa.timestamp("ns", "-11:17"))),
    }
    table = pa.table({**unused, **used, "v": vector})
    (split,) = split_file(written(tmp_path / "a.parquet", table))
    assert rows_of(split, "v") == [(0, None), (1, [1.0, 2.0])]
    got = [b.table for b in parquet.read(split, ["v", *used])]
    (batch,) = got
    for name, column in used.items():
        if name == "zone":
            assert batch[name].cast(pa.int64()).to_pylist() == [1, 2], "the instant"
        else:
            assert batch[name].to_pylist() == column.to_pylist(), name


@pytest.mark.parametrize("keep", [0, 10, -1, -9])
def test_a_truncated_file_is_named(tmp_path: Path, keep: int) -> None:
    file = written(tmp_path / "a.parquet", pa.table({"a": list(range(1000))}))
    Path(file.path).write_bytes(Path(file.path).read_bytes()[:keep])
    for read in (lambda: list(split_file(file)), lambda: rows_of(Split(file), "a")):
        with pytest.raises(DataError, match=r"a\.parquet cannot be read"):
            read()
    with pytest.raises(DataError, match=r"a\.parquet cannot be read"):
        parquet.schema_and_rows(Split(file))


def test_a_file_with_a_column_name_that_is_no_text_is_named(tmp_path: Path) -> None:
    file = written(tmp_path / "a.parquet", pa.table({"item": [1], "cafe": [1]}), store_schema=False)
    data = Path(file.path).read_bytes()
    Path(file.path).write_bytes(data.replace(b"cafe", b"caf\xe9"))
    for read in (lambda: list(split_file(file)), lambda: parquet.schema_and_rows(Split(file))):
        with pytest.raises(DataError, match=r"a\.parquet cannot be read: the name of a column is"):
            read()


def test_a_column_without_an_entry_in_the_footer_loses_no_rows(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    file = written(path, pa.table({"a": list(range(20)), "b": [0.5] * 20}), store_schema=False)
    before, entry, after = path.read_bytes().rpartition(b"&\x00\x1c")  # of b, in the footer
    assert entry
    path.write_bytes(before + b"&\x00\x0c" + after)  # Arrow finds no rows in it, and no mistake
    with pytest.raises(
        DataError, match=r"a\.parquet cannot be read: 0 rows were read, its end coun"
    ):
        rows_of(Split(file), "b")


def test_a_footer_whose_counts_differ_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    file = written(path, pa.table({"a": list(range(20))}), store_schema=False)
    data = path.read_bytes()
    at = data.rindex(b"\x16\x28\x19\x1c\x19")  # 20 rows, then the list of row groups
    path.write_bytes(data[:at] + b"\x16\x00" + data[at + 2 :])
    with pytest.raises(DataError, match=r"its end counts 0 rows, and 20 in its row groups"):
        rows_of(Split(file), "a")


def test_damage_inside_is_found_when_it_is_read(tmp_path: Path) -> None:
    file = written(tmp_path / "a.parquet", pa.table({"a": [str(k) for k in range(5000)]}))
    data = bytearray(Path(file.path).read_bytes())
    data[4:2000] = bytes(1996)
    Path(file.path).write_bytes(data)
    (split,) = split_file(file)
    with pytest.raises(DataError, match=r"a\.parquet cannot be read"):
        rows_of(split, "a")


def test_the_schema_is_arrows(tmp_path: Path) -> None:
    table = pa.table({"a": pa.array([1], pa.int16()), "b": pa.array([["x"]])})
    (split,) = split_file(written(tmp_path / "a.parquet", table))
    schema, rows = parquet.schema_and_rows(split)
    assert (rows, schema.names) == (1, ["a", "b"])
    assert schema.field("a").type == pa.int16()


def test_a_file_that_is_cut_while_it_is_read_ends_in_a_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mapped file would end the process by SIGBUS."""
    monkeypatch.setattr(parquet, "BATCH_BYTES", 1)
    table = pa.table({"a": np.random.default_rng(1).random(6_000_000)})
    path = tmp_path / "a.parquet"
    written(path, table, row_group_size=1_000_000, compression="none")
    (file,) = files.input_files(Source(path="a.parquet"), str(tmp_path), "items")
    batches = parquet.read(Split(file), ["a"])
    next(batches)
    os.truncate(path, 1_000)
    with pytest.raises(RunError, match=r"the input changed while it was read: a\.parquet: got 1,0"):
        list(batches)


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("statistics", [False, True])
def test_long_values_that_stand_once_for_many_rows_are_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nested: bool, statistics: bool
) -> None:
    texts = ["x" * 10_000, "y"] * 1000
    column = pa.array([[t] for t in texts]) if nested else pa.array(texts)
    table = pa.table({"t": column, "k": range(2000)})
    file = written(tmp_path / "a.parquet", table, row_group_size=700, write_statistics=statistics)
    assert file.bytes < 60_000
    monkeypatch.setattr(parquet, "MAX_BYTES", 1_000_000)
    for split in [Split(file), Split(file, (1, 2), 700)]:
        batches = list(parquet.read(split, ["t"]))
        assert max(len(b.rows) for b in batches) <= 100
        cells = [cell for b in batches for cell in b.table["t"].to_pylist()]
        assert cells == column.to_pylist()[split.first_row :]
    assert max(len(b.rows) for b in parquet.read(Split(file), ["k"])) > 100


def test_only_dictionaries_that_may_hold_long_values_are_looked_into(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = pa.table({"t": ["x" * 1000, "y"] * 100, "s": ["a", "b"] * 100, "u": ["c"] * 200})
    file = written(tmp_path / "a.parquet", table, row_group_size=50, write_statistics=False)
    looked: list[list[str]] = []
    longest = parquet._longest
    monkeypatch.setattr(parquet, "_longest", lambda *a: looked.append(a[2]) or longest(*a))
    for columns in (["s", "u"], ["t", "s"]):
        list(parquet.read(Split(file), columns))
    assert looked == []
    monkeypatch.setattr(parquet, "MAX_BYTES", 100_000)
    assert max(len(b.rows) for b in parquet.read(Split(file), ["t", "s", "u"])) <= 100
    assert looked == [["t"]] * 4
