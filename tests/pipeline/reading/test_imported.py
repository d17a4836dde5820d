"""Vocabularies of other systems: files as TensorFlow Transform and NVTabular write them, and what is refused.

The files in vocabularies/ are from tensorflow-transform 1.21.0 (`compute_and_apply_vocabulary`, and `vocabulary` with
`store_frequency` and with `file_format="tfrecord_gzip"`) and from NVTabular 23.08.00 (`Categorify` of `brand` and `size`,
with `num_buckets=4`, and of both with `encode_type="combo"`).
"""

import gzip
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pieces import categorical

from heterrec_pipeline.reading import imported
from heterrec_pipeline.reading.imported import find_vocabulary, imported_rows
from heterrec_schemas.errors import DataError

REAL = Path(__file__).parent / "vocabularies"
TFT, NVTABULAR = "tensorflow_transform", "nvtabular"


def ids(folder: Path, path: str, format: str = TFT, **more: Any) -> dict[str, int]:
    """The id of each value."""
    feature = categorical("brand", vocabulary={"path": path, "format": format}, **more)
    found = find_vocabulary(feature, str(folder))
    assert found is not None
    rows = imported_rows(found)
    assert found.size == rows["id"].max() + 1
    return dict(rows.select("value", "id").iter_rows())


def refusal(folder: Path, path: str, format: str = TFT, **more: Any) -> str:
    with pytest.raises(DataError) as caught:
        ids(folder, path, format, **more)
    return caught.value.message


def test_no_vocabulary() -> None:
    assert find_vocabulary(categorical("brand"), "/nowhere") is None


def test_line_n_of_tensorflow_transform_is_the_nth_id_after_the_reserved_ones() -> None:
    assert ids(REAL, "brand") == {"Nike": 2, "Puma": 3, "Caf\u00e9": 4, "Asics": 5}
    assert ids(REAL, "brand", oov_buckets=3)["Asics"] == 8


def test_row_n_of_nvtabular_is_the_nth_id_after_the_reserved_ones() -> None:
    """With as many buckets, its ids are HeterRec's."""
    found = ids(REAL, "unique.brand.parquet", NVTABULAR, oov_buckets=4)
    assert found == {"Nike": 6, "Puma": 7, "Asics": 8}
    # pandas reads integers with nulls as floats
    sizes = ids(REAL, "unique.size.parquet", NVTABULAR, oov_buckets=4)
    assert sizes == {"3": 6, "5": 7, "9": 8, "11": 9}


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
def test_compressed_lines_with_and_without_a_last_end(tmp_path: Path, suffix: str) -> None:
    text = "b\r\n a\nO\u0308l".encode()
    with pa.output_stream(str(tmp_path / f"v{suffix}"), compression="detect") as out:
        out.write(text)
    assert ids(tmp_path, f"v{suffix}") == {"b": 2, "a": 3, "\u00d6l": 4}


@pytest.mark.parametrize("first", [[], [None]])
def test_older_releases_of_nvtabular_begin_with_null(tmp_path: Path, first: list[Any]) -> None:
    pq.write_table(pa.table({"brand": [*first, "b", "a"]}), tmp_path / "v.parquet")
    assert ids(tmp_path, "v.parquet", NVTABULAR) == {"b": 2, "a": 3}


@pytest.mark.parametrize(
    ("values", "integral"),
    [
        (["1", "-20", "0"], True),
        (["1", "01"], False),
        (["1", "-0"], False),
        (["1", "1.0"], False),
        (["1", "x"], False),
        ([str(2**63 - 1)], True),
        ([str(2**63)], False),
    ],
)
def test_values_are_integers_if_each_is_written_as_one(
    tmp_path: Path, values: list[str], integral: bool
) -> None:
    (tmp_path / "v").write_text("\n".join(values))
    found = find_vocabulary(categorical(vocabulary={"path": "v", "format": TFT}), str(tmp_path))
    assert found is not None
    assert found.integral == integral


def test_numbers_before_equal_words_are_no_frequencies(tmp_path: Path) -> None:
    (tmp_path / "v").write_text("5 stars\n4 stars\n3 stars\n")
    assert ids(tmp_path, "v") == {"5 stars": 2, "4 stars": 3, "3 stars": 4}


