"""Encoders of users, by the name of their class."""

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stand_in_encoder import items, put, vectors

from heterrec_pipeline.embed import EmbedConfig, embed, resolve_model
from heterrec_schemas.errors import CallError

MODULE = """\
import numpy as np

from heterrec_pipeline.embed import OwnEncoder


class Pixels(OwnEncoder):
    def __init__(self, device):
        self.device = device

    @classmethod
    def identity(cls):
        return "v1"

    def encode(self, batch):
        return np.array([[*np.asarray(image).mean((0, 1)), len(batch)] for image in batch])


class Letters(Pixels):
    def encode(self, batch):
        return [[3.0 * len(text), 4.0 * len(text)] for text in batch]


class Uneven(Pixels):
    calls = 0

    def encode(self, batch):
        type(self).calls += 1
        return np.zeros((len(batch), type(self).calls))


class Short(Pixels):
    def encode(self, batch):
        return np.zeros((len(batch) - 1, 3))


class Unfinished(OwnEncoder):
    def encode(self, batch):
        return np.zeros((len(batch), 3))


class Other:
    pass
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of the module `my_encoders`, in a folder of its own."""
    folder = tmp_path / "code"
    folder.mkdir()
    (folder / "my_encoders.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, "my_encoders", raising=False)
    return folder / "my_encoders.py"


@pytest.fixture
def letters(config: EmbedConfig, module: Path, tmp_path: Path) -> EmbedConfig:
    put(tmp_path, items())
    return replace(config, model="my_encoders:Letters")


def test_images_reach_an_own_encoder(images: EmbedConfig, module: Path, tmp_path: Path) -> None:
    from PIL import Image

    config = replace(images, model="my_encoders:Pixels", batch_size=8)
    assert embed(config).columns[0].dim == 4
    found = vectors(config, "photo")
    direct = np.asarray(Image.open(tmp_path / "b.png")).mean((0, 1))
    np.testing.assert_allclose(found[1][:3], direct, rtol=1e-6)
    assert found[5] == found[0]


def test_it_needs_no_sentence_transformers(
    letters: EmbedConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = __import__("importlib.util").util.find_spec
    hidden = ("sentence_transformers", "PIL")
    monkeypatch.setattr("importlib.util.find_spec", lambda n: None if n in hidden else find(n))
    embed(replace(letters, normalize=True))
    assert set(vectors(letters).values()) == {(np.float32(0.6).item(), np.float32(0.8).item())}


def test_a_changed_module_encodes_again(letters: EmbedConfig, module: Path) -> None:
    embed(letters)
    assert embed(letters).kept_shards == embed(letters).shards
    module.write_text(MODULE.replace('"v1"', '"v2"'))
    assert resolve_model(letters.model).identity.endswith(":v1")  # imported before the change
    assert embed(letters).kept_shards == 0


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("my_encoders:Absent", "has no class 'Absent'"),
        ("my_encoder_s:Letters", "my_encoder_s cannot be imported.*PYTHONPATH"),
        ("my_encoders:Other", "wrong kind.*OwnEncoder"),
        ("my_encoders:Unfinished", "lacks __init__, identity"),
        ("my_encoders:Short", r"\[2, 3\].*\[3, 3\]"),
        ("my_encoders:Uneven", r"\[\d, 2\].*\[\d, 1\]"),
    ],
)
def test_what_is_refused(letters: EmbedConfig, name: str, says: str) -> None:
    with pytest.raises(CallError, match=f"(?s){says}"):
        embed(replace(letters, model=name))


@pytest.mark.parametrize("option", [{"prompt": "a"}, {"prompt_name": "a"}, {"revision": "a"}])
def test_options_that_it_cannot_have(config: EmbedConfig, option: dict[str, Any]) -> None:
    with pytest.raises(CallError, match="neither a prompt nor a revision"):
        replace(config, model="my_encoders:Letters", **option)


def test_the_command_takes_its_name(letters: EmbedConfig, module: Path) -> None:
    call = f"embed --items items.parquet --key item_id --text title --model {letters.model} "
    call += f"--input {letters.input} --output {letters.output}"
    paths = os.pathsep.join([str(module.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, "-m", "heterrec_pipeline", *call.split()],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert vectors(letters)[100] == (21.0, 28.0)


def test_the_encoder_of_the_page(images: EmbedConfig, module: Path, tmp_path: Path) -> None:
    page = (Path(__file__).parents[3] / "docs" / "embed.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(import numpy.*?OwnEncoder.*?)```", page, re.DOTALL)
    module.with_name("page_encoder.py").write_text(code)
    config = replace(images, model="page_encoder:MeanColour")
    embed(config)
    colour = vectors(config, "photo")[0]
    assert len(colour) == 3
    assert all(0 < value < 1 for value in colour)
