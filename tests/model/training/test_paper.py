"""`paper.yaml` on a small generation: it is the letter, it trains, and it resumes."""

from pathlib import Path

import pytest
import torch

from heterrec_model.config import load_config
from heterrec_model.data.token_table import configured_table
from heterrec_model.data.train_loader import TrainLoader
from heterrec_model.registry import build_model
from heterrec_model.training.train import train
from heterrec_schemas.errors import CallError
from heterrec_schemas.generation import open_generation

SMALL = ["model.width=8", "model.max_length=16", "train.threads=1", "train.tensorboard=false"]


def test_the_letter_is_configured() -> None:
    config = load_config("paper")
    assert (config.model.max_length, config.model.token_blocks, config.model.item_blocks) == (
        256,
        2,
        2,
    )
    assert (config.loss.steps, config.loss.margin, config.loss.normalise) == (3, 1, "sum")
    assert (config.model.embedding_width, config.model.group_tables) == ("width", "shared")
    assert config.loss.step_init == "random"
    assert not config.model.share_missing
    # Eq. 9 has at least a hundred negatives, even where all histories are full
    assert config.data.batch_items // config.model.max_length > 100
    assert config.data.batch_users > 100


def test_it_trains(shop_data: Path, tmp_path: Path) -> None:
    config = load_config("paper", [*SMALL, "train.max_steps=6", "train.patience=null"])
    result = train(config, data=shop_data, run=tmp_path / "run", quiet=True)
    assert result.step == 6
    assert result.best_metric is not None


def test_its_loss_falls_and_no_item_is_treated_as_missing(shop_data: Path) -> None:
    generation = open_generation(shop_data)
    config = load_config("paper", [*SMALL, "model.dropout=0", "data.batch_users=6"])
    table = configured_table(config, generation)
    model = build_model(config, table, generation).train()
    assert not any("project" in name for name, _ in model.named_parameters())
    assert model.tables.known_ids(table.catalogue_N).tolist() == table.catalogue_N.tolist()
    batch = next(iter(TrainLoader(generation, config)))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    losses = []
    for step in range(60):
        optimizer.zero_grad()
        output = model(batch, step)
        output.total.backward()
        optimizer.step()
        losses.append(float(output.terms["item_step1"]))
    assert losses[-1] < 0.7 * losses[0]


def test_widths_that_the_groups_do_not_divide_are_refused(shop_data: Path, tmp_path: Path) -> None:
    config = load_config("paper", ["model.width=6"])
    with pytest.raises(
        CallError, match=r"got 4 groups and model\.width: 6, expected a divisor of 6"
    ):
        train(config, data=shop_data, run=tmp_path / "run", quiet=True)
