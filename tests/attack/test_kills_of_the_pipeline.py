"""Commands of the pipeline, killed at any call that changes a file, and with storage that fails there."""

import pytest
from budget import Attack
from pipeline_scenes import keeping_scenes, shop_scenes
from scenes import Scene, kill, spoil

from heterrec_schemas.testing.generation import small_generation


@pytest.fixture(scope="module")
def shops(tmp_path_factory: pytest.TempPathFactory) -> list[Scene]:
    """Commands that build."""
    return list(shop_scenes(tmp_path_factory.mktemp("shops")))


@pytest.fixture(scope="module")
def chains(tmp_path_factory: pytest.TempPathFactory) -> list[Scene]:
    """Commands that keep generations."""
    source = small_generation(tmp_path_factory.mktemp("source"), 1)
    return list(keeping_scenes(tmp_path_factory.mktemp("chains"), source))


@pytest.mark.attack(cases=2, share=8, limit=300)
def test_a_killed_build_or_refresh(attack: Attack, shops: list[Scene]) -> None:
    attack(lambda dice: kill(dice.choice(shops), dice))


@pytest.mark.attack(cases=2, share=6, limit=300)
def test_a_build_or_refresh_whose_storage_fails(attack: Attack, shops: list[Scene]) -> None:
    attack(lambda dice: spoil(dice.choice(shops), dice))


@pytest.mark.attack(cases=4, share=4, limit=120)
def test_a_killed_publish_pin_or_purge(attack: Attack, chains: list[Scene]) -> None:
    attack(lambda dice: kill(dice.choice(chains), dice))


@pytest.mark.attack(cases=4, share=4, limit=120)
def test_a_publish_pin_or_purge_whose_storage_fails(attack: Attack, chains: list[Scene]) -> None:
    attack(lambda dice: spoil(dice.choice(chains), dice))
