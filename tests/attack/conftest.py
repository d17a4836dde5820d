"""Makes the modules beside the attacks importable (importlib mode), shares the time among them and counts their cases."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
# The other folders have the small shops, stores, runs and bundles that attacks begin with.
OTHERS = ("pipeline", "pipeline/keeping", "pipeline/stores", "model", "model/studies")
sys.path[:0] = [str(HERE), *(str(HERE.parent / name) for name in OTHERS)]
os.environ.setdefault("OMP_NUM_THREADS", "1")  # before PyTorch is imported

from budget import SECONDS, SEED, Attack  # noqa: E402


def pytest_collection_modifyitems(session: pytest.Session, items: list[pytest.Item]) -> None:
    marks = [mark for item in items if (mark := item.get_closest_marker("attack"))]
    shares = sum(mark.kwargs.get("share", 1) for mark in marks)
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    session.config.stash[_SECONDS_PER_SHARE] = SECONDS * workers / max(shares, 1)


@pytest.fixture
def attack(request: pytest.FixtureRequest) -> Iterator[Attack]:
    """The cases of a test with the mark `attack(cases=..., share=1, limit=20, memory=None)`, and what they came to."""
    mark = request.node.get_closest_marker("attack").kwargs
    seconds = request.config.stash[_SECONDS_PER_SHARE] * mark.get("share", 1)
    found = Attack(
        request.node.nodeid, mark["cases"], mark.get("limit", 20), seconds, mark.get("memory")
    )
    yield found
    request.node.user_properties.append((_SUMMARY, found.summary()))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    lines = [
        text
        for reports in terminalreporter.stats.values()
        for report in reports
        if getattr(report, "when", None) == "teardown"
        for name, text in report.user_properties
        if name == _SUMMARY
    ]
    if lines:
        terminalreporter.section(f"attacks with the seed {SEED}")
        for line in sorted(lines):
            terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An output folder with a small generation."""
    from heterrec_schemas.testing import Settings, shop, small_generation

    folder = tmp_path_factory.mktemp("data")
    goods = shop(0, items=30, users=30, interactions=500, dim=8)
    small_generation(folder, 0, settings=Settings(), goods=goods)
    return folder


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Path:
    """A run of two steps."""
    from tiny_run import TINY

    from heterrec_model.training.train import train

    folder = tmp_path_factory.mktemp("runs") / "run"
    train(TINY, data=data, run=folder, quiet=True)
    return folder


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory, run: Path, data: Path) -> Path:
    """The bundle of the run."""
    from heterrec_model.serving.export import export

    return export(run, data, tmp_path_factory.mktemp("bundles") / "bundle").path


_SECONDS_PER_SHARE = pytest.StashKey[float]()
_SUMMARY = "attack"
