"""Images, as paths and as bytes."""

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from stand_in_encoder import Stand, contents_of, picture, put, rejects, run, vectors

from heterrec_pipeline.embed import EmbedConfig
from heterrec_schemas.errors import RejectRatioError, SchemaMismatchError
from heterrec_schemas.feature_spec import Source


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


def test_a_file_without_images_may_have_a_column_of_no_type(
    images: EmbedConfig, tmp_path: Path
) -> None:
    put(tmp_path, pa.table({"item_id": [7], "photo": pa.array([picture(1)])}))
    put(tmp_path, pa.table({"item_id": [8], "photo": pa.nulls(1)}), "more.parquet")
    result = run(replace(images, source=Source(path=["items.parquet", "more.parquet"])))
    assert (result.columns[0].rows, result.columns[0].missing) == (1, 1)
