"""Every model reads exactly the settings that are not listed as unread."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from made_up import made_up_batch, made_up_config, made_up_table
from pydantic import BaseModel

from heterrec_model.config import Config, LossConfig, ModelConfig, NegativesConfig
from heterrec_model.layers.embedding_tables import ItemTables
from heterrec_model.model_settings import UNREAD, flat_settings, is_read, only_read
from heterrec_model.registry import TRAINED

ELSEWHERE = {
    "model.name",  # the registry
    "model.features",  # the token table
    "model.user_features",
    "model.max_length",  # the loader too, but here by the positions
    "model.embedding_init",  # the registry
    "negatives.gather",  # with several processes, see test_distributed.py
}
"""Settings that are read outside of the model."""
SECTIONS = {"model": ModelConfig, "loss": LossConfig, "negatives": NegativesConfig}


class Recorder:
    """A section of settings that notes which of them are read."""

    def __init__(self, section: BaseModel, prefix: str, seen: set[str]) -> None:
        self._section, self._prefix, self._seen = section, prefix, seen

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._section, name)
        if isinstance(value, BaseModel):
            return Recorder(value, f"{self._prefix}{name}.", self._seen)
        read = ["step_weights", "steps"] if name == "weights" else [name]
        self._seen.update(self._prefix + setting for setting in read)
        return value


def read_by(name: str, config: Config, seen: set[str]) -> None:
    """Build a model and compute a loss and vectors, noting what is read."""
    table = made_up_table()
    recorder: Any = Recorder(config, "", seen)
    model = TRAINED[name](recorder, table, ItemTables(recorder.model, table, {}))
    earlier = made_up_batch([2, 1], table=table).all_items()
    batch = replace(made_up_batch([4, 3], table=table), earlier=earlier)
    model(batch, 1).total.backward()
    with torch.no_grad():
        model.user_vectors(batch)
        model.item_vectors(table.catalogue_N)


@pytest.mark.parametrize("name", sorted(TRAINED))
def test_a_model_reads_all_settings_but_the_unread_ones(name: str) -> None:
    seen: set[str] = set()
    for source, repeats in (
        ("mixed", is_read(name, "model.repeats")),
        ("in_batch_same_position", False),
    ):
        chosen = {"name": name, "repeats": {"enabled": repeats}}
        loss = {"dense": {"weight": float(is_read(name, "loss.dense.weight"))}}
        config = made_up_config(chosen, negatives={"source": source}, loss=loss)
        read_by(name, config, seen)
    every = flat_settings({section: kind().model_dump() for section, kind in SECTIONS.items()})
    read = {setting for setting in seen if setting.split(".")[0] in SECTIONS}
    unread = {setting for setting in every if not is_read(name, setting)}
    # attention reads the mask, which has no effect on items of one token; the others are read to be off
    assert read & unread <= {"model.token_mask", "model.token_heads", "model.repeats.enabled"}
    assert set(every) - read - unread <= ELSEWHERE


def test_every_trained_model_is_listed() -> None:
    assert {name: kind.unread for name, kind in TRAINED.items()} == UNREAD


def test_unread_settings_exist() -> None:
    every = flat_settings(Config().model_dump())
    for settings in UNREAD.values():
        for setting in settings:
            assert any(name == setting or name.startswith(f"{setting}.") for name in every)


def test_only_read_settings_are_kept() -> None:
    settings = {"model": {"time_gap": {"buckets": 3}, "width": 4, "token_blocks": 1}, "x": 3}
    assert only_read(settings, "sasrec") == {"model": {"width": 4}, "x": 3}
    assert only_read(settings, "sasrec_time")["model"] == {"time_gap": {"buckets": 3}, "width": 4}
    assert only_read(settings, "heterrec") == only_read(settings, "unknown") == settings
