"""Damaged runs and bundles: each use of them works, or says what is wrong."""

import math
import random
import shutil
from pathlib import Path
from typing import Any

import odd_runs
import pytest
from budget import Attack
from checks import refusal
from tiny_run import TINY

from heterrec_model.evaluation.evaluate import evaluate
from heterrec_model.recommending.bundle_recommender import BundleRecommender
from heterrec_model.recommending.history import History
from heterrec_model.serving.recommend import recommend
from heterrec_model.training.train import train
from heterrec_schemas import open_generation

GIGABYTES = 4 * 2**30


@pytest.mark.filterwarnings("ignore:.*the previous one is used")
@pytest.mark.attack(cases=12, share=3, memory=GIGABYTES)
def test_runs(attack: Attack, run: Path, data: Path, tmp_path: Path) -> None:
    item = open_generation(data).items(["item_id"])["item_id"][0].as_py()
    longer = TINY.model_copy(update={"train": TINY.train.model_copy(update={"max_steps": 3})})

    def case(rng: random.Random) -> str:
        folder = odd_runs.copied(run, tmp_path / "run")
        odd_runs.spoil(rng, folder)
        checkpoint = rng.choice(("best", "last", "step-2"))

        def evaluated() -> None:
            found: dict[str, Any] = evaluate(folder, data, checkpoint=checkpoint)
            assert all(n is None or math.isfinite(n) for n in found["metrics"].values())

        def warm() -> None:
            shutil.rmtree(tmp_path / "next", ignore_errors=True)
            train(TINY, data=data, run=tmp_path / "next", warm_start=folder, quiet=True)

        uses = (
            evaluated,
            evaluated,
            lambda: recommend(folder, data, items=[item], checkpoint=checkpoint),
            lambda: train(longer, data=data, run=folder, resume=True, quiet=True),
            warm,
        )
        return "refused" if refusal(rng.choice(uses)) else "used"

    attack(case)


@pytest.mark.attack(cases=6, share=3, memory=GIGABYTES)
def test_bundles(attack: Attack, bundle: Path, data: Path, tmp_path: Path) -> None:
    generation = open_generation(data)
    item = generation.items(["item_id"])["item_id"][0].as_py()
    user = generation.sequences("train", ["user_id"])["user_id"][0].as_py()

    def case(rng: random.Random) -> str:
        folder = odd_runs.copied(bundle, tmp_path / "bundle")
        odd_runs.spoil(rng, folder)
        if rng.random() < 0.8:
            odd_runs.mend_bundle(folder)

        def answer() -> None:
            found = BundleRecommender.open(folder, verify=rng.choice(("hashes", "sizes")))
            answers = found.recommend(histories=[History(items=["B00001", item])])
            answers += found.recommend(users=["u00001", user])
            for one in answers:
                assert all(math.isfinite(score) for score in one.scores)

        return "refused" if refusal(answer) else "answered"

    attack(case)
