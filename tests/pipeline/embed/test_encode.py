"""Finished shards are kept, all others encoded."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from stand_in_encoder import Stand, contents_of, items, put, run, vector_of, vectors

from heterrec_pipeline.embed import EmbedConfig
from heterrec_schemas.errors import DataError, RunError


def test_a_shard_without_texts_exists_all_the_same(tmp_path: Path, config: EmbedConfig) -> None:
    put(tmp_path, items(rows=12))
    result = run(replace(config, max_shard_texts=1))
    rows = [pq.read_metadata(p).num_rows for p in Path(config.output).glob("title-*.parquet")]
    assert len(rows) == result.shards == 11
    assert 0 in rows


def test_an_interrupted_run_goes_on(tmp_path: Path, config: EmbedConfig, stand: Stand) -> None:
    put(tmp_path, items())
    whole = replace(config, output=str(tmp_path / "whole"))
    run(whole)
    stand.encoded.clear()
    stand.fail_after = 9
    with pytest.raises(RunError, match="power"):
        run(config)
    stood = {p.name for p in Path(config.output).glob("title-*.parquet")}
    done = len(stand.encoded)
    assert 0 < len(stood) < 5
    assert not (Path(config.output) / "embedding.json").exists()
    stand.fail_after = None
    result = run(config)
    assert result.kept_shards == len(stood)
    assert result.kept_texts <= done
    assert len(stand.encoded) == done + 22 - result.kept_texts
    assert contents_of(config.output) == contents_of(whole.output)


def test_a_finished_run_is_kept_whole(tmp_path: Path, config: EmbedConfig, stand: Stand) -> None:
    put(tmp_path, items())
    run(config)
    once = contents_of(config.output)
    stand.loads = 0
    told: list[tuple[int, int | None]] = []
    result = run(config, on_progress=lambda done, total: told.append((done, total)))
    assert (result.kept_shards, result.kept_texts) == (5, 22)
    assert told[-1] == (22, 22)
    assert stand.loads == 0
    assert contents_of(config.output) == once


@pytest.mark.parametrize("change", [{"prompt": "item: "}, {"normalize": True}, {"fresh": True}])
def test_other_options_encode_again(
    tmp_path: Path, config: EmbedConfig, change: dict[str, Any]
) -> None:
    put(tmp_path, items())
    run(config)
    assert run(replace(config, **change)).kept_shards == 0


def test_another_batch_size_keeps_the_shards(tmp_path: Path, config: EmbedConfig) -> None:
    put(tmp_path, items())
    run(config)
    assert run(replace(config, batch_size=1, device="cpu", threads=1)).kept_shards == 5


def test_another_model_encodes_again(tmp_path: Path, config: EmbedConfig) -> None:
    put(tmp_path, items())
    run(config)
    (Path(config.model) / "README.md").write_text("only words")
    assert run(config).kept_shards == 5
    (Path(config.model) / "weights").write_text("other")
    assert run(config).kept_shards == 0


def test_only_changed_shards_are_encoded_again(
    tmp_path: Path, config: EmbedConfig, stand: Stand
) -> None:
    table = items()
    put(tmp_path, table)
    run(config)
    stand.encoded.clear()
    titles = table["title"].to_pylist()
    titles[0] = "title 1"  # a key moves from one text to another: two shards at most
    put(tmp_path, table.set_column(1, "title", pa.array(titles)))
    result = run(config)
    assert 3 <= result.kept_shards < 5
    assert vectors(config)[100] == tuple(vector_of("title 1").tolist())


@pytest.mark.parametrize("damage", [b"", b"PAR1", None])
def test_a_damaged_shard_is_written_anew(
    tmp_path: Path, config: EmbedConfig, damage: bytes | None
) -> None:
    put(tmp_path, items())
    run(config)
    once = contents_of(config.output)
    shard = Path(config.output) / "title-00002-of-00005.parquet"
    shard.write_bytes(shard.read_bytes()[:-20] if damage is None else damage)
    assert run(config).kept_shards == 4
    assert contents_of(config.output) == once


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_vectors_that_are_no_numbers(
    tmp_path: Path, config: EmbedConfig, stand: Stand, value: float
) -> None:
    put(tmp_path, items())
    stand.value = value
    with pytest.raises(DataError, match="NaN or infinities for column 'title'"):
        run(config)
