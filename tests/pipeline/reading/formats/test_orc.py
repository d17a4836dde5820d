from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.orc as paorc
import pytest

from heterrec_pipeline.reading.files import InputFile
from heterrec_pipeline.reading.formats import orc
from heterrec_schemas.errors import DataError, SchemaMismatchError

NOT_UTF8 = pc.CastOptions(target_type=pa.string(), allow_invalid_utf8=True)


def orc_file(path: Path, table: pa.Table, **more: int) -> InputFile:
    paorc.write_table(table, str(path), **more)
    return InputFile(str(path), path.name, path.stat().st_size, "orc")


def test_columns_of_stripes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = pa.table(
        {
            "a": pa.array([{"b": k, "c": "x"} for k in range(10_000)]),
            "a.b": [f"text {k}" for k in range(10_000)],
            "v": pa.array([[float(k), None] for k in range(10_000)], pa.list_(pa.float32())),
            "t": pa.array(range(10_000), pa.timestamp("us", "UTC")),
        }
    )
    file = orc_file(tmp_path / "a.orc", table, stripe_size=20_000)
    assert orc.row_count(file) == 10_000
    assert orc.schema(file).names == table.column_names
    monkeypatch.setattr(orc, "BATCH_BYTES", 50_000)
    for columns in (["t", "v"], ["a.b"], ["a"]):
        batches = list(orc.read(file, columns))
        assert len(batches) > 2
        assert [n for b in batches for n in b.rows.tolist()] == list(range(10_000))
        for column in columns:
            found = pa.chunked_array([b.table[column] for b in batches])
            assert found.to_pylist() == table[column].to_pylist()


def test_bad_text_and_damaged_files(tmp_path: Path) -> None:
    texts = pc.cast(pa.array([b"a\xff", b"b"]), options=NOT_UTF8)
    file = orc_file(tmp_path / "a.orc", pa.table({"s": texts}))
    (batch,) = orc.read(file, ["s"])
    assert batch.table["s"].to_pylist() == [None, "b"]
    assert batch.bad_text == {"s": {0: "a\\xff"}}
    with pytest.raises(SchemaMismatchError, match="no column 'x'"):
        list(orc.read(file, ["x"]))
    path = tmp_path / "b.orc"
    path.write_bytes(Path(file.path).read_bytes()[:-10])
    with pytest.raises(DataError, match=r"b\.orc"):
        orc.schema(InputFile(str(path), path.name, 1, "orc"))
