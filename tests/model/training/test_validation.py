"""The validation that decides."""

from pathlib import Path
from typing import Any

from heterrec_model.data.token_table import open_token_table
from heterrec_model.evaluation.evaluate import evaluate_model
from heterrec_model.registry import build_model
from heterrec_model.training.validation import validation
from heterrec_schemas.generation import open_generation
from heterrec_schemas.testing import Settings, shop, small_generation


def test_it_is_the_evaluation_of_the_first_users(shop_data: Path, tiny: Any) -> None:
    generation = open_generation(shop_data)
    config = tiny(train={"validate_users": 10})
    table = open_token_table(generation, features=config.model.features)
    model = build_model(config, table, generation)
    seen: list[tuple[int, int]] = []
    validate = validation(model, generation, config)
    assert validate is not None
    got = validate(lambda done, users: seen.append((done, users)))
    assert got == evaluate_model(model, generation, "validation", config, max_users=10).metrics
    assert seen[-1] == (10, 10)


def test_there_is_none_where_nobody_is_to_validate_on(tmp_path: Path, tiny: Any) -> None:
    goods = shop(0, users=2, interactions=4)  # too short to leave anything out
    data = small_generation(tmp_path, 0, settings=Settings(min_length=1), goods=goods)
    generation = open_generation(data)
    assert generation.manifest.counts.sequences["validation"] == 0
    assert validation(None, generation, tiny()) is None  # type: ignore[arg-type]
