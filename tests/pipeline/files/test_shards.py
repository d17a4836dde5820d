import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pieces import QUICK, cut

from heterrec_pipeline.files.shards import Written, new_shard, write_shard, write_text
from heterrec_schemas.errors import RunError

ROWS = 100
RNG = np.random.default_rng(0)
SCHEMA = pa.schema(
    [
        pa.field("n", pa.int64(), nullable=False),
        pa.field("word", pa.string(), nullable=False),
        pa.field("ids", pa.list_(pa.int32()), nullable=False),
        pa.field("look", pa.list_(pa.int32(), 2), nullable=False),
        pa.field("looks", pa.list_(pa.list_(pa.int32(), 2)), nullable=False),
    ],
    metadata={b"heterrec": b"{}"},
)
COLUMNS: list[list[Any]] = [
    list(range(ROWS)),
    [f"w{k % 7}" for k in range(ROWS)],
    [list(range(k % 4)) for k in range(ROWS)],
    RNG.integers(0, 9, (ROWS, 2)).tolist(),
    [[[k, k]] * (k % 3) for k in range(ROWS)],
]
TABLE = pa.table([pa.array(c, f.type) for c, f in zip(COLUMNS, SCHEMA, strict=True)], schema=SCHEMA)


def written(folder: Path, pieces: list[pa.Table], row_group: int) -> Written:
    done: list[Written] = []
    with new_shard(str(folder), "items/a.parquet", SCHEMA, row_group=row_group, done=done) as shard:
        for piece in pieces:
            shard.write(piece)
    (file,) = done
    return file


@QUICK
@given(
    st.lists(st.integers(0, ROWS), max_size=8),
    st.integers(0, ROWS),
    st.sampled_from([1, 7, 50, 100, 1000]),
)
def test_the_bytes_do_not_depend_on_the_chunks(
    tmp_path_factory: pytest.TempPathFactory, points: list[int], rows: int, row_group: int
) -> None:
    folder = tmp_path_factory.mktemp("shards")
    table = TABLE.slice(0, rows)
    chunked = pa.concat_tables([table.slice(0, 3), table.slice(3)])
    at_once = written(folder, [table], row_group)
    others = [written(folder, cut(table, points), row_group), written(folder, [chunked], row_group)]
    assert {f.sha256 for f in others} == {at_once.sha256}
    assert {Path(f.temporary).read_bytes() for f in others} == {
        Path(at_once.temporary).read_bytes()
    }
    file = pq.ParquetFile(at_once.temporary)
    sizes = [file.metadata.row_group(k).num_rows for k in range(file.num_row_groups)]
    assert sizes == [row_group] * (rows // row_group) + (
        [rows % row_group] if rows % row_group else []
    )
    assert file.read().equals(table)
    assert file.schema_arrow.metadata == SCHEMA.metadata


def test_pages_begin_where_they_would_without_chunks(tmp_path: Path) -> None:
    """Parquet checks only after some rows of a chunk whether a page of lists is full."""
    rows = 30_000
    values = pa.array(RNG.integers(0, 2**60, rows * 20))
    table = pa.table(
        {"n": pa.ListArray.from_arrays(pa.array(range(0, rows * 20 + 1, 20), pa.int32()), values)}
    )
    files = []
    for pieces in ([table], cut(table, [7001, 13_003, 27_007])):
        done: list[Written] = []
        with new_shard(
            str(tmp_path), "a.parquet", table.schema, row_group=25_000, plain=("n",), done=done
        ) as shard:
            for piece in pieces:
                shard.write(piece)
        files += done
    assert files[0].sha256 == files[1].sha256


def test_what_was_written_is_what_stands_there(tmp_path: Path) -> None:
    file = write_shard(str(tmp_path), "items/a.parquet", TABLE, row_group=30)
    data = Path(file.temporary).read_bytes()
    assert (file.path, file.rows, file.bytes) == ("items/a.parquet", ROWS, len(data))
    assert file.sha256 == hashlib.sha256(data).hexdigest()
    text = write_text(str(tmp_path), "spec.yaml", "näme: x\n")
    assert Path(text.temporary).read_text(encoding="utf-8") == "näme: x\n"
    assert (text.path, text.rows, text.bytes) == ("spec.yaml", -1, 9)


def test_every_try_writes_a_file_of_its_own(tmp_path: Path) -> None:
    """A retried bundle must not write to a file that the first attempt may still be writing."""
    tries = [write_shard(str(tmp_path), "items/a.parquet", TABLE) for _ in range(3)]
    assert len({f.temporary for f in tries}) == 3
    assert len({(f.sha256, f.path, f.rows) for f in tries}) == 1
    assert not (tmp_path / "items/a.parquet").exists(), "nothing is settled yet"
    assert all(Path(f.temporary).name.startswith(".a.parquet.") for f in tries)
    assert all(Path(f.temporary).parent == tmp_path / "items" for f in tries)


def test_a_shard_that_fails_is_not_reported(tmp_path: Path) -> None:
    done: list[Written] = []

    def fail() -> None:
        with new_shard(str(tmp_path), "a.parquet", SCHEMA, done=done) as shard:
            shard.write(TABLE)
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        fail()
    assert done == []


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "items").write_text("a file")
    with pytest.raises(RunError, match=r"items/\.a\.parquet\..* cannot be written"):
        write_shard(str(tmp_path), "items/a.parquet", TABLE)


def test_columns_that_hardly_repeat_get_no_dictionary(tmp_path: Path) -> None:
    file = write_shard(str(tmp_path), "a.parquet", TABLE, plain=("n", "look"))
    group = pq.read_metadata(file.temporary).row_group(0)
    for k in range(group.num_columns):
        column = group.column(k)
        plain = column.path_in_schema.split(".")[0] in ("n", "look")
        assert column.has_dictionary_page != plain
        assert column.compression == "ZSTD"
        assert column.statistics is not None
