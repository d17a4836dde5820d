import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("starlette", reason="needs the serve extra")
sys.path.insert(0, str(Path(__file__).resolve().parent))

from running_service import Running, run_service
from stub_bundle import write_bundle


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("bundle") / "b")


@pytest.fixture(scope="session")
def running(bundle: Path) -> Iterator[Running]:
    running = run_service(bundle)
    yield running
    running.service.stop()
    running.thread.join(10)
    assert not running.thread.is_alive()
