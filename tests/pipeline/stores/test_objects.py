"""Objects of both stores: written, found, read in pieces, copied, deleted, and written on conditions."""

import gzip
import hashlib
import io
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from emulators import Emulator

from heterrec_pipeline.files import storage
from heterrec_pipeline.reading.shaping.partitions import source_files
from heterrec_schemas import stores
from heterrec_schemas.errors import RunError
from heterrec_schemas.feature_spec import Source
from heterrec_schemas.generation import open_folder
from heterrec_schemas.stores import reader, writer

MB = 2**20


def test_a_small_object_is_one_request(store: Emulator, folder: str) -> None:
    path = f"{folder}/a.bin"
    sha256 = storage.write_bytes(path, b"hello")
    assert [a.method for a in store.proxy.asked] == [{"gs": "POST", "s3": "PUT"}[store.scheme]]
    assert sha256 == hashlib.sha256(b"hello").hexdigest()
    assert storage.read_bytes(path) == b"hello"
    assert storage.exists(path)
    assert not storage.exists(f"{folder}/a")
    storage.write_bytes(path, b"")
    assert storage.read_bytes(path) == b""


def test_a_large_object_goes_in_parts(
    store: Emulator, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = random.Random(1).randbytes(20 * MB + 17)
    path = f"{folder}/large.bin"
    with storage.open_write(path) as out:
        for start in range(0, len(data), 3 * MB):
            out.write(data[start : start + 3 * MB])
    longest = max(int(a.headers.get("content-length", 0)) for a in store.proxy.asked)
    assert longest < 9 * MB
    assert storage.sha256_of(path) == hashlib.sha256(data).hexdigest() == out.sha256
    with storage.open_write(path) as out:  # of exactly two parts
        out.write(data[: 2 * writer.PART])
    large = storage.matched(folder, "large.bin")
    assert large == storage.matched("", path)
    assert [f.bytes for f in large] == [2 * writer.PART]
    assert storage.sha256_of(path) == out.sha256


def test_parts_grow_so_that_ten_thousand_hold_the_largest_object() -> None:
    assert writer.part_bytes(0) == writer.part_bytes(999) == 8 * MB
    assert writer.part_bytes(1000) == 72 * MB
    assert sum(writer.part_bytes(n) for n in range(10_000)) > 2.5 * 2**40


@pytest.mark.parametrize("size", [5, 20 * MB])
def test_what_fails_while_it_is_written_never_appears(
    store: Emulator, folder: str, size: int
) -> None:
    path = f"{folder}/half.bin"

    def half() -> None:
        with storage.open_write(path) as out:
            out.write(bytes(size))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        half()
    assert not storage.exists(path)
    assert storage.files_below(folder) == []


def test_only_the_wanted_ranges_are_fetched(store: Emulator, folder: str) -> None:
    table = pa.table({f"c{k}": random.Random(k).sample(range(2**40), 200_000) for k in range(8)})
    held = io.BytesIO()
    pq.write_table(table, held, compression="none", row_group_size=50_000)
    path = f"{folder}/t.parquet"
    storage.write_bytes(path, held.getvalue())
    store.proxy.calm()
    with storage.open_arrow(path) as handle:
        got = pq.ParquetFile(handle).read_row_group(2, columns=["c3"])
    assert got["c3"].to_pylist() == table["c3"].slice(100_000, 50_000).to_pylist()
    ranges = [a.headers["range"] for a in store.proxy.asked if a.reads]
    spans = [[int(n) for n in r.removeprefix("bytes=").split("-")] for r in ranges]
    assert sum(stop - start + 1 for start, stop in spans) < 2 * MB < len(held.getvalue()) / 6


def test_a_stream_reads_ahead_and_never_holds_much(store: Emulator, folder: str) -> None:
    data = random.Random(2).randbytes(30 * MB)
    path = f"{folder}/s.bin"
    storage.write_bytes(path, data)
    store.proxy.calm()
    got = hashlib.sha256()
    with storage.open_read(path) as handle:
        while piece := handle.read(100_000):
            got.update(piece)
            assert len(handle._held) <= reader.MOST  # type: ignore[attr-defined]
    assert got.digest() == hashlib.sha256(data).digest()
    assert len([a for a in store.proxy.asked if a.reads]) < 12


def test_any_reads_are_those_of_a_file(store: Emulator, folder: str, tmp_path: Path) -> None:
    data = random.Random(3).randbytes(3 * MB)
    (tmp_path / "f").write_bytes(data)
    storage.write_bytes(f"{folder}/f", data)
    draw = random.Random(4)
    with storage.open_read(f"{folder}/f") as one, (tmp_path / "f").open("rb") as two:
        for _ in range(60):
            size = draw.choice([0, 1, 1000, 300_000, MB])
            if draw.random() < 0.5:
                to = draw.randrange(-5, len(data) + 5)
                assert one.seek(max(0, to)) == two.seek(max(0, to))
            elif draw.random() < 0.3:
                assert one.seek(-size, 2) == two.seek(-size, 2)
            assert one.read(size) == two.read(size)
            assert one.tell() == two.tell()
        one.seek(5)
        assert one.read() == data[5:]


def test_what_is_replaced_while_it_is_read_is_an_error(store: Emulator, folder: str) -> None:
    path = f"{folder}/changing.bin"
    storage.write_bytes(path, bytes(MB))
    with storage.open_read(path) as handle:
        handle.read(10)
        storage.write_bytes(path, b"x" * MB)
        handle.seek(MB // 2)
        with pytest.raises(RunError, match=r"changing\.bin was replaced while it was read"):
            handle.read(10)


def test_a_packed_object_comes_as_it_is(store: Emulator, folder: str) -> None:
    packed = gzip.compress(b"a,b\n1,2\n" * 1000, mtime=0)
    storage.write_bytes(f"{folder}/t.csv.gz", packed)
    assert storage.read_bytes(f"{folder}/t.csv.gz") == packed
    with storage.open_read(f"{folder}/t.csv.gz") as raw, gzip.open(raw) as text:
        assert text.read() == b"a,b\n1,2\n" * 1000


def test_objects_are_found_by_globs(store: Emulator, folder: str) -> None:
    folder = f"{folder}/raw [v1] q*?"
    names = ["a.csv", "b.csv", "c.txt", "x/a.csv", "x/y/a.csv", "x[1].csv", "d é+%.csv"]
    storage.write_bytes(f"{folder.removesuffix('*?')}x1/a.csv", b"of a sibling")
    for name in names:
        storage.write_bytes(f"{folder}/{name}", name.encode())

    def found(pattern: str) -> list[str]:
        files = storage.matched(folder, pattern)
        assert all(len(storage.read_bytes(f.path)) == f.bytes for f in files)
        assert all(storage.info(f.path) == f for f in files)
        return [f.path.removeprefix(f"{folder}/") for f in files]

    assert found("*.csv") == ["a.csv", "b.csv", "d é+%.csv", "x[1].csv"]
    assert found("[ab].csv") == ["a.csv", "b.csv"]
    assert found("[!a]?csv") == ["b.csv"]
    assert found("**/a.csv") == ["a.csv", "x/a.csv", "x/y/a.csv"]
    assert found("x/**") == ["x/a.csv", "x/y/a.csv"]
    assert found("x[1].csv") == ["x[1].csv"]
    assert found("x") == found("a.cs") == found("nothing/*") == []
    assert storage.files_in(folder) == sorted(n for n in names if "/" not in n)
    assert not storage.folder_missing(f"{folder}/nothing")
    assert storage.files_below(folder) == sorted(f"{folder}/{n}" for n in names)
    assert open_folder(folder).folders() == ["x"]
    assert open_folder(f"{folder}/x").kind() == "folder"
    assert open_folder(f"{folder}/a.csv").kind() == "file"
    assert open_folder(f"{folder}/none").kind() == "absent"


def test_a_thousand_objects_and_more_are_listed_and_deleted(
    store: Emulator, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = 30
    if store.scheme == "s3":  # Google's emulator knows no pages
        monkeypatch.setattr("heterrec_schemas.stores.s3._PAGE", 7)
    paths = [f"{folder}/{k:04d}/x" for k in range(count)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda p: storage.write_bytes(p, b"1"), paths))
    assert storage.files_below(folder) == paths
    assert open_folder(folder).folders() == [f"{k:04d}" for k in range(count)]
    own = stores.store_of(folder)
    assert isinstance(own, stores.ObjectStore)
    assert [f.path for f in own.below(f"{folder}/", limit=3)] == paths[:3]
    assert storage.folders(folder, holding="x") == [path.removesuffix("/x") for path in paths]
    assert storage.folders(folder, holding="y") == []
    storage.delete_tree(f"{folder}/0007")
    storage.delete_files([paths[8], f"{folder}/absent"])
    assert storage.files_below(folder) == [p for k, p in enumerate(paths) if k not in (7, 8)]
    storage.delete_tree(folder)
    assert storage.files_below(folder) == []


def test_a_rename_can_be_done_again(store: Emulator, folder: str) -> None:
    pairs = [(f"{folder}/.{n}.tmp", f"{folder}/{n}") for n in "abc"]
    for old, _ in pairs:
        storage.write_bytes(old, old.encode())
    storage.rename(pairs[:2])
    storage.rename(pairs)
    assert storage.files_below(folder) == [new for _, new in pairs]
    assert storage.read_bytes(pairs[2][1]) == pairs[2][0].encode()
    with pytest.raises(RunError, match="nowhere cannot be written"):
        storage.rename([(f"{folder}/absent", f"{folder}/nowhere")])


def test_absence_is_told(store: Emulator, folder: str) -> None:
    with pytest.raises(FileNotFoundError):
        storage.open_read(f"{folder}/none")
    assert storage.info(f"{folder}/none") is None
    storage.delete_files([f"{folder}/none"])
    storage.delete_tree(f"{folder}/none")


def test_a_version_changes_with_the_content(store: Emulator, folder: str) -> None:
    path = f"{folder}/v"
    storage.write_bytes(path, b"1")
    one = storage.info(path)
    assert one == storage.info(path)
    assert one is not None
    assert storage.fingerprint(one) == {"etag": one.version}
    storage.write_bytes(path, b"2")
    two = storage.info(path)
    assert two is not None
    assert (two.bytes, two.version != one.version) == (1, True)


def test_a_conditional_write_loses_to_what_it_did_not_expect(store: Emulator, folder: str) -> None:
    path, own = f"{folder}/c", stores.store_of(folder)
    assert isinstance(own, stores.ObjectStore)
    own.put(path, b"1", stores.ABSENT)
    with pytest.raises(stores.ChangedError):
        own.put(path, b"2", stores.ABSENT)
    one = own.stat(path)
    assert one is not None
    own.put(path, b"22", one.version)
    with pytest.raises(stores.ChangedError):
        own.put(path, b"333", one.version)
    assert storage.read_bytes(path) == b"22"
    storage.delete_files([path])
    with pytest.raises(stores.ChangedError):
        own.put(path, b"4", one.version)


def test_an_object_that_grows_is_read_up_to_where_it_ended(store: Emulator, folder: str) -> None:
    path, data = f"{folder}/log.csv", random.Random(2).randbytes(MB)
    storage.write_bytes(path, data)
    with storage.open_read(path, MB - 5) as file:
        assert file.read(1000) == data[:1000]
        storage.write_bytes(path, data + b"more")
        assert file.read() == data[1000 : MB - 5]
    assert storage.sha256_of(path, MB - 5) == hashlib.sha256(data[: MB - 5]).hexdigest()
    with storage.open_read(path, MB) as file:
        file.read(1)
        storage.write_bytes(path, b"short")
        with pytest.raises(RunError, match="became shorter while it was read: got 5 bytes"):
            file.read()
    with pytest.raises(RunError, match="became shorter"):
        storage.open_read(path, MB)


def test_folders_braces_and_partitions_as_on_disks(folder: str, tmp_path: Path) -> None:
    names = [
        "log/dt=1/a.csv",
        "log/dt=2/b.csv",
        "log/dt=1/_h=3/g.csv",
        "log/_SUCCESS",
        "log/.c.csv",
        "log2/d.csv",
        "x/e[1]/f.csv",
    ]
    for base in (folder, str(tmp_path)):
        for name in names:
            storage.write_bytes(f"{base}/{name}", b"u\n1\n")
    for path in (
        "log",
        "log/",
        "lo*",
        "log/dt=*",
        "{log,none}",
        "{log/dt=1,log2}",
        "**/*.csv",
        "x/e[1]",
        "log/**",
    ):
        found = [
            [f.name for f in source_files(Source(path=path), base, "log").files]
            for base in (folder, str(tmp_path))
        ]
        assert found[0] == found[1], path
        assert found[0], path
    (pruned,) = source_files(Source(path="log", where="dt = '2'"), folder, "log").files
    assert pruned.name == "log/dt=2/b.csv"
