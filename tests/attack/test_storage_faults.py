"""Object stores that fail at some requests, or from one on: the same bytes, or an error in words and nothing torn."""

import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest
from budget import Attack
from corner_shop import Shop
from emulators import Asked, Emulator, Fault, Proxy
from scenes import LONG
from shops import build_there
from shops import stock as stock_shop
from store_fixtures import forget
from store_fixtures import started as started
from store_fixtures import store_named as store_named

from heterrec_pipeline.files import storage
from heterrec_pipeline.keeping import pin, publish, purge, survey, unpin
from heterrec_pipeline.publishing.latest import read_latest
from heterrec_schemas.errors import HeterrecError
from heterrec_schemas.generation import open_generation
from heterrec_schemas.leases import reader
from heterrec_schemas.manifest import Ancestor, Manifest
from heterrec_schemas.testing.generation import small_generation
from heterrec_schemas.testing.shop import Settings

IDS = [f"20260101T00000000{k}Z-0000000{k}" for k in (1, 2, 3)]
TRANSIENT: list[int | float | str] = [429, 500, 503, "drop", "lost", "cut", 0.3]
"""What a client has to try again, or to wait for."""
LASTING: list[int | float | str] = [403, 500, 503, "drop", "cut"]
MOST_FAULTS = 6


@dataclass
class Work:
    """Something done in a store: what is there before, the call, and what is there afterwards."""

    name: str
    stock: Callable[[str], None]
    call: Callable[[str], Any]
    requests: dict[str, int] = field(default_factory=dict)
    """How many requests it makes, by the scheme of the store."""
    wanted: dict[str, Any] = field(default_factory=dict)


def chain(folder: str, source: Path) -> None:
    """Three generations, the last one published."""
    manifest = Manifest.model_validate_json((source / "manifest.json").read_text())
    for k, name in enumerate(IDS):
        root = f"{folder}/generations/{name}"
        own = manifest.model_copy(
            update={
                "generation": name,
                "parent": IDS[k - 1] if k else None,
                "lineage": [Ancestor(generation=a, content_sha256="0" * 64) for a in IDS[:k]],
            }
        )
        files = {f.path: (source / f.path).read_bytes() for f in manifest.files}
        with ThreadPoolExecutor(4) as pool:
            list(
                pool.map(lambda f, r=root: storage.write_bytes(f"{r}/{f[0]}", f[1]), files.items())
            )
        storage.write_bytes(f"{root}/manifest.json", own.to_json().encode())
    storage.write_bytes(f"{folder}/latest.json", b'{"generation": "%s"}' % IDS[-1].encode())


@pytest.fixture(scope="module")
def works(tmp_path_factory: pytest.TempPathFactory) -> list[Work]:
    """The short ones, of a chain."""
    few = Settings(item_shards=1, sequence_shards=1)
    source = small_generation(tmp_path_factory.mktemp("source"), 1, settings=few)

    def work(name: str, call: Callable[[str], Any], pinned: bool = False) -> Work:
        def stock(folder: str) -> None:
            chain(folder, source)
            if pinned:
                pin(folder, IDS[0])

        return Work(name, stock, call)

    def read(folder: str) -> Any:
        generation = open_generation(folder, verify="hashes")
        return [generation.items(), *(generation.sequences(s) for s in ("train", "latest"))]

    return [
        work("publish", lambda at: publish(at, IDS[1]) and None),
        work("pin", lambda at: pin(at, IDS[1]) and None),
        work("unpin", lambda at: unpin(at, IDS[0]) and None, pinned=True),
        work("purge", lambda at: purge(at, 1, grace=timedelta(0)) and None),
        work("list", lambda at: [one.id for one in survey(at).listed]),
        work("read", read),
    ]


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Work:
    """A build of the corner shop in the store."""
    shop = Shop(tmp_path_factory.mktemp("shop"))
    shop.write()

    def call(folder: str) -> str:
        return build_there(shop, folder).manifest.content_sha256

    return Work("build", lambda folder: stock_shop(shop, folder) and None, call)


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "_PAUSE", 0.01)


def state(folder: str) -> Any:
    """What an output shows to readers."""
    output = folder if storage.exists(f"{folder}/latest.json") else f"{folder}/output"
    if not storage.exists(f"{output}/latest.json"):
        return None
    latest = open_generation(output, verify="hashes")
    pins = storage.files_in(f"{output}/pins")
    standing = []
    for root in storage.folders(f"{output}/generations"):
        if storage.exists(f"{root}/manifest.json"):
            standing.append(open_generation(root, verify="hashes").manifest.content_sha256)
    return read_latest(output).names in latest.root, latest.manifest.content_sha256, pins, standing


