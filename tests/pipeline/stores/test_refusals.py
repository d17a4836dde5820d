"""Refused requests are reported at once, as a mistake in the call."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from corner_shop import Shop
from emulators import Emulator, Fault
from shops import build_there, stock

from heterrec_pipeline.files import storage
from heterrec_schemas import stores
from heterrec_schemas.errors import CallError, DataError
from heterrec_schemas.generation import open_generation

CALLS: dict[str, Callable[[str], object]] = {
    "read": lambda folder: storage.matched(folder, "items.csv"),
    "write": lambda folder: storage.write_bytes(f"{folder}/x", b"1"),
    "list": lambda folder: storage.files_below(folder),
    "update": lambda folder: storage.update_bytes(f"{folder}/x", lambda _: b"1", "x"),
    "rename": lambda folder: storage.rename([(f"{folder}/x", f"{folder}/y")]),
}


@contextmanager
def at_once() -> Iterator[None]:
    """Within seconds, not after the retries of an outage."""
    began = time.monotonic()
    yield
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("call", ["read", "write", "list", "update"])
def test_a_missing_bucket_is_named(store: Emulator, call: str) -> None:
    folder = f"{store.scheme}://no-such-bucket/folder"
    with at_once(), pytest.raises(CallError, match="there is no bucket no-such-bucket"):
        CALLS[call](folder)


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("status", [401, 403])
def test_what_is_denied_is_said(store: Emulator, folder: str, call: str, status: int) -> None:
    store.proxy.faults = [Fault(status, times=1000)]
    with (
        at_once(),
        pytest.raises(CallError, match=r"(the store refuses|there are no credentials for it): .* "),
    ):
        CALLS[call](folder)


@pytest.mark.parametrize("call", CALLS)
def test_missing_credentials_are_said(
    store: Emulator, folder: str, call: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    without_credentials(monkeypatch, tmp_path)
    with at_once(), pytest.raises(CallError, match=r"there are no credentials for it: .* "):
        CALLS[call](folder)


def without_credentials(patch: pytest.MonkeyPatch, home: Path) -> None:
    """An environment without any credentials, outside any cloud."""
    for name in ("STORAGE_EMULATOR_HOST", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        patch.delenv(name)
    patch.setenv("NO_GCE_CHECK", "true")
    patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    patch.setenv("CLOUDSDK_CONFIG", str(home))
    patch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(home / "none"))
    patch.setenv("AWS_CONFIG_FILE", str(home / "none"))
    patch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    stores.forget()


def test_a_build_says_so_before_it_begins(store: Emulator, folder: str, shop: Shop) -> None:
    with at_once(), pytest.raises(DataError, match="there is no bucket no-such-bucket"):
        build_there(shop, f"{store.scheme}://no-such-bucket")
    stock(shop, folder)
    store.proxy.faults = [Fault(403, lambda asked: asked.writes, times=1000)]
    with at_once(), pytest.raises(CallError, match=r"/output.* the store refuses"):
        build_there(shop, folder)


def test_a_reader_is_told_too(store: Emulator) -> None:
    with at_once(), pytest.raises(CallError, match="there is no bucket no-such-bucket"):
        open_generation(f"{store.scheme}://no-such-bucket/output")


def test_a_store_without_its_extra(store: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, f"heterrec_schemas.stores.{store.scheme}", None)
    with pytest.raises(CallError, match=f"with the extra {store.scheme}"):
        storage.exists(f"{store.scheme}://b/k")


def test_a_uri_without_a_bucket(store: Emulator) -> None:
    with pytest.raises(CallError, match="names no bucket"):
        storage.read_bytes(f"{store.scheme}:///k")


def test_seconds_must_be_a_number(store: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HETERREC_STORE_SECONDS", "soon")
    stores.forget()
    with pytest.raises(CallError, match=r"HETERREC_STORE_SECONDS: got soon"):
        storage.exists(f"{store.bucket}/k")
