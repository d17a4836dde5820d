"""One shop in files of every format and in several dialects of CSV: the same generation."""

import bz2
import io
from pathlib import Path
from typing import Any

import fastavro
import pyarrow as pa
import pyarrow.orc as paorc
import pytest
import yaml
from deltalake import write_deltalake
from pyiceberg.catalog.sql import SqlCatalog

from heterrec_pipeline.building import BuildConfig, build
from heterrec_pipeline.reading.files import input_files
from heterrec_schemas.errors import SpecError
from heterrec_schemas.feature_spec import Source, parse_spec

ITEMS = [(f"i{k}", ["Größe", 'say "hi"', "a; b", ""][k % 4], k + 0.5) for k in range(8)]
LOG = [(f"u{k % 6}", f"i{k * 5 % 8}", 1_600_000_000 + k) for k in range(40)]
ITEM_NAMES, LOG_NAMES = ["item", "brand", "price"], ["user", "item", "time"]
SPEC: dict[str, Any] = {
    "version": 1,
    "name": "formats",
    "items": {
        "key": "item",
        "features": [
            {"name": "brand", "kind": "categorical", "column": "brand"},
            {"name": "price", "kind": "numeric", "column": "price", "bins": 3},
        ],
    },
    "interactions": {
        "user": "user",
        "item": "item",
        "timestamp": {"column": "time", "unit": "s"},
    },
    "sequences": {"max_length": 20},
    "split": {"method": "leave_one_out"},
}


def content(
    folder: Path, items: dict[str, Any], log: dict[str, Any], *features: dict[str, Any]
) -> str:
    """The hash of the generation of a shop."""
    listed = [*SPEC["items"]["features"], *features]
    plain = SPEC | {
        "items": SPEC["items"] | {"source": items, "features": listed},
        "interactions": SPEC["interactions"] | {"source": log},
    }
    text = yaml.safe_dump(plain)
    config = BuildConfig(parse_spec(text), text, str(folder), str(folder / "out"))
    made = build(config)
    return made.manifest.content_sha256


def written(path: Path, data: bytes) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)


def separated(rows: list[tuple[Any, ...]], delimiter: str, decimal: str = ".") -> str:
    def cell(value: object) -> str:
        text = str(value).replace(".", decimal) if isinstance(value, float) else str(value)
        return '"' + text.replace('"', '""') + '"' if {'"', delimiter} & set(text) else text

    return "".join(delimiter.join(map(cell, row)) + "\r\n" for row in rows)


def avro(names: list[str], rows: list[tuple[Any, ...]]) -> bytes:
    kinds = {str: ["null", "string"], float: "double", int: "long"}
    fields = [{"name": n, "type": kinds[type(v)]} for n, v in zip(names, rows[0], strict=True)]
    data = io.BytesIO()
    records = [dict(zip(names, row, strict=True)) for row in rows]
    fastavro.writer(data, {"type": "record", "name": "R", "fields": fields}, records)
    return data.getvalue()


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("plain")
    written(folder / "items.csv", separated([tuple(ITEM_NAMES), *ITEMS], ",").encode())
    written(folder / "log.csv", separated([tuple(LOG_NAMES), *LOG], ",").encode())
    return content(folder, {"path": "items.csv"}, {"path": "log.csv"})


def test_dialects_of_csv(tmp_path: Path, plain: str) -> None:
    items = separated([tuple(ITEM_NAMES), *ITEMS], ";", ",").encode("cp1252")
    written(tmp_path / "items.csv.bz2", bz2.compress(items))
    written(tmp_path / "log.dat", "".join(f"{u}::{i}::{t}\n" for u, i, t in LOG).encode("utf-16"))
    log = {"path": "log.dat", "format": "csv", "delimiter": "::", "encoding": "utf-16"}
    found = content(
        tmp_path,
        {"path": "items.csv.bz2", "delimiter": ";", "encoding": "cp1252", "decimal": ","},
        log | {"header": False, "names": LOG_NAMES},
    )
    assert found == plain


