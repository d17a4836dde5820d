"""A bucket on 127.0.0.1 with a small shop, and Dataflow's stand-in; skips without the packages for Google Cloud."""

import importlib.util
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from corner_shop import Shop  # noqa: E402
from stand_ins import BUCKET, PROJECT, REGION, Bucket, Service, serving  # noqa: E402

NEEDED = ("google.cloud.storage", "google.cloud.dataflow_v1beta3", "gcp_storage_emulator")


def _absent(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is None
    except ModuleNotFoundError:
        return True


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    absent = [name for name in NEEDED if _absent(name)]
    for item in items:
        if item.get_closest_marker("dataflow") and absent:
            item.add_marker(pytest.mark.skip(reason=f"needs the extras gcp and dev: no {absent}"))


@pytest.fixture(scope="session")
def storage_server() -> Iterator[str]:
    """The emulator's address."""
    from gcp_storage_emulator.server import create_server

    server = create_server("127.0.0.1", 0, in_memory=True, default_bucket=BUCKET)
    server.start()
    while server._api._httpd is None:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{server._api._httpd.server_address[1]}"
    server.stop()


@pytest.fixture
def bucket(storage_server: str, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    """A bucket with only the shop below shop/ and its spec below specs/."""
    from google.cloud import storage

    monkeypatch.setenv("STORAGE_EMULATOR_HOST", storage_server)
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    # Beam would look for real credentials for 20 seconds.
    monkeypatch.setattr("apache_beam.internal.gcp.auth.get_service_credentials", lambda _: None)
    found = Bucket(storage.Client.create_anonymous_client().bucket(BUCKET))
    found.empty("")
    found.put(shop.input, "shop")
    found.handle.blob("specs/spec.yaml").upload_from_filename(str(shop.spec_path))
    return found


@pytest.fixture
def service() -> Iterator[Service]:
    """Dataflow's stand-in; its jobs run until they are cancelled, unless a test sets `work`."""
    with serving(Service()) as found:
        yield found


@pytest.fixture
def flags(service: Service) -> list[str]:
    """The flags after `--` that a call of Dataflow needs."""
    return [
        "--runner=DataflowRunner",
        f"--project={PROJECT}",
        f"--region={REGION}",
        f"--temp_location=gs://{BUCKET}/tmp",
        "--no_auth",
        f"--dataflow_endpoint={service.url}",
    ]
