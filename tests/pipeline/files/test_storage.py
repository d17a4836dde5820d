import errno
import hashlib
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from heterrec_pipeline.files import storage
from heterrec_schemas.errors import RunError
from heterrec_schemas.stores.local import LocalStore


@pytest.mark.parametrize(
    ("parts", "joined"),
    [
        (("/a", "b", "c"), "/a/b/c"),
        (("/a/", "b"), "/a/b"),
        (("/a", "/b", "c"), "/b/c"),
        (("gs://x/y", "b", "c"), "gs://x/y/b/c"),
        (("/a", "s3://x", "c"), "s3://x/c"),
        (("gs://x", "/b"), "/b"),
        (("a",), "a"),
    ],
)
def test_paths_and_uris_are_joined(parts: tuple[str, ...], joined: str) -> None:
    assert storage.join(*parts) == joined


def test_what_is_written_is_counted_and_hashed(tmp_path: Path) -> None:
    path = str(tmp_path / "new" / "folder" / "a.bin")
    with storage.open_write(path) as out:
        assert out.writable()
        assert out.write(b"abc") == 3
        assert out.write(memoryview(b"defg")) == 4
        assert out.tell() == 7
    assert (out.size, out.sha256) == (7, hashlib.sha256(b"abcdefg").hexdigest())
    assert storage.read_bytes(path) == b"abcdefg"
    assert storage.sha256_of(path) == out.sha256
    with storage.open_arrow(path) as handle:
        assert handle.read_at(3, 2) == b"cde"
    with storage.open_read(path) as raw:
        assert raw.read() == b"abcdefg"


def test_an_unhashed_file_is_counted_and_has_no_hash(tmp_path: Path) -> None:
    path = str(tmp_path / "a.bin")
    with storage.open_write(path) as out:
        assert out.unhashed().write(b"abc") == 3
    assert (storage.read_bytes(path), out.size) == (b"abc", 3)
    with pytest.raises(AssertionError):
        _ = out.sha256


