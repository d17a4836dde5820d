from pathlib import Path

import pyarrow as pa
import pytest

from heterrec_pipeline.files.parts import (
    TableRef,
    forget,
    load,
    once_a_process,
    row_count,
    store,
    write_parts,
)

TABLE = pa.table(
    {
        "n": pa.array([3, 1, 2], pa.int64()),
        "ids": pa.array([[1], [], [2, 3]], pa.list_(pa.int32())),
        "look": pa.array([[1, 2]] * 3, pa.list_(pa.int32(), 2)),
        "word": ["a", "", "ü"],
    }
)


def test_tables_come_back_one_by_one(tmp_path: Path) -> None:
    chunked = pa.concat_tables([TABLE, TABLE.slice(1)])
    tables = [TABLE, TABLE.slice(1, 1), TABLE.slice(0, 0), chunked]
    path = write_parts(str(tmp_path / "new"), "items", tables)
    found = [load(TableRef(0, "items", path, k)) for k in range(4)]
    assert [t.to_pylist() for t in found] == [t.to_pylist() for t in tables]
    assert {t.schema.to_string() for t in found} == {TABLE.schema.to_string()}


def test_every_try_writes_a_file_of_its_own(tmp_path: Path) -> None:
    paths = {write_parts(str(tmp_path), "items", [TABLE]) for _ in range(3)}
    assert len(paths) == 3
    assert all(load(TableRef(0, "items", p, 0)).equals(TABLE) for p in paths)


def test_parts_are_sorted_by_their_place_first() -> None:
    parts = [
        TableRef(2, "a", "x", 0),
        TableRef(0, "b", "z", 1),
        TableRef(0, "b", "z", 0),
        TableRef(1, "a", "y", 0),
    ]
    assert [(p.order, p.batch) for p in sorted(parts)] == [(0, 0), (0, 1), (1, 0), (2, 0)]


def test_a_slice_does_not_write_its_parents_rows(tmp_path: Path) -> None:
    large = pa.table({"n": list(range(100_000)), "ids": [[k] for k in range(100_000)]})
    path = write_parts(str(tmp_path), "items", [large.slice(7, 2)])
    assert Path(path).stat().st_size < 5000


def test_a_stored_table_is_loaded_once_a_process(tmp_path: Path) -> None:
    loads: list[TableRef] = []

    @once_a_process
    def rows(stored: TableRef) -> int:
        loads.append(stored)
        return len(load(stored))

    stored = store(str(tmp_path), "index", pa.concat_tables([TABLE, TABLE]))
    assert (row_count(stored), rows(stored), rows(stored), len(loads)) == (6, 6, 6, 1)
    assert load(stored) is load(stored)
    forget()
    Path(stored.path).unlink()
    with pytest.raises(FileNotFoundError):
        load(stored)


def test_a_piece_is_opened_whatever_it_is(tmp_path: Path) -> None:
    part = TableRef(0, "items", write_parts(str(tmp_path), "items", [TABLE]), 0)
    assert load(TABLE) is TABLE
    assert load(part).equals(TABLE)
    assert row_count(TABLE) == 3
