import hashlib
import pickle
from pathlib import Path

import pytest

from heterrec_schemas.errors import CallError, RunError
from heterrec_schemas.generation.folder import Folder, open_folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "x.txt").write_bytes(b"hello" * 2_000_000)
    return tmp_path


@pytest.mark.parametrize("form", ["{}", "file://{}", "{}/", "file://{}/"])
def test_a_path_and_a_uri_read_alike(folder: Path, form: str) -> None:
    opened = open_folder(form.format(folder))
    assert opened.kind() == "folder"
    assert opened.folders() == ["a"]
    assert opened.has_file("a/x.txt")
    inside = opened.child("a")
    assert inside.name == form.format(folder).rstrip("/") + "/a"
    assert inside.folders() == ["b"]
    assert inside.sizes(["x.txt", "b", "none"]) == [10_000_000, None, None]
    assert inside.read_bytes("x.txt") == b"hello" * 2_000_000
    assert inside.sha256("x.txt") == hashlib.sha256(b"hello" * 2_000_000).hexdigest()


def test_a_relative_path_stays_valid_when_the_process_moves(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    monkeypatch.chdir(folder)
    opened = open_folder("a")
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    assert opened.has_file("x.txt")
    assert opened.name == "a"


def test_absence_is_told(folder: Path) -> None:
    absent = open_folder(folder / "none")
    assert absent.kind() == "absent"
    assert absent.folders() == []
    assert not absent.has_file("x")
    assert open_folder(folder / "a" / "x.txt").kind() == "file"
    with pytest.raises(FileNotFoundError):
        absent.read_bytes("x")


def test_an_unknown_scheme_is_a_mistake_in_the_call() -> None:
    with pytest.raises(CallError, match=r"ftp://host/x cannot be opened: .* Give a local path"):
        open_folder("ftp://host/x")


def test_what_cannot_be_read_is_a_failed_run(folder: Path) -> None:
    with pytest.raises(RunError, match="/a cannot be read: "):
        open_folder(folder).read_bytes("a")


def test_a_folder_can_be_sent_to_a_worker(folder: Path) -> None:
    back = pickle.loads(pickle.dumps(open_folder(folder)))
    assert isinstance(back, Folder)
    assert back.has_file("a/x.txt")
