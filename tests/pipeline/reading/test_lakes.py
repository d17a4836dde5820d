from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import write_deltalake
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.table import Table
from pyiceberg.transforms import IdentityTransform
from pyiceberg.types import LongType

from heterrec_pipeline.reading import lakes
from heterrec_pipeline.reading.files import InputFile, input_files
from heterrec_pipeline.reading.shaping.partitions import partition_values
from heterrec_schemas.errors import CallError, DataError
from heterrec_schemas.feature_spec import Source

ROWS = pa.table({"item": ["a", "b", "c"], "price": [1.0, 2.0, 3.0], "dt": ["x y", "z", None]})


def files_of(folder: Path, **source: Any) -> tuple[InputFile, ...]:
    return input_files(Source(**source), str(folder), "items")


def items_in(files: tuple[InputFile, ...]) -> list[str]:
    assert all((f.format, bool(f.version)) == ("parquet", True) for f in files)
    return sorted(i for f in files for i in pq.ParquetFile(f.path).read()["item"].to_pylist())


def test_a_version_of_a_delta_table(tmp_path: Path) -> None:
    folder = tmp_path / "shop" / "items"
    write_deltalake(folder, ROWS, partition_by=["dt"])
    more = pa.table({"item": ["d"], "price": [4.0], "dt": ["z"], "extra": [7]})
    write_deltalake(folder, more, mode="append", schema_mode="merge")
    write_deltalake(folder, more, mode="overwrite")
    assert items_in(files_of(tmp_path, path="shop/items", format="delta")) == ["d"]
    first = files_of(tmp_path, path="shop/items", format="delta", version=0)
    assert items_in(first) == ["a", "b", "c"]
    folders = sorted(str(partition_values(f.name)["dt"]) for f in first)
    assert folders == ["None", "x y", "z"]
    assert first[0].settings == {}
    uri = files_of(tmp_path, path=f"file://{folder}/", format="delta", version=1)
    assert items_in(uri) == ["a", "b", "c", "d"]
    Path(first[0].path).unlink()
    with pytest.raises(DataError, match="1 of its 3 data files are gone"):
        files_of(tmp_path, path="shop/items", format="delta", version=0)
    with pytest.raises(
        DataError, match=r"items: shop/items cannot be read as Delta table: got .*9"
    ):
        files_of(tmp_path, path="shop/items", format="delta", version=9)
    with pytest.raises(DataError, match="items: none cannot be read as Delta"):
        files_of(tmp_path, path="none", format="delta")


@pytest.mark.parametrize(
    ("settings", "partitions", "deleted", "words"),
    [
        ({}, [], [b"x"], "deletion vectors.*PURGE"),
        ({"delta.columnMapping.mode": "name"}, [], [], "column mapping"),
        ({}, ["dt"], [], "partition column 'dt', which is not in the path"),
    ],
)
def test_what_delta_files_do_not_show_is_refused(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    settings: dict[str, str],
    partitions: list[str],
    deleted: list[bytes],
    words: str,
) -> None:
    about = SimpleNamespace(configuration=settings, partition_columns=partitions)
    table = SimpleNamespace(
        metadata=lambda: about,
        get_add_actions=lambda: pa.table({"path": ["a=1/part.parquet"]}),
        deletion_vectors=lambda: [deleted] if deleted else [],
    )
    library = SimpleNamespace(DeltaTable=lambda *_, **__: table)
    monkeypatch.setattr(lakes, "import_module", lambda _: library)
    with pytest.raises(DataError, match=words):
        files_of(tmp_path, path="t", format="delta")


@pytest.fixture
def table(tmp_path: Path) -> Table:
    uri, place = f"sqlite:///{tmp_path}/catalog.db", f"file://{tmp_path}/lake"
    catalog = SqlCatalog("test", uri=uri, warehouse=place)
    catalog.create_namespace("shop")
    made = catalog.create_table("shop.items", schema=ROWS.schema)
    with made.update_spec() as spec:
        spec.add_field("dt", IdentityTransform(), "dt")
    made.append(ROWS)
    catalog.engine.dispose()
    return made


def test_a_snapshot_of_an_iceberg_table(tmp_path: Path, table: Table) -> None:
    first = table.current_snapshot()
    assert first is not None
    with table.update_schema() as schema:
        schema.add_column("extra", LongType())
    table.append(pa.table({"item": ["d"], "price": [4.0], "dt": ["z"], "extra": [7]}))
    table.delete("item = 'b'")
    source = {"path": "lake/shop/items", "format": "iceberg"}
    assert items_in(files_of(tmp_path, **source)) == ["a", "c", "d"]
    old = files_of(tmp_path, **source, version=first.snapshot_id)
    assert items_in(old) == ["a", "b", "c"]
    named = files_of(tmp_path, path=table.metadata_location, format="iceberg")
    assert items_in(named) == ["a", "c", "d"]
    with pytest.raises(DataError, match=r"has no snapshot 7: got .*version to one of them"):
        files_of(tmp_path, **source, version=7)
    with pytest.raises(DataError, match=r"items: lake/shop is no Iceberg table"):
        files_of(tmp_path, path="lake/shop", format="iceberg")


def test_renamed_columns_are_refused_while_files_have_the_old_name(
    tmp_path: Path, table: Table
) -> None:
    with table.update_schema() as schema:
        schema.rename_column("price", "cost")
    source = {"path": "lake/shop/items", "format": "iceberg"}
    with pytest.raises(DataError, match=r"renamed columns: 'price' in .*rewrite_data_files"):
        files_of(tmp_path, **source)
    table.overwrite(ROWS.rename_columns(["item", "cost", "dt"]))
    assert items_in(files_of(tmp_path, **source)) == ["a", "b", "c"]


def test_rows_deleted_beside_their_files_are_refused(
    tmp_path: Path, table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = list(table.scan().plan_files())
    deleted = SimpleNamespace(file=tasks[0].file, delete_files={"delete.parquet"})
    monkeypatch.setattr(type(table.scan()), "plan_files", lambda _: [*tasks, deleted])
    with pytest.raises(DataError, match=r"delete files.*rewrite_data_files"):
        files_of(tmp_path, path="lake/shop/items", format="iceberg")


def test_a_library_that_is_not_installed_names_its_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent(name: str) -> None:
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(lakes, "import_module", absent)
    for kind in ("delta", "iceberg"):
        with pytest.raises(CallError, match=f"with the extra {kind}"):
            files_of(tmp_path, path="t", format=kind)
