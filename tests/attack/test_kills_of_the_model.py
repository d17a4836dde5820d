"""Commands of the model, killed at any call that changes a file, and with storage that fails there."""

import pytest
from budget import SECONDS, Attack
from scenes import LONG, Scene, kill, spoil


@pytest.fixture(scope="module")
def training(tmp_path_factory: pytest.TempPathFactory) -> list[Scene]:
    """Train, and a study."""
    from model_scenes import training_scenes

    return list(training_scenes(tmp_path_factory.mktemp("training")))


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> list[Scene]:
    """Index; where there is time, also export, promote and recommendations to all users."""
    from model_scenes import bundle_scenes, export_scenes

    found = list(bundle_scenes(tmp_path_factory.mktemp("bundles")))
    if SECONDS:
        found += export_scenes(tmp_path_factory.mktemp("exports"))
    return found


@pytest.mark.attack(cases=1, share=4, limit=600)
def test_a_killed_training(attack: Attack, training: list[Scene]) -> None:
    attack(lambda dice: kill(dice.choice(training), dice))


@LONG
@pytest.mark.attack(cases=1, share=4, limit=600)
def test_a_training_whose_storage_fails(attack: Attack, training: list[Scene]) -> None:
    attack(lambda dice: spoil(dice.choice(training), dice))


@LONG
@pytest.mark.attack(cases=3, share=3, limit=600)
def test_a_killed_index_or_export(attack: Attack, bundles: list[Scene]) -> None:
    attack(lambda dice: kill(dice.choice(bundles), dice))


@pytest.mark.attack(cases=3, share=3, limit=600)
def test_an_index_or_export_whose_storage_fails(attack: Attack, bundles: list[Scene]) -> None:
    attack(lambda dice: spoil(dice.choice(bundles), dice))
