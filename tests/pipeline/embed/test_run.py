"""A whole run: what is encoded, the same bytes for the same input, clear errors."""

import gzip
import io
import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest
from stand_in_encoder import DIM, Stand, contents_of, items, put, run, vector_of, vectors

from heterrec_pipeline.embed import EmbedConfig
from heterrec_pipeline.runtime.flags import LOCAL_RUNNER
from heterrec_schemas.errors import CallError, DataError, RunError, SchemaMismatchError
from heterrec_schemas.feature_spec import Source


def test_each_distinct_text_is_encoded_once(
    tmp_path: Path, config: EmbedConfig, stand: Stand
) -> None:
    table = items()
    put(tmp_path, table)
    result = run(config)
    titles = {t for t in table["title"].to_pylist() if t is not None}
    assert sorted(stand.encoded) == sorted(titles)
    assert stand.loads == 1
    assert max(stand.batches) <= config.batch_size
    expected = {
        key: tuple(vector_of(title).tolist())
        for key, title in zip(table["item_id"].to_pylist(), table["title"].to_pylist(), strict=True)
        if title is not None
    }
    assert vectors(config) == expected
    (column,) = result.columns
    assert (column.rows, column.texts, column.missing) == (36, len(titles), 4)
    assert (column.dim, column.shards) == (DIM, -(-len(titles) // 5))


def test_texts_that_are_equal_when_cleaned_are_one(
    tmp_path: Path, config: EmbedConfig, stand: Stand
) -> None:
    titles = ["caf\u00e9", " cafe\u0301 ", " ", ""]
    put(tmp_path, pa.table({"item_id": [1, 2, 3, 4], "title": titles}))
    result = run(config)
    assert stand.encoded == ["caf\u00e9"]
    assert (result.columns[0].rows, result.columns[0].missing) == (2, 2)


def test_a_shard_is_what_a_spec_can_join(tmp_path: Path, config: EmbedConfig) -> None:
    put(tmp_path, items())
    result = run(config)
    paths = sorted(Path(config.output).glob(result.columns[0].glob))
    assert [p.name for p in paths] == [f"title-{k:05d}-of-00005.parquet" for k in range(5)]
    for path in paths:
        schema = pq.read_schema(path)
        assert schema.names == ["item_id", "title_embedding"]
        assert schema.field("item_id").type == pa.int64()
        assert schema.field("title_embedding").type == pa.list_(pa.float32(), DIM)
    keys = [k for p in paths for k in pq.read_table(p)["item_id"].to_pylist()]
    assert len(keys) == len(set(keys))


def test_keys_of_text_stay_text(tmp_path: Path, config: EmbedConfig) -> None:
    put(tmp_path, pa.table({"item_id": ["007", "8"], "title": ["a", "b"]}))
    run(config)
    assert set(vectors(config)) == {"007", "8"}


def test_several_columns_have_shards_of_their_own(
    tmp_path: Path, config: EmbedConfig, stand: Stand
) -> None:
    put(tmp_path, pa.table({"item_id": [1, 2], "title": ["a", "b"], "year": [1999, None]}))
    config = replace(config, text_columns=("title", "year"))
    result = run(config)
    assert [(c.column, c.rows) for c in result.columns] == [("title", 2), ("year", 1)]
    assert sorted(stand.encoded) == ["1999", "a", "b"]
    assert set(vectors(config, "year")) == {1}


def test_the_same_bytes_however_the_input_is_split(tmp_path: Path, config: EmbedConfig) -> None:
    table = items()
    put(tmp_path, table)
    run(config)
    once = contents_of(config.output)
    order = list(range(len(table)))
    random.Random(1).shuffle(order)
    shuffled = table.take(order)
    (tmp_path / "parts").mkdir()
    put(tmp_path, shuffled.slice(0, 7), "parts/b.parquet")
    put(tmp_path, shuffled.slice(7), "parts/a.parquet")
    rows = [{k: v for k, v in r.items() if v} for r in shuffled.to_pylist()]
    lines = "".join(json.dumps(r) + "\n" for r in rows)
    (tmp_path / "items.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    for path in ("parts/*.parquet", "items.jsonl.gz", ["parts/a.parquet", "parts/b.parquet"]):
        other = Source(path=path)
        again = replace(config, source=other, output=str(tmp_path / "again"), fresh=True)
        run(again)
        assert contents_of(again.output) == once


def test_csv_keys_are_text(tmp_path: Path, config: EmbedConfig) -> None:
    table = items()
    put(tmp_path, table)
    run(config)
    text = io.BytesIO()
    pacsv.write_csv(table.set_column(1, "title", table["title"].fill_null("")), text)
    (tmp_path / "items.csv").write_bytes(text.getvalue())
    csv = replace(config, source=Source(path="items.csv"), output=str(tmp_path / "csv"))
    run(csv)
    assert vectors(csv) == {str(k): v for k, v in vectors(config).items()}


def test_a_run_that_fails_early_leaves_a_finished_folder_alone(
    tmp_path: Path, config: EmbedConfig
) -> None:
    put(tmp_path, items())
    run(config)
    once = contents_of(config.output)
    with pytest.raises(SchemaMismatchError):
        run(replace(config, key="nope"))
    assert contents_of(config.output) == once


@pytest.mark.parametrize(
    ("change", "kind", "says"),
    [
        ({"text_columns": ("titel",)}, SchemaMismatchError, "no column 'titel'.*'title'"),
        ({"key": "item"}, SchemaMismatchError, "no column 'item'.*'item_id'"),
        ({"text_columns": ("tags",)}, SchemaMismatchError, "'tags' cannot be embedded.*list"),
        ({"text_columns": ("empty",)}, SchemaMismatchError, "'empty' holds nothing to embed"),
        ({"text_columns": (), "image_columns": ("n",)}, SchemaMismatchError, "as image.*int64"),
        ({"source": Source(path="itms.parquet")}, DataError, "items.parquet"),
        ({"model": "./nothing"}, CallError, "no model folder ./nothing"),
    ],
)
def test_mistakes_have_one_clear_message(
    tmp_path: Path, config: EmbedConfig, change: dict[str, Any], kind: type[Exception], says: str
) -> None:
    table = items(4).append_column("tags", pa.array([["a"]] * 4))
    table = table.append_column("empty", pa.array([None, " ", "", None]))
    put(tmp_path, table.append_column("n", pa.array([1, 2, 3, 4])))
    with pytest.raises(kind, match=says):
        run(replace(config, **change))


def test_an_output_that_cannot_be_written(tmp_path: Path, config: EmbedConfig) -> None:
    put(tmp_path, items())
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot be written"):
        run(replace(config, output=str(tmp_path / "file" / "out")))


def test_a_folder_of_other_columns_is_left_alone(tmp_path: Path, config: EmbedConfig) -> None:
    put(tmp_path, items().append_column("other", pa.array(["x"] * 40)))
    run(config)
    with pytest.raises(CallError, match="holds vectors of title"):
        run(replace(config, text_columns=("other",)))
    run(replace(config, text_columns=("other", "title")))


def test_the_same_bytes_by_file_and_by_shuffle_and_for_any_number_of_buckets(
    tmp_path: Path, config: EmbedConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, items())
    run(config)
    monkeypatch.setattr("heterrec_pipeline.embed.job.BUCKET_BYTES", 200)
    buckets = replace(config, output=str(tmp_path / "buckets"))
    run(buckets)
    monkeypatch.setattr("heterrec_pipeline.wiring.exchange.DISTRIBUTED", (LOCAL_RUNNER,))
    shuffle = replace(config, output=str(tmp_path / "shuffle"))
    run(shuffle)
    assert contents_of(config.output) == contents_of(buckets.output) == contents_of(shuffle.output)


def test_a_failed_run_names_its_stage_and_leaves_no_temporary_files(
    tmp_path: Path, config: EmbedConfig, stand: Stand
) -> None:
    put(tmp_path, items())
    stand.fail_after = 9
    with pytest.raises(RunError, match="failed in the stage Encode: the power went out"):
        run(config)
    left = contents_of(config.output)
    assert left
    assert [name for name in left if not name.startswith("title-")] == []


def test_ctrl_c_leaves_no_temporary_files(
    tmp_path: Path, config: EmbedConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, items())

    def stop(*_: Any) -> Any:
        assert (Path(config.output) / ".parts").is_dir()
        raise KeyboardInterrupt

    monkeypatch.setattr("heterrec_pipeline.embed.encode.write_vectors", stop)
    with pytest.raises(KeyboardInterrupt):
        run(config)
    assert contents_of(config.output) == {}
    assert not (Path(config.output) / ".parts").exists()
