from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from deltalake import DeltaTable, write_deltalake

from heterrec_pipeline import build, plan, validate
from heterrec_pipeline.checking.doubts import lakes
from heterrec_pipeline.checking.doubts.lakes import lake_doubts
from heterrec_pipeline.reading.files import input_files
from heterrec_schemas.feature_spec import Source


def doubts(base: Path, path: str, **source: str) -> list[str]:
    found = input_files(Source(path=path, **source), str(base), "log")
    return list(lake_doubts("log", found))


def written(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        pq.write_table(pa.table({"item": ["a"]}), path)
    else:
        path.write_text("{}\n")


def ways_out(texts: list[str]) -> list[str]:
    return [text.split("into the source ")[1].split(";")[0] for text in texts]


def test_files_of_a_delta_table_come_with_the_source_that_reads_the_table(tmp_path: Path) -> None:
    for part in ("lake/dt=1/a.parquet", "lake/dt=2/b.parquet", "lake/_delta_log/0.json"):
        written(tmp_path / part)
    (text,) = doubts(tmp_path, "lake")
    assert text.startswith(
        "log: lake/dt=1/a.parquet is a file of a Delta table, whose folder has _delta_log/, but is read without it: rows that"
    )
    assert ways_out([text]) == ["path: lake, format: delta"]
    # However the files are named, from above the table or from inside it.
    for path in ("lake/**/*.parquet", "lake/dt=2", "lake/dt={1,2}/*"):
        assert ways_out(doubts(tmp_path, path)) == ["path: lake, format: delta"]
    assert ways_out(doubts(tmp_path / "lake", ".")) == ["path: ., format: delta"]
    absolute = [f"path: {tmp_path}/lake, format: delta"]
    assert ways_out(doubts(tmp_path / "lake/dt=1", "a.parquet")) == absolute
    assert ways_out(doubts(tmp_path / "lake", f"{tmp_path}/lake")) == ["path: ., format: delta"]
    assert ways_out(doubts(tmp_path / "none", f"{tmp_path}/lake")) == absolute


def test_files_of_an_iceberg_table(tmp_path: Path) -> None:
    written(tmp_path / "shop/items/data/00000-0-x.parquet")
    assert doubts(tmp_path, "shop") == []
    written(tmp_path / "shop/items/metadata/snap.avro")
    written(tmp_path / "shop/items/metadata/00001-x.metadata.json")
    (text,) = doubts(tmp_path, "shop/items/data")
    assert "is a file of an Iceberg table, whose folder has metadata/" in text
    assert ways_out([text]) == ["path: shop/items, format: iceberg"]


def test_other_files_are_no_reason_to_warn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path / "log/a.jsonl")
    written(tmp_path / "log/_delta_log/0.json")
    written(tmp_path / "lake/a.parquet")
    write_deltalake(tmp_path / "table", pa.table({"item": ["a"]}))
    assert doubts(tmp_path, "log") == [], "tables have no such files"
    assert doubts(tmp_path, "lake") == []
    assert doubts(tmp_path, "table", format="delta") == []
    written(tmp_path / "lake/_delta_log/0.json")
    looked = list[str]()
    monkeypatch.setattr(lakes.storage, "files_in", lambda f: looked.append(f) or [])
    for k in range(lakes.MAX_FOLDERS):
        written(tmp_path / f"lake/{k}/a.parquet")
    doubts(tmp_path, "lake")
    assert len(looked) <= 2 * lakes.MAX_FOLDERS
    assert f"{tmp_path}/lake/_delta_log" in looked, "outer folders are looked into first"


def test_every_command_warns_of_rows_that_come_back(tmp_path: Path) -> None:
    rows = [{"user": f"u{k % 5}", "item": f"i{k % 7}", "time": 10**9 + k} for k in range(60)]
    write_deltalake(tmp_path / "in/log", pa.Table.from_pylist(rows))
    DeltaTable(tmp_path / "in/log").delete("user = 'u1'")
    pq.write_table(pa.table({"item": [f"i{k}" for k in range(7)]}), tmp_path / "in/items.parquet")
    spec = {
        "version": 1,
        "name": "lake",
        "items": {"source": {"path": "items.parquet"}, "key": "item"},
        "interactions": {
            "source": {"path": "log"},
            "user": "user",
            "item": "item",
            "timestamp": {"column": "time", "unit": "s"},
        },
        "sequences": {"max_length": 9},
        "split": {"method": "leave_one_out"},
    }

    def warnings(**source: str) -> list[list[str]]:
        spec["interactions"]["source"] = {"path": "log", **source}  # type: ignore[index]
        path = tmp_path / "spec.yaml"
        path.write_text(yaml.safe_dump(spec))
        folders = {"spec": path, "input": tmp_path / "in"}
        found = (validate(**folders), plan(**folders), build(**folders, output=tmp_path / "out"))
        return [list(f.warnings) for f in found]

    for texts in warnings():
        assert ways_out([t for t in texts if "Delta" in t]) == ["path: log, format: delta"]
    assert warnings(format="delta") == [[], [], []]
