"""A bundle with a stub for the model, and calls of the bulk job."""

import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bulk_calls import ITEMS, USERS, Call
from made_bundle import clustered, made_bundle, made_histories

from heterrec_model.bulk.run import BulkResult, recommend_all
from heterrec_model.bundle.reader import Bundle


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("bulk") / "bundle"
    return made_bundle(
        folder, clustered(ITEMS, 8, 1), clustered(40, 8, 2), users=made_histories(USERS, ITEMS)
    )


@pytest.fixture
def call(bundle: Bundle, tmp_path: Path) -> Call:
    """`recommend_all` with the stub, 5 shards and one worker unless told otherwise."""

    def made(**arguments: Any) -> BulkResult:
        defaults: dict[str, Any] = {
            "bundle": bundle.folder,
            "output": tmp_path / "out",
            "k": 7,
            "workers": 1,
            "shards": 5,
            "recommender": "made_bundle:open_stub",
        }
        return recommend_all(**(defaults | arguments))

    return made