def test_frequencies_are_refused() -> None:
    message = refusal(REAL, "brand_frequencies")
    assert message == (
        "feature 'brand': the vocabulary brand_frequencies has frequencies: got a number before each value, expected the "
        "value alone in each line. Write it again with store_frequency=False, or cut them off: cut -d' ' -f2- OLD > NEW."
    )


def test_records_are_refused() -> None:
    message = refusal(REAL, "brand.tfrecord.gz")
    assert "the vocabulary brand.tfrecord.gz is no text file: got a NUL byte" in message
    assert "file_format='text'" in message


def test_combinations_of_columns_are_refused() -> None:
    message = refusal(REAL, "unique.brand_size.parquet", NVTABULAR)
    assert "got brand (string), size (double), brand_size_size (int64)" in message
    assert "expected one column of values" in message
    assert "encode_type='combo'" in message


@pytest.mark.parametrize(
    ("text", "more", "message"),
    [
        ("", {}, "has no value: expected at least one value"),
        ("a\n\nb\n \n", {}, "has missing values: got nothing in lines 2, 4"),
        ("a\nb\nnone\n", {"missing_values": ["none"]}, "values of missing_values, which have no id: got line 3. "),
        ("a\nb\nc\n a\na \n", {}, "repeated values: got the value of line 1 also in lines 4, 5, expected distinct"),
        ("\u00d6l\nO\u0308l\n", {}, "repeated values: got the value of line 1 also in line 2"),
        ("a\n" * 6, {}, "the value of line 1 also in lines 2, 3, 4 and 2 more"),
        ("a\n" + "b" * 70_000, {}, "too long: got 70,000 bytes in line 2, expected at most 65,536 bytes"),
    ],
)  # fmt: skip
def test_values_without_an_id_of_their_own_are_refused(
    tmp_path: Path, text: str, more: dict[str, Any], message: str
) -> None:
    (tmp_path / "v").write_text(text, encoding="utf-8")
    found = refusal(tmp_path, "v", **more)
    assert found.startswith("feature 'brand': the vocabulary v has ")
    assert message in found
    if text:
        assert "so that the ids after it stay as they are" in found


def test_rows_of_parquet_are_named_by_their_numbers(tmp_path: Path) -> None:
    pq.write_table(pa.table({"brand": [None, "a", None, "b"]}), tmp_path / "v.parquet")
    assert "got nothing in row 2, expected" in refusal(tmp_path, "v.parquet", NVTABULAR)


def test_too_many_values_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "v").write_text("a\nb\nc\n")
    monkeypatch.setattr(imported, "END_OF_IDS", 8)
    assert ids(tmp_path, "v", oov_buckets=3)["c"] == 7
    message = refusal(tmp_path, "v", oov_buckets=4)
    assert "got 3 values after 6 reserved ids, expected ids below 8" in message


def test_texts_of_other_encodings_are_refused(tmp_path: Path) -> None:
    (tmp_path / "v").write_bytes("a\n\u00d6l\n".encode("latin-1"))
    message = refusal(tmp_path, "v")
    assert "v cannot be read: it is not UTF-8 text: got 5 bytes (byte 0xd6 in line 2)" in message


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "v.gz").write_bytes(gzip.compress(b"a\nb\n")[:-6])
    assert "v.gz cannot be read: it is truncated" in refusal(tmp_path, "v.gz")
    (tmp_path / "v.parquet").write_bytes((REAL / "unique.brand.parquet").read_bytes()[:-9])
    assert "v.parquet cannot be read" in refusal(tmp_path, "v.parquet", NVTABULAR)
    assert "brand cannot be read" in refusal(REAL, "brand", NVTABULAR)
    table = pq.read_table(REAL / "unique.brand.parquet")
    pq.write_table(table.replace_schema_metadata({"pandas": "{"}), tmp_path / "v.parquet")
    message = refusal(tmp_path, "v.parquet", NVTABULAR)
    assert "v.parquet cannot be read: its metadata of pandas are damaged" in message


