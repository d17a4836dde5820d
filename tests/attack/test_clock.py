"""Clocks that are wrong, or are set while commands run: nothing in use is deleted, and nothing fails."""

import re
from random import Random

import pytest
from budget import Attack
from chains import named, standing
from faults import Fault, Kind
from pipeline_scenes import FIRST, SECOND, THIRD, keeping_scenes, shop_scenes
from scenes import LONG, Scene, telling

from heterrec_pipeline.keeping import pin
from heterrec_schemas.leases import reader_lease
from heterrec_schemas.testing.generation import small_generation

HOUR, YEAR = 3600, 365 * 86_400
SHIFTS = (0, -20 * YEAR, -YEAR, -2 * HOUR, 2 * HOUR, YEAR, 50 * YEAR)
ODD = re.compile(r"\b(nan|inf)\b|(?<![\w.])-\d+ s\b")
"""Rates and times that no progress shows."""


@pytest.fixture(scope="module")
def chains(tmp_path_factory: pytest.TempPathFactory) -> list[Scene]:
    """Commands that keep generations."""
    source = small_generation(tmp_path_factory.mktemp("source"), 1)
    return list(keeping_scenes(tmp_path_factory.mktemp("chains"), source))


@pytest.fixture(scope="module")
def shops(tmp_path_factory: pytest.TempPathFactory) -> list[Scene]:
    """Commands that build, by one process."""
    found = shop_scenes(tmp_path_factory.mktemp("shops"))
    return [scene for scene in found if "workers" not in scene.name]


def drawn(scene: Scene, dice: Random) -> Fault:
    """A clock that is wrong from the beginning, and is set at some call."""
    at = dice.randint(1, scene.whole[0])
    return Fault(Kind.STEP, at, shift=dice.choice(SHIFTS), step=dice.choice(SHIFTS))


def set_clock(scene: Scene, dice: Random) -> str:
    """Run a command, then run it again by the right clock."""
    fault = drawn(scene, dice)
    with scene.copy() as folder, telling(scene, fault):
        done = scene.run(folder, fault).done
        assert done.code == 0, done.err
        assert not ODD.search(done.err), done.err
        scene.check(folder)
        if scene.name != "purge":  # which keeps what it takes for young
            scene.same(folder)
        scene.finish(folder)
    return scene.name


def purge_what_is_used(purge: Scene, dice: Random) -> str:
    """A purge by a wrong clock beside a reader and a pin."""
    fault = drawn(purge, dice)
    with purge.copy() as folder, telling(purge, fault):
        output = folder / "output"
        pin(str(output), SECOND)
        with reader_lease(str(output / "generations" / FIRST), "train", required=True):
            done = purge.run(folder, fault).done
            assert done.code == 0, done.err
            assert standing(output) == [FIRST, SECOND, THIRD]
            assert [*output.glob(f"leases/{FIRST}/*.json")], "the lease is gone"
        assert named(output) == THIRD
    return "purge of what is used"


@pytest.mark.attack(cases=6, share=2, limit=300)
def test_clocks_of_publish_pin_and_purge(attack: Attack, chains: list[Scene]) -> None:
    (purge,) = (scene for scene in chains if scene.name == "purge")

    def case(dice: Random) -> str:
        if dice.random() < 0.4:
            return purge_what_is_used(purge, dice)
        return set_clock(dice.choice(chains), dice)

    attack(case)


@LONG
@pytest.mark.attack(cases=1, share=2, limit=300)
def test_clocks_of_builds_and_refreshes(attack: Attack, shops: list[Scene]) -> None:
    attack(lambda dice: set_clock(dice.choice(shops), dice))