def undisturbed(work: Work, store: Emulator) -> None:
    """Count the requests of a work, and keep what it comes to."""
    if store.scheme in work.requests:
        return
    folder = fresh(work, store)
    got = work.call(folder)
    work.requests[store.scheme] = len(store.proxy.asked)
    work.wanted[store.scheme] = got, state(folder)


def fresh(work: Work, store: Emulator) -> str:
    """A folder of the store in which a work may begin."""
    store.proxy.calm()
    folder = f"{store.bucket}/{uuid.uuid4().hex}"
    work.stock(folder)
    store.proxy.calm()
    return folder


def numbered(proxy: Proxy, number: int, after: bool = False) -> Callable[[Asked], bool]:
    """Chooses a request by its number, or all after it too."""
    return lambda asked: len(proxy.asked) == number or (after and len(proxy.asked) > number)


def scattered(work: Work, store: Emulator, dice: Random) -> str:
    """Some requests fail once: the work is done all the same, as if they had not."""
    undisturbed(work, store)
    folder, faults = fresh(work, store), []
    for _ in range(dice.randint(1, MOST_FAULTS)):
        number = dice.randint(1, work.requests[store.scheme])
        faults.append(Fault(dice.choice(TRANSIENT), numbered(store.proxy, number)))
    if dice.random() < 0.3:
        faults.append(Fault(412, conditional))
    store.proxy.faults = list(faults)
    got = work.call(folder)
    store.proxy.calm()
    assert (got, state(folder)) == work.wanted[store.scheme], [f.kind for f in faults]
    return f"with {sum(fault.times < 1 for fault in faults)} faults"


def conditional(asked: Asked) -> bool:
    """Whether a request writes only if the object is as it was read."""
    if asked.reads:  # a read of one version: there, the answer says that the object was replaced
        return False
    return "ifGenerationMatch" in asked.query or "if-match" in asked.headers


def lasting(work: Work, store: Emulator, dice: Random) -> str:
    """From one request on all fail: an error in words, nothing torn, and the next call does it."""
    undisturbed(work, store)
    folder = fresh(work, store)
    before = state(folder)
    kind, number = dice.choice(LASTING), dice.randint(1, work.requests[store.scheme])
    store.proxy.faults = [Fault(kind, numbered(store.proxy, number, after=True), times=10**9)]
    told = f"{work.name}, {store.scheme}, {kind} from request {number} on"
    outcome = "succeeded"
    try:
        with patience(2):
            work.call(folder)
    except HeterrecError as error:
        outcome = "failed in words"
        if "unexpected" in error.message:
            raise
    except Exception as error:
        raise AssertionError(f"{told}: {type(error).__name__}: {error}") from error
    store.proxy.calm()
    now = state(folder)
    if before is not None:
        assert now is not None, f"{told}: latest.json is gone"
    got = work.call(folder)
    assert (got, state(folder)[:3]) == (
        work.wanted[store.scheme][0],
        work.wanted[store.scheme][1][:3],
    ), told
    return outcome


@contextmanager
def patience(seconds: float) -> Iterator[None]:
    """Give requests only so many seconds during the block."""
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("HETERREC_STORE_SECONDS", str(seconds))
            forget()
            yield
    finally:
        forget()


def shortened(work: Work, store: Emulator, dice: Random) -> str:
    """An answer lacks its end without saying so: never is it taken for the whole."""
    undisturbed(work, store)
    folder, number = fresh(work, store), dice.randint(1, work.requests[store.scheme])
    chosen = numbered(store.proxy, number)
    fault = Fault("short", lambda asked: chosen(asked) and asked.reads)
    store.proxy.faults = [fault]
    try:
        got = work.call(folder)
    except HeterrecError:
        return "failed in words"
    finally:
        store.proxy.calm()
    assert (got, state(folder)) == work.wanted[store.scheme], number
    return "succeeded" if fault.times < 1 else "undisturbed"


@pytest.fixture(params=["gs", "s3"])
def store(
    request: pytest.FixtureRequest,
    store_named: Callable[[str], Emulator],
    monkeypatch: pytest.MonkeyPatch,
) -> Emulator:
    """A store whose clients try for a minute."""
    found = store_named(request.param)
    monkeypatch.setenv("HETERREC_STORE_SECONDS", "60")
    forget()
    return found


@pytest.mark.attack(cases=3, share=4, limit=120)
def test_stores_that_fail(attack: Attack, works: list[Work], store: Emulator) -> None:
    def case(dice: Random) -> str:
        work = dice.choice(works)
        return dice.choice([scattered, lasting, shortened])(work, store, dice)

    attack(case)


@LONG
@pytest.mark.attack(cases=1, share=3, limit=300)
def test_builds_in_stores_that_fail(attack: Attack, build: Work, store: Emulator) -> None:
    attack(lambda dice: dice.choice([scattered, lasting, shortened])(build, store, dice))
