"""The programs of the folder `dependencies`, which import each other by name as scripts do."""

import importlib
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[1]


def dependency_program(name: str) -> ModuleType:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "dependencies"))
        return importlib.import_module(name)
