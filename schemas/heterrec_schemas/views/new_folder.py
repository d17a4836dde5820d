"""Write a folder that appears whole, or not at all."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from heterrec_schemas.errors import CallError, RunError
from heterrec_schemas.stores.disk import make_folder, sync


@contextmanager
def new_folder(output: str | Path) -> Iterator[Path]:
    """A temporary folder beside `output`, which is renamed to it at the end; deleted after an error.

    Raises:
        CallError: `output` exists, has no name, or is in an object store.
        RunError: a file or folder cannot be written.
    """
    if "://" in str(output):
        raise CallError(
            "the output", got=str(output), expected="a local folder", todo="Copy it afterwards."
        )
    target = Path(os.path.abspath(output))
    if not target.name:
        raise CallError("the output", got=str(output), expected="a folder with a name")
    if os.path.lexists(target):
        raise CallError(
            f"the output {output} exists",
            todo="Name another folder, or delete it; nothing was written.",
        )
    try:
        make_folder(target.parent)
        temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
        try:
            folder = temporary / target.name
            folder.mkdir()
            yield folder
            for path in folder.rglob("*"):
                sync(path)
            os.rename(folder, target)
            sync(target.parent)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        raise RunError(f"the output {output} cannot be written: {error}") from error
