"""The first read: keys, duplicates, rejects, missing columns."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from stand_in_encoder import Stand, items, put, rejects, run, vector_of, vectors

from heterrec_pipeline.embed import EmbedConfig
from heterrec_schemas.errors import DataError, RejectRatioError, SchemaMismatchError
from heterrec_schemas.feature_spec import Source
from heterrec_schemas.hashing import stable_hash


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


def test_a_text_that_is_not_utf8_is_a_reject(tmp_path: Path, config: EmbedConfig) -> None:
    bad = [
        pa.array(c, pa.binary()).view(pa.string())
        for c in ([b"1", b"\xff", b"3"], [b"caf\xe9", b"b", b"c"])
    ]
    put(tmp_path, pa.table({"item_id": bad[0], "title": bad[1]}))
    result = run(replace(config, max_reject_ratio=0.7))
    assert result.rejects == {"not_utf8": 2}
    assert rejects(config) == [
        (0, "title", "not_utf8", "caf\\xe9"),
        (1, "item_id", "not_utf8", "\\xff"),
    ]
    assert set(vectors(config)) == {"3"}


def test_too_many_rejects_stop_before_anything_is_encoded(
    tmp_path: Path, config: EmbedConfig, stand: Stand
) -> None:
    put(tmp_path, pa.table({"item_id": [1, None, 2], "title": ["a", "b", "c"]}))
    with pytest.raises(RejectRatioError, match="1 of 3 rows"):
        run(config)
    assert stand.encoded == []


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


def test_equal_rows_of_a_rejected_content_are_one_reject(
    tmp_path: Path, config: EmbedConfig
) -> None:
    texts = sorted(["a", "b", "c"], key=stable_hash)
    titles = [texts[2], texts[0], texts[1], texts[2], texts[0]]
    put(tmp_path, pa.table({"item_id": [1] * 5, "title": titles}))
    result = run(replace(config, max_reject_ratio=0.5))
    assert result.rejects == {"duplicate_item": 2}
    assert rejects(config) == [
        (0, "title", "duplicate_item", "1"),
        (2, "title", "duplicate_item", "1"),
    ]
    assert vectors(config) == {1: tuple(vector_of(texts[0]).tolist())}


def test_a_row_that_ends_early_is_a_reject_and_keeps_its_cells(
    tmp_path: Path, config: EmbedConfig
) -> None:
    (tmp_path / "items.csv").write_text("item_id,title,year\n1,a,1999\n2,b\n3,c,2001\n")
    csv = replace(config, source=Source(path="items.csv"), max_reject_ratio=0.5)
    result = run(csv)
    assert result.rejects == {"malformed_row": 1}
    assert set(vectors(config)) == {"1", "2", "3"}
