"""Vectors of a table in a store, written there, equal the files of a local run."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from emulators import Emulator

from heterrec_pipeline.embed import EmbedConfig, embed
from heterrec_pipeline.embed.models import EmbeddingModel, Encoder, Vectors
from heterrec_pipeline.files import storage
from heterrec_schemas.feature_spec import Source


class Lengths:
    """A fake model."""

    def encode(self, batch: list[str]) -> Vectors:
        return np.array([[len(text), ord(text[-1])] for text in batch], np.float32)


def load(_model: EmbeddingModel, _config: EmbedConfig) -> Encoder:
    return Lengths()


def test_embeddings_are_made_in_a_store(store: Emulator, folder: str, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    texts = [f"thing {k % 7}" for k in range(30)]
    pq.write_table(pa.table({"id": list(range(30)), "title": texts}), tmp_path / "items.parquet")
    here = EmbedConfig(
        input=str(tmp_path),
        source=Source(path="items.parquet"),
        key="id",
        output=str(tmp_path / "out"),
        text_columns=("title",),
        model=str(tmp_path / "model"),
        max_shard_texts=4,
    )
    there = replace(here, input=folder, output=f"{folder}/out")
    storage.write_bytes(f"{folder}/items.parquet", (tmp_path / "items.parquet").read_bytes())
    embed(here, load=load)
    for _ in range(2):  # the second time it finds everything done
        embed(there, load=load)
        found = storage.files_below(there.output)
        assert {p.removeprefix(f"{there.output}/"): storage.read_bytes(p) for p in found} == {
            p.relative_to(here.output).as_posix(): p.read_bytes()
            for p in Path(here.output).rglob("*")
            if p.is_file()
        }