class Full(io.BytesIO):
    def write(self, data: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_is_a_failure_of_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("builtins.open", lambda *_: Full())
    with pytest.raises(
        RunError, match=r"a\.bin cannot be written: No space left on device"
    ) as error:
        storage.write_bytes(str(tmp_path / "a.bin"), b"x")
    assert isinstance(error.value.__cause__, OSError)


def test_a_file_is_replaced_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "latest.json"
    storage.replace_bytes(str(path), b"one", "x")
    storage.replace_bytes(str(path), b"two", "y")
    assert path.read_bytes() == b"two"
    assert os.listdir(tmp_path) == ["latest.json"]

    @contextmanager
    def broken(_: LocalStore, path: str) -> Iterator[io.BytesIO]:
        Path(path).write_bytes(b"t")
        yield io.BytesIO()
        raise RunError("broken")

    monkeypatch.setattr(LocalStore, "create", broken)
    with pytest.raises(RunError):
        storage.replace_bytes(str(path), b"three", "z")
    assert path.read_bytes() == b"two", "half a write is not seen"
    assert os.listdir(tmp_path) == ["latest.json"]


def test_settling_again_goes_on_where_it_stopped(tmp_path: Path) -> None:
    names = [(str(tmp_path / f".{k}.tmp"), str(tmp_path / f"{k}")) for k in range(3)]
    for k, (old, _) in enumerate(names):
        Path(old).write_text(str(k))
    storage.rename(names[:2])
    storage.rename(names)
    assert sorted(os.listdir(tmp_path)) == ["0", "1", "2"]
    assert [Path(new).read_text() for _, new in names] == ["0", "1", "2"]
    with pytest.raises((OSError, RunError)):
        storage.rename([(str(tmp_path / "absent"), str(tmp_path / "nowhere"))])


def test_a_later_try_takes_the_place_of_an_earlier_ones_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("first")
    (tmp_path / ".a.tmp").write_text("second")
    storage.rename([(str(tmp_path / ".a.tmp"), str(tmp_path / "a"))])
    assert (tmp_path / "a").read_text() == "second"


def test_an_absent_file_is_described_by_its_surroundings(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for k in range(9):
        (tmp_path / f"{k}.csv").touch()
    described = {
        pattern: storage.describe_missing(str(tmp_path / pattern))
        for pattern in ("*.jsonl", "empty", "empty/x", "none/x")
    }
    assert described == {
        "*.jsonl": "a folder with " + ", ".join(f"{k}.csv" for k in range(8)) + ", ...",
        "empty": "a folder empty without files that hold data",
        "empty/x": "a folder with nothing",
        "none/x": f"no folder {tmp_path / 'none'}",
    }
    assert storage.folder_missing(str(tmp_path / "none"))
    assert not storage.folder_missing(str(tmp_path))


def test_a_local_file_is_identified_by_its_hash(tmp_path: Path) -> None:
    path = str(tmp_path / "a")
    sha256 = storage.write_bytes(path, b"abc")
    found = storage.info(path)
    assert found is not None
    assert (found.path, found.bytes) == (path, 3)
    assert storage.fingerprint(found) == {"sha256": sha256}
    assert storage.info(str(tmp_path)) is storage.info(f"{path}/none") is None


def test_files_are_found_and_deleted(tmp_path: Path) -> None:
    for name in ("a.txt", "b.bin", "sub/c.txt", "sub/deep/d.txt"):
        storage.write_bytes(str(tmp_path / name), name.encode())
    found = [storage.info(str(tmp_path / "a.txt"))]
    assert storage.matched(str(tmp_path), "*.txt") == found
    assert storage.matched("", str(tmp_path / "*.txt")) == found
    assert storage.matched(str(tmp_path), "*.none") == []
    below = [str(Path(p).relative_to(tmp_path)) for p in storage.files_below(str(tmp_path))]
    assert below == ["a.txt", "b.bin", "sub/c.txt", "sub/deep/d.txt"]
    assert storage.files_below(str(tmp_path / "absent")) == []
    assert storage.files_in(str(tmp_path)) == ["a.txt", "b.bin"]
    assert storage.files_in(str(tmp_path / "absent")) == []
    assert storage.folders(str(tmp_path)) == [str(tmp_path / "sub")]
    assert storage.folders(str(tmp_path / "absent")) == []
    storage.delete_tree(str(tmp_path / "sub"))
    storage.delete_tree(str(tmp_path / "a.txt"))
    storage.delete_tree(str(tmp_path / "absent"))
    storage.delete_files([str(tmp_path / "absent"), str(tmp_path / "b.bin")])
    assert os.listdir(tmp_path) == []
    assert not storage.exists(str(tmp_path / "sub"))
    assert storage.exists(str(tmp_path))


def test_links_are_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    storage.write_bytes(str(outside / "kept"), b"x")
    link = tmp_path / "inside" / "link"
    link.parent.mkdir()
    link.symlink_to(outside)
    assert storage.is_link(str(link))
    assert not storage.is_link(str(outside))
    assert storage.files_below(str(link)) == storage.files_below(str(link.parent)) == []
    storage.delete_tree(str(link))
    assert not link.is_symlink()
    link.symlink_to(outside)
    storage.delete_tree(str(link.parent))
    assert not link.parent.exists()
    assert (outside / "kept").exists()


def test_a_beginning_is_read_however_the_file_grows(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_bytes(b"0123456789")
    with storage.open_read(str(path), 7) as file:
        assert file.read(3) == b"012"
        path.write_bytes(b"0123456789more")
        assert (file.read(100), file.tell(), file.read(1)) == (b"3456", 7, b"")
    assert storage.sha256_of(str(path), 7) == hashlib.sha256(b"0123456").hexdigest()
    with (
        storage.open_read(str(path), 20) as file,
        pytest.raises(RunError, match=r"became shorter .*: got 14 bytes, expected at least 20"),
    ):
        file.read()


def test_an_update_that_writes_nothing_makes_no_folder(tmp_path: Path) -> None:
    storage.update_bytes(str(tmp_path / "a" / "b"), lambda held: held, "x")
    assert not (tmp_path / "a").exists()
    storage.update_bytes(str(tmp_path / "a" / "b"), lambda held: b"new", "x")
    assert (tmp_path / "a" / "b").read_bytes() == b"new"


def test_a_version_is_the_time_of_the_last_change(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.touch()
    for ns, version in (
        (1_700_000_000_000_000_001, "2023-11-14T22:13:20.000000001Z"),
        (-1, "1969-12-31T23:59:59.999999999Z"),
    ):
        os.utime(path, ns=(0, ns))
        found = storage.info(str(path))
        assert found is not None
        assert found.version == version
