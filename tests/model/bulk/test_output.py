"""Failures of the disk below a bulk job are told with the file and the reason."""

import errno
import os
from pathlib import Path

import pytest

from heterrec_model.bulk.output import BulkOutput
from heterrec_schemas.errors import RunError


def test_an_output_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    output = BulkOutput(tmp_path / "file" / "out")
    with pytest.raises(RunError, match="file/out cannot be written: Not a directory"):
        with output.locked((1, 1)):
            pass


def test_a_full_disk_is_told_with_the_file(tmp_path: Path) -> None:
    output = BulkOutput(tmp_path)

    def fill() -> None:
        with output.writing("shard.parquet") as path:
            path.write_bytes(b"half")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(RunError, match=r"/shard\.parquet cannot be written: No space left"):
        fill()
    assert [*tmp_path.iterdir()] == []