def test_a_file_that_is_absent(tmp_path: Path) -> None:
    (tmp_path / "brands").touch()
    message = refusal(tmp_path, "brand")
    assert message.startswith(f"feature 'brand': there is no vocabulary file {tmp_path}/brand: got")
    assert "brands" in message
    assert message.endswith("Check vocabulary.path in the spec and --input.")


def write_parts(folder: Path, *numbers: int) -> None:
    """Write the sizes as parts of two rows; the last part has one."""
    whole = pd.read_parquet(REAL / "unique.size.parquet")
    folder.mkdir()
    for k, number in enumerate(numbers):
        whole.iloc[2 * k : 2 * k + 2].to_parquet(folder / f"part.{number}.parquet")


def test_a_folder_of_parts_is_read_by_their_numbers(tmp_path: Path) -> None:
    """Of many values, NVTabular writes a folder."""
    write_parts(tmp_path / "unique.size.parquet", 2, 10)
    (tmp_path / "unique.size.parquet" / "_metadata").touch()
    found = ids(tmp_path, "unique.size.parquet", NVTABULAR)
    assert found == ids(REAL, "unique.size.parquet", NVTABULAR)


def test_parts_in_another_order_than_their_ids_are_refused(tmp_path: Path) -> None:
    write_parts(tmp_path / "v", 10, 2)
    assert "order of its ids: v/part.10.parquet begins with 6, expected 10" in refusal(
        tmp_path, "v", NVTABULAR
    )


def test_parts_of_other_types(tmp_path: Path) -> None:
    """pandas reads a part with a null as floats."""
    folder = tmp_path / "v"
    folder.mkdir()
    pq.write_table(pa.table({"size": [None, 5.0]}), folder / "part.0.parquet")
    pq.write_table(pa.table({"size": [3]}), folder / "part.1.parquet")
    assert ids(tmp_path, "v", NVTABULAR) == {"5": 2, "3": 3}
    pq.write_table(pa.table({"size": ["x"]}), folder / "part.1.parquet")
    message = refusal(tmp_path, "v", NVTABULAR)
    assert "has parts of different types: got double, string, expected one type" in message


def test_coded_texts_and_texts_that_are_not_utf8(tmp_path: Path) -> None:
    coded = pa.array(["b", "a"]).dictionary_encode()
    pq.write_table(pa.table({"brand": coded}), tmp_path / "v.parquet")
    assert ids(tmp_path, "v.parquet", NVTABULAR) == {"b": 2, "a": 3}
    raw = pa.array([b"\xff"]).view(pa.string())
    pq.write_table(pa.table({"brand": raw}), tmp_path / "v.parquet")
    assert "v.parquet cannot be read" in refusal(tmp_path, "v.parquet", NVTABULAR)


def test_a_table_is_no_vocabulary(tmp_path: Path) -> None:
    pq.write_table(pa.table({f"c{k}": [1] for k in range(50)}), tmp_path / "v.parquet")
    assert "c7 (int64), and 42 more, expected" in refusal(tmp_path, "v.parquet", NVTABULAR)
    pq.write_table(pa.table({"brand": [["a"]]}), tmp_path / "v.parquet")
    assert "got brand (list<" in refusal(tmp_path, "v.parquet", NVTABULAR)


def test_an_index_that_is_a_column_is_checked(tmp_path: Path) -> None:
    frame = pd.read_parquet(REAL / "unique.size.parquet")
    frame.iloc[[0, 1, 3, 2]].to_parquet(tmp_path / "v.parquet")
    assert "__index_level_0__ does not go up by one" in refusal(tmp_path, "v.parquet", NVTABULAR)
    frame.index = pd.Index([6, 7, 8, 9])
    frame.to_parquet(tmp_path / "v.parquet")
    assert "__index_level_0__" in pq.read_schema(tmp_path / "v.parquet").names
    assert list(ids(tmp_path, "v.parquet", NVTABULAR)) == ["3", "5", "9", "11"]


def test_the_path_may_be_absolute(tmp_path: Path) -> None:
    shutil.copyfile(REAL / "brand", tmp_path / "v")
    assert ids(Path("/nowhere"), str(tmp_path / "v")) == ids(REAL, "brand")
