"""Unreliable stores: transient failures are retried; anything else fails as a whole, within a bounded time."""

import hashlib
import itertools
import random
import time
from collections import Counter
from typing import Any

import pytest
from corner_shop import Shop
from emulators import Asked, Emulator, Fault
from shops import build_there, stock, tables

from heterrec_pipeline.files import storage
from heterrec_pipeline.publishing.latest import point_latest
from heterrec_schemas import stores
from heterrec_schemas.errors import RunError
from heterrec_schemas.generation import open_generation

MB = 2**20
KINDS: list[int | float | str] = [429, 500, 503, "drop", "lost", "cut", 1.0]


@pytest.mark.parametrize("kind", KINDS)
def test_every_request_may_fail_once(store: Emulator, folder: str, kind: int | float | str) -> None:
    if kind == 1.0:
        store.proxy.faults = [Fault(1.0, times=2)]
    else:
        store.proxy.faults = [Fault(kind, each=True)]
    small, large = b"small", random.Random(6).randbytes(9 * MB)
    storage.write_bytes(f"{folder}/.small", small)
    storage.write_bytes(f"{folder}/large", large)
    assert storage.sha256_of(f"{folder}/large") == hashlib.sha256(large).hexdigest()
    storage.rename([(f"{folder}/.small", f"{folder}/small")])
    assert storage.files_below(folder) == [f"{folder}/large", f"{folder}/small"]
    storage.create_bytes(f"{folder}/once", b"1", "x")
    storage.update_bytes(f"{folder}/once", lambda held: (held or b"") + b"2", "x")
    assert storage.read_bytes(f"{folder}/once") == b"12"
    storage.delete_tree(folder)
    assert storage.files_below(folder) == []


def test_a_conditional_write_whose_answer_was_lost_counts(store: Emulator, folder: str) -> None:
    store.proxy.faults = [Fault("lost", lambda asked: asked.writes)]
    storage.create_bytes(f"{folder}/manifest.json", b"{}", "x")
    assert storage.read_bytes(f"{folder}/manifest.json") == b"{}"
    store.proxy.faults = [Fault("lost", lambda asked: asked.writes)]
    point_latest(folder, "20261122T000000001Z-0000000a", "x")
    assert b"20261122T000000001Z-0000000a" in storage.read_bytes(f"{folder}/latest.json")


@pytest.mark.parametrize("kind", [503, "drop", 30.0])
def test_a_store_that_is_out_is_given_up_in_time(
    store: Emulator, folder: str, monkeypatch: pytest.MonkeyPatch, kind: int | float | str
) -> None:
    monkeypatch.setenv("HETERREC_STORE_SECONDS", "1")
    stores.forget()
    store.proxy.faults = [Fault(kind, times=1000)]
    began = time.monotonic()
    with pytest.raises(RunError, match=r"writing .*/x: the store has not answered as it should in"):
        storage.write_bytes(f"{folder}/x", b"1")
    assert time.monotonic() - began < 15
    began = time.monotonic()
    storage.delete_files([f"{folder}/{k}" for k in range(20)])  # not a second each
    assert time.monotonic() - began < 15
    store.proxy.calm()
    storage.write_bytes(f"{folder}/x", b"1")


class Stumbling(Fault):
    """Every seventh request meets the next kind of fault."""

    def __init__(self) -> None:
        super().__init__(0)
        self.count = itertools.count(1)
        self.kinds = itertools.cycle([*KINDS[:-1], 0.3])
        self.met: Counter[Any] = Counter()

    def hits(self, asked: Asked) -> bool:
        if next(self.count) % 7:
            return False
        self.kind = next(self.kinds)
        self.met[self.kind] += 1
        return True


def test_a_build_goes_through_a_stumbling_store(store: Emulator, folder: str, shop: Shop) -> None:
    stock(shop, folder)
    stumbling = Stumbling()
    store.proxy.faults = [stumbling]
    result = build_there(shop, folder)
    assert min(stumbling.met[kind] for kind in KINDS[:-1]) > 3
    store.proxy.calm()
    opened = open_generation(f"{folder}/output")
    assert opened.root == result.path
    local = tables(shop.output / "generations" / shop.latest())
    remote = {f.path: f.sha256 for f in opened.manifest.files}
    assert remote == {path: hashlib.sha256(data).hexdigest() for path, data in local.items()}


@pytest.mark.parametrize(("store", "kind"), [("gs", 503), ("s3", "drop")], indirect=["store"])
def test_a_build_fails_whole_when_the_store_goes(
    store: Emulator, folder: str, shop: Shop, monkeypatch: pytest.MonkeyPatch, kind: int | str
) -> None:
    stock(shop, folder)
    storage.write_bytes(f"{folder}/output/latest.json", b'{"generation": "an earlier one"}')
    monkeypatch.setenv("HETERREC_STORE_SECONDS", "2")
    stores.forget()
    writes = itertools.count()
    gone: list[float] = []

    def from_the_thirtieth(asked: Asked) -> bool:
        if not gone and asked.writes and next(writes) == 30:
            gone.append(time.monotonic())
        return bool(gone)

    store.proxy.faults = [Fault(kind, from_the_thirtieth, times=10**6)]
    with pytest.raises(
        RunError, match=r"the run failed, .* the store has not answered as it should"
    ):
        build_there(shop, folder)
    assert time.monotonic() - gone[0] < 40
    store.proxy.calm()
    stores.forget()
    left = storage.files_below(f"{folder}/output")
    assert not [path for path in left if path.endswith("manifest.json")]
    assert storage.read_bytes(f"{folder}/output/latest.json") == b'{"generation": "an earlier one"}'
