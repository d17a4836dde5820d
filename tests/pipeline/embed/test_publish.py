"""The summary, and files that are no longer valid."""

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from stand_in_encoder import DIM, Stand, contents_of, items, put, run

from heterrec_pipeline.embed import EmbedConfig, encode, publish
from heterrec_schemas.errors import RunError


def test_the_summary_is_written_last_and_says_what_stands(
    tmp_path: Path, config: EmbedConfig
) -> None:
    put(tmp_path, items())
    run(config)
    body = json.loads((Path(config.output) / "embedding.json").read_text())
    (column,) = body["columns"]
    assert (column["dim"], column["rows"], body["rows_read"]) == (DIM, 36, 40)
    for shard in column["shards"]:
        path = Path(config.output) / shard["path"]
        assert pq.read_metadata(path).num_rows == shard["rows"]


def test_shards_of_another_count_go_when_the_run_has_succeeded(
    tmp_path: Path, config: EmbedConfig, stand: Stand
) -> None:
    put(tmp_path, items())
    run(config)
    (Path(config.output) / f".title-00000-of-00005.parquet.{'0' * 32}.tmp").write_bytes(b"half")
    fewer = replace(config, max_shard_texts=100)
    stand.encoded.clear()
    stand.fail_after = 10
    with pytest.raises(RunError):
        run(fewer)
    assert len(list(Path(config.output).glob("title-*-of-00005.parquet"))) == 5
    stand.fail_after = None
    run(fewer)
    assert sorted(contents_of(config.output)) == [
        "embedding.json",
        "rejects/rejects-00000-of-00001.parquet",
        "title-00000-of-00001.parquet",
    ]


@pytest.mark.parametrize(
    "change", [lambda path: os.utime(path, (1, 1)), lambda path: path.unlink()]
)
def test_a_changed_item_table_is_not_published(
    tmp_path: Path,
    config: EmbedConfig,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[Path], None],
) -> None:
    put(tmp_path, items())
    write = encode.write_vectors

    def changing(*arguments: Any) -> None:
        write(*arguments)
        if (tmp_path / "items.parquet").exists():
            change(tmp_path / "items.parquet")

    monkeypatch.setattr(encode, "write_vectors", changing)
    with pytest.raises(RunError, match=r"the input changed while it was read: items\.parquet"):
        run(config)
    assert not (Path(config.output) / "embedding.json").exists()


def test_shards_that_another_run_has_deleted_are_not_published(
    tmp_path: Path, config: EmbedConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, items())
    obsolete = publish.delete_obsolete

    def both(*arguments: Any) -> None:
        obsolete(*arguments)
        (Path(config.output) / "title-00001-of-00005.parquet").unlink()

    monkeypatch.setattr(publish, "delete_obsolete", both)
    with pytest.raises(RunError, match=r"1 of 5 shards in .*title-00001-of-00005\.parquet"):
        run(config)
    assert not (Path(config.output) / "embedding.json").exists()
    monkeypatch.undo()
    assert run(config).kept_shards == 4


def test_only_what_the_run_has_written_is_deleted(tmp_path: Path, config: EmbedConfig) -> None:
    put(tmp_path, items())
    output, elsewhere = Path(config.output), tmp_path / "elsewhere"
    (elsewhere / "rejects").mkdir(parents=True)
    mine = [
        elsewhere / f"part-{'0' * 32}.arrow",
        elsewhere / "rejects" / f".rejects-00000-of-00001.parquet.{'0' * 32}.tmp",
        output / ".parts" / "mine.arrow",
    ]
    (output / ".parts").mkdir(parents=True)
    (output / "rejects").symlink_to(elsewhere / "rejects")
    (output / ".parts" / "linked").symlink_to(elsewhere)
    for path in mine:
        path.touch()
    run(config)
    assert [path for path in mine if not path.exists()] == []
    assert sorted(p.name for p in (output / ".parts").iterdir()) == ["linked", "mine.arrow"]
