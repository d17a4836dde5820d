"""Beam's metrics of a build agree with its manifest; tests/engines covers other engines."""

import re
from pathlib import Path
from typing import Any

import pytest
from counts_agree import check
from fixed import catalogue, denormalised, empty_splits


@pytest.mark.parametrize("make", [catalogue, denormalised, empty_splits])
def test_the_local_engine(make: Any, tmp_path: Path) -> None:
    """Every counter is documented, too."""
    page = (Path(__file__).parents[2] / "docs" / "operations.md").read_text(encoding="utf-8")
    for name in check(make(), tmp_path).metrics:
        known = re.sub(r"^(items|users)(\.joins\[\d+\])?\.", "<table>.", name)
        known = re.sub(r"^(item|user)/.*\.", r"\1/<feature>.", known)
        known = re.sub(r"^rejects\..*", "rejects.<reason>", known)
        assert f"`{known}`" in page or f"`.{known.split('.')[-1]}`" in page, name


THREADS = ("--direct_num_workers=2", "--direct_running_mode=multi_threading")


@pytest.mark.slow
def test_several_threads(tmp_path: Path) -> None:
    check(catalogue(), tmp_path, *THREADS, files=4)
