import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pieces import embedding, written_file

from heterrec_pipeline.features.embedding import vectors
from heterrec_pipeline.reading.files import InputFile, Split
from heterrec_pipeline.reading.formats import parquet
from heterrec_pipeline.reading.read import read_split
from heterrec_schemas.feature_spec import Source, dimension_columns
from heterrec_schemas.rejects import Reason

LOOK = embedding(dim=2, groups=1)
Found = tuple[dict[int, list[float]], dict[int, Reason]]


def found(file: InputFile, column: str = "look") -> Found:
    """The vectors of a file by row, and the reasons of the bad cells."""
    (batch,) = read_split(Split(replace(file, vectors=(column,))), [column, "k"])
    assert batch.table.schema.names == [column, "k"]
    positions, values, bad = vectors(LOOK, batch.table[column])
    return (
        dict(zip(positions.tolist(), values.tolist(), strict=True)),
        {cell.position: cell.reason for cell in bad},
    )


def parquet_file(path: Path, column: pa.Array) -> InputFile:
    pq.write_table(pa.table({"look": column, "k": range(len(column))}), path)
    return InputFile(str(path), path.name, path.stat().st_size, "parquet")


TEXTS = [
    "[0.5, 1]",
    None,
    "",
    " [2,3] ",
    "[]",
    "[1]",
    "[1, null]",
    "x",
    '["1", "2"]',
    "7",
    "[NaN, 1]",
]
GOOD = {0: [0.5, 1.0], 3: [2.0, 3.0]}
BAD = {
    5: Reason.WRONG_WIDTH,
    6: Reason.NON_FINITE,
    7: Reason.WRONG_TYPE,
    8: Reason.WRONG_TYPE,
    9: Reason.WRONG_TYPE,
    10: Reason.NON_FINITE,
}


def test_json_as_text_in_every_format(tmp_path: Path) -> None:
    for kind in (pa.string(), pa.large_string(), pa.dictionary(pa.int8(), pa.string())):
        assert found(parquet_file(tmp_path / "a.parquet", pa.array(TEXTS, kind))) == (GOOD, BAD)
    cells = [(t or "").replace('"', '""') for t in TEXTS]
    rows = "".join(f'"{cell}",{k}\n' for k, cell in enumerate(cells))
    assert found(written_file(tmp_path / "a.csv", f"look,k\n{rows}".encode())) == (GOOD, BAD)
    lines = "".join(json.dumps({"look": t, "k": 1}) + "\n" for t in TEXTS)
    assert found(written_file(tmp_path / "a.jsonl", lines.encode())) == (GOOD, BAD)
    mixed = lines + '{"look": [4, 5], "k": 1}\n'
    more = GOOD | {11: [4.0, 5.0]}
    assert found(written_file(tmp_path / "a.jsonl", mixed.encode())) == (more, BAD)


def test_a_batch_without_bad_cells_has_the_same_vectors(tmp_path: Path) -> None:
    good = parquet_file(tmp_path / "a.parquet", pa.array(["[0.1, 3e38]", "[1e400, 1]"]))
    bad = parquet_file(tmp_path / "b.parquet", pa.array(["[0.1, 3e38]", "[1e400, 1]", "x"]))
    assert found(good)[0] == found(bad)[0] == {0: [float(np.float32(0.1)), float(np.float32(3e38))]}


def test_one_column_per_dimension() -> None:
    assert dimension_columns("emb_{0..2}") == ["emb_0", "emb_1", "emb_2"]
    assert dimension_columns("v{08..10}.x") == ["v08.x", "v09.x", "v10.x"]
    assert dimension_columns("emb_{0,2}") is None


@pytest.mark.parametrize("kind", [pa.float32(), pa.float64(), pa.float16(), pa.int8()])
def test_dimensions_of_parquet(tmp_path: Path, kind: pa.DataType) -> None:
    columns: dict[str, Any] = {
        "e1": pa.array([np.float16(1), None, np.float16(2), None], pa.float16()).cast(kind),
        "e0": pa.array([3, None, 4, 5], pa.int64()),
    }
    pq.write_table(pa.table(columns | {"k": range(4)}), tmp_path / "a.parquet")
    file = InputFile(str(tmp_path / "a.parquet"), "a.parquet", 1, "parquet")
    good = {0: [3.0, 1.0], 2: [4.0, 2.0]}
    assert found(file, "e{0..1}") == (good, {3: Reason.NON_FINITE})


def test_dimensions_of_texts(tmp_path: Path) -> None:
    data = b"k,e0,e1\n0,1.5,2\n1,,\n2,1,x\n3, 1e2 ,-0\n4,1,\n"
    file = written_file(tmp_path / "a.csv", data)
    good, bad = {0: [1.5, 2.0], 3: [100.0, 0.0]}, {2: Reason.WRONG_TYPE, 4: Reason.NON_FINITE}
    assert found(file, "e{0..1}") == (good, bad)
    comma = written_file(tmp_path / "b.csv", b"k;e0;e1\n0;1,5;2\n")
    source = Source(path="*", delimiter=";", decimal=",")
    comma = replace(comma, source=source, numbers=("e0", "e1"))
    assert found(comma, "e{0..1}") == ({0: [1.5, 2.0]}, {})


def test_tensors_and_half_floats(tmp_path: Path) -> None:
    tensors = pa.FixedShapeTensorArray.from_numpy_ndarray(np.array([[1, 2], [3, 4]], np.float32))
    file = parquet_file(tmp_path / "a.parquet", tensors)
    assert parquet.schema_and_rows(Split(file))[0].field("look").type == pa.list_(pa.float32(), 2)
    assert found(file) == ({0: [1.0, 2.0], 1: [3.0, 4.0]}, {})
    missing = pa.ExtensionArray.from_storage(
        tensors.type, pa.array([[1.0, 2.0], None], pa.list_(pa.float32(), 2))
    )
    assert found(parquet_file(tmp_path / "b.parquet", missing)) == ({0: [1.0, 2.0]}, {})
    half = [[np.float16(0.1), np.float16(2)], None, [], [np.float16(1), None]]
    for kind in (pa.list_(pa.float16()), pa.large_list(pa.float16())):
        file = parquet_file(tmp_path / "c.parquet", pa.array(half, kind))
        assert found(file) == ({0: [float(np.float16(0.1)), 2.0]}, {3: Reason.NON_FINITE})
    fixed = pa.array([half[0], None], pa.list_(pa.float16(), 2))
    file = parquet_file(tmp_path / "d.parquet", fixed)
    assert found(file) == ({0: [float(np.float16(0.1)), 2.0]}, {})
