import hashlib
from pathlib import Path

from pieces import written_file

from heterrec_pipeline.reading.fingerprints import hash_inputs


def test_inputs_are_hashed_in_order(tmp_path: Path) -> None:
    files = tuple(written_file(tmp_path / f"{k}.csv", b"x" * k) for k in range(6))
    entries = list(hash_inputs(files))
    assert [(e.path, e.bytes) for e in entries] == [(f"{k}.csv", k) for k in range(6)]
    assert [e.sha256 for e in entries] == [hashlib.sha256(b"x" * k).hexdigest() for k in range(6)]
