"""The summary, and files that are no longer valid."""

import json
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from stand_in_encoder import DIM, Stand, contents_of, items, put, run

from heterrec_pipeline.embed import EmbedConfig
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
