import csv
import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from heterrec_schemas import load_spec
from heterrec_schemas.testing import Settings, shop, write_shop
from heterrec_schemas.testing.files import write_table

TABLE = pa.table(
    {"id": ["é,1", 'q"2', None], "n": pa.array([1, None, 3]), "x": pa.array([0.5, None, 1e-7])}
)
NESTED = pa.table(
    {
        "paths": pa.array([[["a", "b"]], [], None], pa.list_(pa.list_(pa.string()))),
        "v": pa.array([[0.1, 2], None, [1, 1]], pa.list_(pa.float32())),
    }
)


def test_parquet_keeps_types(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    write_table(NESTED, path)
    assert pq.read_table(path).equals(NESTED)


def opened(path: Path) -> str:
    data = path.read_bytes()
    if path.suffix == ".gz":
        data = gzip.decompress(data)
    if path.suffix == ".zst":
        data = zstandard.ZstdDecompressor().decompressobj().decompress(data)
    return data.decode("utf-8")


@pytest.mark.parametrize("suffix", ["csv", "csv.gz", "csv.zst"])
def test_csv_holds_text_and_nothing_for_missing(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"t.{suffix}"
    write_table(TABLE, path)
    assert list(csv.reader(opened(path).splitlines())) == [
        ["id", "n", "x"],
        ["é,1", "1", "0.5"],
        ['q"2', "", ""],
        ["", "3", "1e-07"],
    ]


@pytest.mark.parametrize("suffix", ["jsonl", "jsonl.gz", "jsonl.zst"])
@pytest.mark.parametrize("table", [TABLE, NESTED], ids=["flat", "nested"])
def test_jsonl_holds_a_row_a_line(tmp_path: Path, suffix: str, table: pa.Table) -> None:
    path = tmp_path / f"t.{suffix}"
    write_table(table, path)
    rows = [json.loads(line) for line in opened(path).splitlines()]
    assert rows == table.to_pylist()
    assert pa.Table.from_pylist(rows, schema=table.schema).equals(table)


@pytest.mark.parametrize("name", ["t.txt", "t.parquet.gz", "t", "t.gz"])
def test_other_formats_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="expected parquet, csv or jsonl"):
        write_table(TABLE, tmp_path / name)


def test_lists_do_not_go_into_csv(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="column 'paths' holds lists"):
        write_table(NESTED, tmp_path / "t.csv")
    with pytest.raises(ValueError, match="holds lists"):
        write_shop(tmp_path, shop(0), Settings(items_format="csv"))


def test_a_shop_is_cut_into_files_that_its_spec_names(tmp_path: Path) -> None:
    goods = shop(0, joined=True)
    settings = Settings(files=3, items_format="csv", interactions_format="jsonl.gz")
    spec = load_spec(write_shop(tmp_path / "new", goods, settings))
    assert spec.interactions.source.patterns == ["interactions-*.jsonl.gz"]
    for name, table in goods.tables().items():
        paths = sorted((tmp_path / "new").glob(f"{name}-*"))
        suffix = settings.format_of(name)
        assert [p.name for p in paths] == [f"{name}-{n:05d}-of-00003.{suffix}" for n in range(3)]
        if suffix == "parquet":
            assert pa.concat_tables([pq.read_table(p) for p in paths]).equals(table)
    lines = [
        json.loads(line)
        for path in sorted((tmp_path / "new").glob("interactions-*"))
        for line in opened(path).splitlines()
    ]
    assert lines == goods.interactions.to_pylist()


def test_shuffling_keeps_the_rows(tmp_path: Path) -> None:
    goods, settings = shop(0), Settings(files=1, interactions_format="parquet")
    write_shop(tmp_path, goods, settings, shuffle=5)
    shuffled = pq.read_table(tmp_path / "interactions-00000-of-00001.parquet").to_pylist()
    rows = goods.interactions.to_pylist()
    assert shuffled != rows
    assert sorted(map(str, shuffled)) == sorted(map(str, rows))


def test_the_same_shop_gives_the_same_bytes(tmp_path: Path) -> None:
    settings = Settings(interactions_format="csv.zst")
    for folder in ("one", "two"):
        write_shop(tmp_path / folder, shop(0), settings)
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()
