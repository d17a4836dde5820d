"""Generations in which something is wrong although all hashes fit: readers say so, or make something sound of it."""

import math
import random
import shutil
from pathlib import Path
from typing import Any

import odd_generations
import pytest
from budget import Attack
from checks import check_command, refusal
from tiny_run import TINY
from warm_command import warm_commands

from heterrec_model.evaluation.evaluate import evaluate
from heterrec_model.training.train import train
from heterrec_schemas import Generation, open_generation
from heterrec_schemas.testing import Settings, shop, small_generation

GIGABYTES = 4 * 2**30


@pytest.fixture(scope="module")
def generations(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Output folders with a generation each, of other splits, layouts and quantizers."""
    chosen = (
        Settings(),
        Settings(split="temporal", unknown_items="oov", codebooks=True, layout="flattened"),
        Settings(train_windows="all", item_shards=1, sequence_shards=1, max_length=5),
    )
    folders = [tmp_path_factory.mktemp(f"data{k}") for k in range(len(chosen))]
    for k, (folder, settings) in enumerate(zip(folders, chosen, strict=True)):
        goods = shop(k, items=30, users=30, interactions=500, dim=8)
        small_generation(folder, k, settings=settings, goods=goods)
    return folders


def read_all(generation: Generation) -> None:
    """Read every table by its own function."""
    generation.items()
    generation.retired()
    for split in ("train", "validation", "test"):
        generation.sequences(split)
    generation.item_counts()
    generation.available_from()
    generation.rejects()
    generation.statistics()
    generation.drift()
    generation.vocabulary("item")
    for entry in generation.manifest.features:
        stem = entry.name if entry.side == "item" else f"user_{entry.name}"
        if entry.kind == "categorical":
            generation.vocabulary(stem)
            generation.erased_ids(stem)
        elif entry.kind == "numeric":
            generation.boundaries(stem)
        elif entry.quantizer == "quantile":
            generation.quantizers(stem)
        else:
            generation.codebooks(stem)


@pytest.mark.attack(cases=60, share=3, memory=GIGABYTES)
def test_readers(attack: Attack, generations: list[Path], tmp_path: Path) -> None:
    def case(rng: random.Random) -> str:
        folder = tmp_path / "data"
        odd_generations.spoil(rng, odd_generations.copied(rng.choice(generations), folder))
        opened: list[Generation] = []
        if refusal(lambda: opened.append(open_generation(folder))) is not None:
            return "not opened"
        refused = refusal(lambda: read_all(opened[0]))
        return "not read" if refused else "read"

    attack(case)


@pytest.mark.attack(cases=5, share=5, memory=GIGABYTES)
def test_training(attack: Attack, generations: list[Path], tmp_path: Path) -> None:
    """Training and its evaluation end in finite numbers, or in a message."""

    def case(rng: random.Random) -> str:
        folder, run = tmp_path / "data", tmp_path / "run"
        shutil.rmtree(run, ignore_errors=True)
        odd_generations.spoil(rng, odd_generations.copied(rng.choice(generations), folder))

        def work() -> None:
            trained = train(TINY, data=folder, run=run, quiet=True)
            found: dict[str, Any] = evaluate(run, folder)
            numbers = [*trained.metrics.values(), *found["metrics"].values()]
            assert all(n is None or math.isfinite(n) for n in numbers), numbers

        return "refused" if refusal(work) else "trained"

    attack(case)


@pytest.mark.attack(cases=4, share=1, limit=60)
def test_inspect(attack: Attack, generations: list[Path], tmp_path: Path) -> None:
    def case(rng: random.Random) -> str:
        folder = tmp_path / "data"
        odd_generations.spoil(rng, odd_generations.copied(rng.choice(generations), folder))
        more = rng.choice(
            ([], ["--json"], ["--item", "B00001"], ["--user", "u00001"], ["--verify"])
        )
        command = rng.choice(("inspect", "inspect", "generations"))
        arguments = more if command == "inspect" else []
        return check_command(warm_commands()(command, folder, *arguments, timeout=50))

    attack(case)
