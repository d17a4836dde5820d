"""Makes the module beside the tests importable (importlib mode), and builds one small shop per run."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from corner_shop import Shop, heterrec  # noqa: E402


@pytest.fixture(scope="session")
def built_shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """A shop with one generation, built by the command line; tests work on copies of it."""
    shop = Shop(tmp_path_factory.mktemp("shop"))
    shop.write()
    done = heterrec("build", *shop.arguments())
    assert done.code == 0, done.err
    return shop


@pytest.fixture
def shop(built_shop: Shop, tmp_path: Path) -> Iterator[Shop]:
    """A copy of the shop and its generation, to spoil."""
    return built_shop.copy(tmp_path / "shop")
