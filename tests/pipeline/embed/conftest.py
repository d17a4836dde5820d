"""Makes the stand-in importable, and gives each test a model and a configuration."""

import sys
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from heterrec_pipeline.embed import EmbedConfig
from heterrec_schemas.feature_spec import Source

sys.path.insert(0, str(Path(__file__).resolve().parent))

from stand_in_encoder import STAND, Stand, picture, pictures, put


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
