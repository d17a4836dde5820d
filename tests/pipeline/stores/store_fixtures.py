"""Fixtures of emulated stores, started once per run; each test has its own clients and folders."""

import uuid
from collections.abc import Callable, Iterator

import pytest
from apache_beam.io.filesystems import FileSystems
from emulators import Emulator, start

from heterrec_pipeline.files import store_flags
from heterrec_schemas import stores
from heterrec_schemas.stores import retry


@pytest.fixture(scope="session")
def started() -> Iterator[dict[str, Emulator]]:
    """The running emulators by scheme."""
    running: dict[str, Emulator] = {}
    yield running
    for emulator in running.values():
        emulator.stop()


@pytest.fixture
def store_named(
    started: dict[str, Emulator], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str], Emulator]]:
    """Gives the emulator of a scheme without faults; the environment points at it."""
    used = []

    def named(scheme: str) -> Emulator:
        if scheme not in started:
            started[scheme] = start(scheme)
        emulator = started[scheme]
        used.append(emulator)
        emulator.proxy.calm()
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", emulator.proxy.url)
        monkeypatch.setenv("AWS_ENDPOINT_URL", emulator.proxy.url)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "some")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        monkeypatch.setenv("HETERREC_STORE_SECONDS", "20")
        monkeypatch.setattr(retry, "FIRST_PAUSE", 0.02)
        forget()
        return emulator

    yield named
    for emulator in used:
        emulator.proxy.calm()
    forget()


@pytest.fixture(params=["gs", "s3"])
def store(request: pytest.FixtureRequest, store_named: Callable[[str], Emulator]) -> Emulator:
    """Each of the stores."""
    return store_named(request.param)


def forget() -> None:
    """Reset to the state of a new process."""
    FileSystems.set_options(None)
    store_flags._followed[0] = None
    stores.forget()


@pytest.fixture
def folder(store: Emulator) -> str:
    """A folder of the store that no other test uses."""
    return f"{store.bucket}/{uuid.uuid4().hex}"
