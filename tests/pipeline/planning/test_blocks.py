"""Which blocks a plan reads: the same everywhere, within the budget, each row once."""

import gzip
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from heterrec_pipeline.checking.estimate import row_estimate
from heterrec_pipeline.planning.blocks import MIN_BLOCKS, batches, choose_blocks
from heterrec_pipeline.reading.files import InputFile
from heterrec_pipeline.sizing import Estimate as Rows

ROWS = 4000
READ = Rows(ROWS, "read")


def parquet(folder: Path, groups: int) -> InputFile:
    folder.mkdir(exist_ok=True)
    path = folder / "log.parquet"
    table = pa.table({"a": np.arange(ROWS), "b": [f"text {k}" for k in range(ROWS)]})
    pq.write_table(table, path, row_group_size=ROWS // groups)
    return InputFile(str(path), "log.parquet", path.stat().st_size, "parquet")


def csv(folder: Path, name: str, first: int, rows: int, suffix: str = "") -> InputFile:
    path = folder / f"{name}.csv{suffix}"
    text = "a\n" + "".join(f"{first + k}\n" for k in range(rows))
    path.write_bytes(gzip.compress(text.encode()) if suffix else text.encode())
    return InputFile(str(path), path.name, path.stat().st_size, "csv")


def test_a_small_table_is_read_wholly_and_counted(tmp_path: Path) -> None:
    got = choose_blocks([parquet(tmp_path, 10)], ["a"], READ)
    assert got.whole
    assert got.row_count(ROWS).value == ROWS
    assert len(got.blocks) == 10


def test_the_budget_counts_the_wanted_columns_only(tmp_path: Path) -> None:
    file = parquet(tmp_path, 40)
    narrow = choose_blocks([file], ["a"], READ, 12_000)
    wide = choose_blocks([file], ["a", "b"], READ, 12_000)
    assert MIN_BLOCKS <= len(wide.blocks) < len(narrow.blocks) < 40
    assert sum(b.bytes for b in narrow.blocks) <= 12_000
    assert narrow.row_count(0).exact
    assert narrow.row_count(0).value == ROWS


def test_the_same_blocks_are_chosen_wherever_the_files_lie(tmp_path: Path) -> None:
    one, two = (choose_blocks([parquet(tmp_path / n, 40)], ["a"], READ, 1) for n in "xy")
    assert [b.split.row_groups for b in one.blocks] == [b.split.row_groups for b in two.blocks]
    assert len(one.blocks) == MIN_BLOCKS
    assert one.part(800).unread_rows == ROWS - 800


def test_whole_text_files_are_chosen_where_enough_of_them_fit(tmp_path: Path) -> None:
    files = [csv(tmp_path, f"f{k:02d}", 100 * k, 100) for k in range(30)]
    got = choose_blocks(files, ["a"], Rows(3000, "bytes"), sum(f.bytes for f in files) // 2)
    assert got.fair
    assert MIN_BLOCKS <= len(got.blocks) < 30
    assert 0.8 < got.expected / (100 * len(got.blocks)) < 1.2


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_of_large_text_files_the_beginnings_are_read(tmp_path: Path, suffix: str) -> None:
    rows = 2_000_000
    file = csv(tmp_path, "big", 10**6, rows, suffix)
    got = choose_blocks([file], ["a"], row_estimate((file,)), file.bytes // 4)
    assert not got.fair
    assert not got.whole
    read = list(batches(got, ["a"]))
    numbers = np.concatenate([batch.rows for _, _, batch in read])
    assert (numbers == np.arange(len(numbers))).all()
    assert len(numbers) == got.blocks[0].limit
    guess = got.row_count(len(numbers))
    assert guess.low <= rows <= guess.high
    assert guess.value == pytest.approx(rows, rel=0.1)
    part = got.part(len(numbers))
    assert part.read == len({number for number, _, _ in read})
    assert part.share == pytest.approx(len(numbers) / rows, rel=0.15)


def test_without_a_budget_everything_is_read(tmp_path: Path) -> None:
    got = choose_blocks([csv(tmp_path, "some", 0, 500)], ["a"], Rows(400, "bytes"), None)
    assert got.whole
    assert got.row_count(500).value == 500
