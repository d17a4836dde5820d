from pathlib import Path

import pyarrow as pa
from pieces import numeric, table_job, written_file

from heterrec_pipeline.keys.one_table import LOSERS
from heterrec_pipeline.keys.row_filter import ID, KEY, KeyIndex, kept_rows
from heterrec_pipeline.reading.files import Split
from heterrec_pipeline.reading.read import ROW

INDEX = pa.table(
    {"key": ["1", "2", "4"], "id": [7, 8, 9], "shard": pa.array([0, 0, 0], pa.uint32())}
)


def test_rows_without_key_unknown_ones_and_losers_do_not_count(tmp_path: Path) -> None:
    file = written_file(tmp_path / "a.csv", b"price,item\n5, 1\n6,3\n7,\n8,2\n9,1\n10\n11,4\n")
    losers = pa.table([["a.csv", "b.csv", "a.csv"], [4, 0, 6]], schema=LOSERS)
    known = KeyIndex(INDEX, losers)
    (rows,) = kept_rows(table_job(numeric()), Split(file), ["price"], known)
    assert rows.select([KEY, ID, ROW, "price"]).to_pydict() == {
        KEY: ["1", "2"],
        ID: [7, 8],
        ROW: [0, 3],
        "price": ["5", "8"],
    }
    assert known.population == 3


def test_a_batch_without_kept_rows_is_left_out(tmp_path: Path) -> None:
    file = written_file(tmp_path / "a.csv", b"price,item\n6,3\n")
    known = KeyIndex(INDEX, LOSERS.empty_table())
    assert list(kept_rows(table_job(numeric()), Split(file), ["price"], known)) == []
