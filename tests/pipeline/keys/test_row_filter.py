from pathlib import Path

from pieces import excluded_rows, numeric, table_job, written_file

from heterrec_pipeline.keys.read import KEY
from heterrec_pipeline.keys.row_filter import kept_rows
from heterrec_pipeline.reading.files import Split
from heterrec_pipeline.reading.read import ROW


def test_rows_without_key_and_excluded_ones_do_not_count(tmp_path: Path) -> None:
    file = written_file(tmp_path / "a.csv", b"price,item\n5, 1\n6,3\n7,\n8,2\n9,1\n10\n11,4\n")
    table, split = table_job(numeric()), Split(file)
    excluded = excluded_rows(tmp_path, table, split, [1, 4, 6])
    (rows,) = kept_rows(table, split, ["price"], excluded)
    assert rows.select([KEY, ROW, "price"]).to_pydict() == {
        KEY: ["1", "2"],
        ROW: [0, 3],
        "price": ["5", "8"],
    }
    other = excluded_rows(tmp_path, table_job(name="items.joins[0]"), split, [1, 4, 6])
    (rows,) = kept_rows(table, split, ["price"], other)
    assert rows[ROW].to_pylist() == [0, 1, 3, 4, 6]


def test_a_batch_without_kept_rows_is_left_out(tmp_path: Path) -> None:
    file = written_file(tmp_path / "a.csv", b"price,item\n6,3\n")
    table, split = table_job(numeric()), Split(file)
    excluded = excluded_rows(tmp_path, table, split, [0])
    assert list(kept_rows(table, split, ["price"], excluded)) == []