def test_avro_and_orc(tmp_path: Path, plain: str) -> None:
    for k in range(2):
        written(tmp_path / f"log/{k}.avro", avro(LOG_NAMES, LOG[k * 20 : k * 20 + 20]))
    table = {n: list(c) for n, c in zip(ITEM_NAMES, zip(*ITEMS, strict=True), strict=True)}
    paorc.write_table(pa.table(table), str(tmp_path / "items.orc"))
    assert content(tmp_path, {"path": "items.orc"}, {"path": "log/*.avro"}) == plain


def test_delta_and_iceberg(tmp_path: Path, plain: str) -> None:
    table = pa.table(
        {n: list(c) for n, c in zip(ITEM_NAMES, zip(*ITEMS, strict=True), strict=True)}
    )
    write_deltalake(tmp_path / "items", table.slice(0, 4), partition_by=["brand"])
    write_deltalake(tmp_path / "items", table.slice(4), mode="append")
    uri, place = f"sqlite:///{tmp_path}/catalog.db", f"file://{tmp_path}"
    catalog = SqlCatalog("test", uri=uri, warehouse=place)
    catalog.create_namespace("shop")
    log = pa.table({n: list(c) for n, c in zip(LOG_NAMES, zip(*LOG, strict=True), strict=True)})
    made = catalog.create_table("shop.log", schema=log.schema)
    made.append(log)
    made.append(log.slice(0, 3))  # later than the snapshot of the spec
    catalog.engine.dispose()
    snapshot = made.snapshots()[0].snapshot_id
    items = {"path": "items", "format": "delta"}
    lake = {"path": "shop/log", "format": "iceberg", "version": snapshot}
    assert content(tmp_path, items, lake) == plain


def test_vectors_as_columns_and_as_text(tmp_path: Path) -> None:
    look = {"name": "look", "kind": "embedding", "dim": 2, "groups": 1, "quantiles": 2}
    written(tmp_path / "log.csv", separated([tuple(LOG_NAMES), *LOG], ",").encode())
    texts = [(*row, f"[{k * 7 % 5}, {k}.5]", k * 7 % 5, k + 0.5) for k, row in enumerate(ITEMS)]
    table = [(*ITEM_NAMES, "v", "e00", "e01"), *texts]
    written(tmp_path / "items.csv", separated(table, ";").encode())
    found = {
        content(tmp_path, {"path": "items.csv", "delimiter": ";"}, {"path": "log.csv"}, feature)
        for feature in (look | {"column": "v"}, look | {"column": "e{00..01}"})
    }
    assert len(found) == 1


def test_keys_of_csv_need_csv_files(tmp_path: Path) -> None:
    written(tmp_path / "a.avro", avro(LOG_NAMES, LOG))
    written(tmp_path / "a.csv", b"user,item,time\n")
    with pytest.raises(
        SpecError, match=r"delimiter, null_values in a source.*a.avro, which is Avro"
    ):
        input_files(Source(path="a.*", delimiter=";", null_values=["NA"]), str(tmp_path), "log")
    with pytest.raises(SpecError, match="append_only with encoding: utf-16"):
        input_files(Source(path="a.csv", append_only=True, encoding="utf-16"), str(tmp_path), "log")
    with pytest.raises(SpecError, match="append_only: true and Avro"):
        input_files(Source(path="a.avro", append_only=True), str(tmp_path), "log")


def test_another_dialect_is_another_reading_of_a_file(tmp_path: Path) -> None:
    written(tmp_path / "a.csv", b"user,item,time\n")
    sources = [Source(path="a.csv"), Source(path="*.csv", empty_files="skip")]
    sources += [Source(path="a.csv", delimiter=";"), Source(path="a.csv", quote=None)]
    found = [input_files(source, str(tmp_path), "log")[0].settings for source in sources]
    assert found == [{}, {}, {"delimiter": ";"}, {"quote": None}]
