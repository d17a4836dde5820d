import hashlib
from pathlib import Path

from pieces import written_file

from heterrec_pipeline.reading.fingerprints import hash_inputs, unchanged_files


def test_inputs_are_hashed_in_order(tmp_path: Path) -> None:
    files = tuple(written_file(tmp_path / f"{k}.csv", b"x" * k) for k in range(6))
    entries = list(hash_inputs(files))
    assert [(e.path, e.bytes) for e in entries] == [(f"{k}.csv", k) for k in range(6)]
    assert [e.sha256 for e in entries] == [hashlib.sha256(b"x" * k).hexdigest() for k in range(6)]


def test_a_content_is_known_under_any_name(tmp_path: Path) -> None:
    old = tuple(written_file(tmp_path / f"{k}.csv", b"x" * k) for k in range(3))
    before = list(hash_inputs(old))
    files = [
        written_file(tmp_path / "new name.csv", b"xx"),
        written_file(tmp_path / "1.csv", b"y"),
        written_file(tmp_path / "other.csv", b"xxxx"),
    ]
    found = unchanged_files(files, before)
    assert found == {files[0].path: before[2]}
    assert [e.path for e in hash_inputs(tuple(files), found)] == [f.name for f in files]
