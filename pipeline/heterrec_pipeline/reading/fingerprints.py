"""What identifies the content of an input file: its SHA-256 on local disks, the store's etag elsewhere."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from heterrec_pipeline.files import storage
from heterrec_pipeline.reading.files import InputFile, unreadable
from heterrec_pipeline.telemetry.recorder import RECORDER
from heterrec_schemas.manifest import InputEntry
from heterrec_schemas.stores import FileInfo


def hash_inputs(files: tuple[InputFile, ...]) -> Iterator[InputEntry]:
    """Input files to their manifest entries: SHA-256 on local disks, the store's etag elsewhere."""
    RECORDER.count("inputs.files", len(files))
    RECORDER.count("inputs.bytes", sum(f.bytes for f in files))
    with ThreadPoolExecutor(max_workers=4) as pool:
        yield from pool.map(_input_entry, files)


def _input_entry(file: InputFile) -> InputEntry:
    try:
        if file.append_only:
            found = {"sha256": storage.sha256_of(file.path, file.bytes)}
        else:
            found = storage.fingerprint(FileInfo(file.path, file.bytes, file.version))
    except OSError as error:
        raise unreadable(file, error) from None
    return InputEntry(path=file.name, bytes=file.bytes, **found)
