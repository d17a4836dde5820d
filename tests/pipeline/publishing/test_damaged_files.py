"""Files that other builds left in an output, damaged or forged, never stop a later build."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from heterrec_pipeline.publishing import lease
from heterrec_pipeline.publishing.latest import point_latest
from heterrec_schemas.leases import lease as held

NOW = datetime(2024, 3, 4, 5, 6, 7, tzinfo=UTC)
NAME = "20240304T050607089Z-00000001"
DEEP = b"[" * 100_000
DAMAGED = [b"", b"\xff\x00", b"{", b"[]", b"1", b"null", DEEP, b'{"a":' * 50_000]
VALUES: list[Any] = [
    None,
    True,
    -1,
    0,
    10**40,
    1e308,
    "",
    "x",
    "9" * 50,
    [],
    {},
    "0001-01-01",
    "9999-12-31",
]


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait for signs of life of builders elsewhere."""
    monkeypatch.setattr(held, "WATCH_SECONDS", 0)


def sweep_with(output: Path, text: bytes) -> None:
    path = output / "generations" / NAME / lease.LEASE_NAME
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text)
    lease.sweep(str(output), NOW)


@pytest.mark.parametrize("text", DAMAGED, ids=range(len(DAMAGED)))
def test_an_unreadable_lease(tmp_path: Path, text: bytes) -> None:
    sweep_with(tmp_path, text)


def test_a_lease_with_any_value(tmp_path: Path) -> None:
    lease.begin(str(tmp_path), NAME, NOW)
    path = tmp_path / "generations" / NAME / lease.LEASE_NAME
    body = json.loads(path.read_text())
    for key in body:
        for value in VALUES:
            sweep_with(tmp_path, json.dumps(body | {key: value}).encode())


def test_a_folder_in_its_place(tmp_path: Path) -> None:
    (tmp_path / "generations" / NAME / lease.LEASE_NAME).mkdir(parents=True)
    lease.sweep(str(tmp_path), NOW)


@pytest.mark.parametrize("text", DAMAGED, ids=range(len(DAMAGED)))
def test_a_damaged_latest_is_replaced(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "latest.json").write_bytes(text)
    point_latest(str(tmp_path), NAME, "attempt")
    assert json.loads((tmp_path / "latest.json").read_text()) == {"generation": NAME}
