"""Delta and Iceberg tables in S3, with an endpoint of the user's own."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import write_deltalake
from emulators import Emulator
from pyiceberg.catalog.sql import SqlCatalog

from heterrec_pipeline.files import storage
from heterrec_pipeline.reading.files import input_files
from heterrec_schemas.errors import DataError
from heterrec_schemas.feature_spec import Source

ROWS = pa.table({"item": ["a", "b", "c"], "price": [1.0, 2.0, 3.0], "dt": ["x y", "z", None]})
MORE = pa.table({"item": ["d"], "price": [4.0], "dt": ["z"]})
StoreNamed = Callable[[str], Emulator]


def items_of(folder: str, **source: Any) -> list[str]:
    items = []
    for file in input_files(Source(**source), folder, "items"):
        with storage.open_arrow(file.path, mapped=False) as handle:
            items += pq.read_table(handle)["item"].to_pylist()
    return sorted(items)


def test_a_delta_table(store_named: StoreNamed) -> None:
    folder = f"{store_named('s3').bucket}/lake-of-deltas"
    written = {"partition_by": ["dt"], "storage_options": {"allow_http": "true"}}
    write_deltalake(f"{folder}/shop/items", ROWS, **written)
    write_deltalake(f"{folder}/shop/items", MORE, mode="append", **written)
    assert items_of(folder, path="shop/items", format="delta") == ["a", "b", "c", "d"]
    assert items_of(folder, path="shop/items", format="delta", version=0) == ["a", "b", "c"]
    with pytest.raises(DataError, match="items: shop/none cannot be read as Delta") as found:
        items_of(folder, path="shop/none", format="delta")
    assert "\x1b" not in str(found.value)


@pytest.mark.parametrize("scheme", ["s3", "s3a"])
def test_an_iceberg_table(store_named: StoreNamed, tmp_path: Path, scheme: str) -> None:
    emulator = store_named("s3")
    folder = f"{emulator.bucket}/lake-{scheme}"
    catalog = SqlCatalog(
        "test",
        uri=f"sqlite:///{tmp_path}/catalog.db",
        warehouse=folder.replace("s3:", f"{scheme}:"),
        **{"s3.endpoint": emulator.proxy.url},
    )
    catalog.create_namespace("shop")
    made = catalog.create_table("shop.items", schema=ROWS.schema)
    made.append(ROWS)
    made.append(MORE)
    catalog.engine.dispose()
    assert items_of(folder, path="shop/items", format="iceberg") == ["a", "b", "c", "d"]
    first = made.snapshots()[0].snapshot_id
    named = {"path": made.metadata_location, "format": "iceberg", "version": first}
    assert items_of(folder, **named) == ["a", "b", "c"]
    with pytest.raises(DataError, match="items: shop/none is no Iceberg table"):
        items_of(folder, path="shop/none", format="iceberg")
