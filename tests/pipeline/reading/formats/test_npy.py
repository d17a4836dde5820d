from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from heterrec_pipeline.reading.files import InputFile, Split, input_files
from heterrec_pipeline.reading.formats import npy
from heterrec_pipeline.reading.read import column_types, read_split
from heterrec_schemas.errors import DataError, SchemaMismatchError, SpecError
from heterrec_schemas.feature_spec import Source

VECTORS = np.arange(12, dtype=np.float32).reshape(6, 2)


def file_of(folder: Path, array: Any = VECTORS, keys: str | None = "ids.csv") -> InputFile:
    np.save(folder / "v.npy", array)
    (file,) = input_files(Source(path="v.npy", keys=keys), str(folder), "items.joins[0]")
    return file


def rows_of(file: InputFile, *columns: str) -> list[tuple[Any, ...]]:
    """Row number and cells, in the order of the rows."""
    found: list[tuple[Any, ...]] = []
    for batch in read_split(Split(file), columns):
        cells = [batch.table[c].to_pylist() for c in columns]
        found += zip(batch.rows.tolist(), *cells, strict=True)
    return sorted(found)


@pytest.mark.parametrize("batch", [1, 16, 2**20])
def test_row_k_has_the_key_of_row_k(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    (tmp_path / "ids.csv").write_text("id,name\na,x\nb\nc,x,too long\nd,y\ne\nf,z\n")
    file = file_of(tmp_path)
    monkeypatch.setattr(npy, "BATCH_BYTES", batch)
    expected = [(k, "abcdef"[k], VECTORS[k].tolist()) for k in (0, 1, 3, 4, 5)]
    assert rows_of(file, "id", "vector") == expected
    found = list(read_split(Split(file), ["vector", "id"]))
    assert [b.row for batch in found for b in batch.bad] == [2]
    assert sorted(b.row for batch in found for b in batch.short) == [1, 4]
    assert rows_of(file, "id") == [(k, "abcdef"[k]) for k in (0, 1, 3, 4, 5)]
    assert column_types(file) == {
        "id": pa.string(),
        "name": pa.string(),
        "vector": pa.list_(pa.float32(), 2),
    }
    assert npy.row_count(file) == 6


@pytest.mark.parametrize("kind", ["<f2", ">f4", "<f8", "<i4"])
def test_numbers_and_keys_of_numpy(tmp_path: Path, kind: str) -> None:
    np.save(tmp_path / "ids.npy", np.array(["a", "bc", "d"]))
    file = file_of(tmp_path, VECTORS[:3].astype(kind), "ids.npy")
    assert rows_of(file, "key", "vector") == [(0, "a", [0, 1]), (1, "bc", [2, 3]), (2, "d", [4, 5])]
    np.save(tmp_path / "ids.npy", np.array([7, 8, 9]))
    assert rows_of(file_of(tmp_path, VECTORS[:3], "ids.npy"), "key") == [(0, 7), (1, 8), (2, 9)]
    assert column_types(file_of(tmp_path, keys="ids.npy"))["key"] == pa.int64()  # type: ignore[index]


@pytest.mark.parametrize(("count", "words"), [(5, "6 and 5"), (7, "6 and at least 7")])
def test_the_files_have_the_same_rows(tmp_path: Path, count: int, words: str) -> None:
    pq.write_table(pa.table({"id": range(count)}), tmp_path / "ids.parquet")
    with pytest.raises(DataError, match=f"v.npy and ids.parquet have different.*{words}"):
        rows_of(file_of(tmp_path, keys="ids.parquet"), "id", "vector")


def test_another_file_of_keys_is_another_reading(tmp_path: Path) -> None:
    (tmp_path / "ids.csv").write_text("id\n" + "a\n" * 6)
    file = file_of(tmp_path)
    (tmp_path / "ids.csv").write_text("id\n" + "ab\n" * 6)
    assert file.settings != file_of(tmp_path).settings
    assert [f.name for f in file.every] == ["v.npy", "ids.csv"]


def test_what_is_wrong_is_named(tmp_path: Path) -> None:
    (tmp_path / "ids.csv").write_text("id\n" + "a\n" * 6)
    (tmp_path / "ids.jsonl").write_text("{}\n")
    for keys, error, words in [
        (None, SpecError, "each .npy file has keys"),
        ("none.csv", DataError, "no file of keys"),
        ("ids.jsonl", SpecError, "cannot be a file of keys"),
    ]:
        with pytest.raises(error, match=words):
            file_of(tmp_path, keys=keys)
    with pytest.raises(SpecError, match=r"keys belong to one \.npy file"):
        input_files(Source(path="ids.csv", keys="ids.csv"), str(tmp_path), "items")
    for array in (VECTORS.T, VECTORS.reshape(1, 6, 2), VECTORS.astype(complex), np.array([{}])):
        with pytest.raises(DataError, match=r"v\.npy"):
            rows_of(file_of(tmp_path, array), "id", "vector")
    file = file_of(tmp_path)
    with pytest.raises(SchemaMismatchError, match="no column 'x'"):
        rows_of(file, "x", "vector")
    for data in ((tmp_path / "v.npy").read_bytes()[:-3], b"no array"):
        (tmp_path / "v.npy").write_bytes(data)
        (file,) = input_files(Source(path="v.npy", keys="ids.csv"), str(tmp_path), "items")
        with pytest.raises(DataError, match=r"v\.npy cannot be read"):
            rows_of(file, "id", "vector")
