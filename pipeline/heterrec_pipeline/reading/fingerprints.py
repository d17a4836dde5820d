"""What identifies the content of an input file: its SHA-256 on local disks, the store's etag elsewhere."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import MappingProxyType

from heterrec_pipeline.files import storage
from heterrec_pipeline.reading.files import InputFile, unreadable
from heterrec_pipeline.telemetry.recorder import RECORDER
from heterrec_schemas.manifest import InputEntry
from heterrec_schemas.stores import FileInfo

_HASHERS = 4
"""Number of files that are hashed at once."""
NONE: Mapping[str, InputEntry] = MappingProxyType({})


def hash_inputs(
    files: tuple[InputFile, ...], known: Mapping[str, InputEntry] = NONE
) -> Iterator[InputEntry]:
    """Input files to their manifest entries.

    Args:
        files: the files.
        known: by path, entries with the content of files that were hashed before, perhaps under other names.
    """
    RECORDER.count("inputs.files", len(files))
    RECORDER.count("inputs.bytes", sum(f.bytes for f in files))

    def entry(file: InputFile) -> InputEntry:
        same = known.get(file.path)
        return same.model_copy(update={"path": file.name}) if same else _entry(file)

    with ThreadPoolExecutor(_HASHERS) as pool:
        yield from pool.map(entry, files)


def unchanged_files(
    files: Sequence[InputFile], before: Iterable[InputEntry]
) -> dict[str, InputEntry]:
    """The files with the content of an earlier input file, by path: the entry of that file.

    A SHA-256 identifies a content whatever the file's name; an etag only together with the path.

    Args:
        files: the files; those whose size an earlier file had are hashed.
        before: the entries of the earlier files.
    """
    by_size = defaultdict(list)
    for entry in before:
        by_size[entry.bytes].append(entry)
    maybe = [f for f in files if f.bytes in by_size]
    found = {}
    with ThreadPoolExecutor(_HASHERS) as pool:
        for file, now in zip(maybe, pool.map(_entry, maybe), strict=True):
            for entry in by_size[file.bytes]:
                at = entry.path == now.path or now.etag is None
                if at and (entry.sha256, entry.etag) == (now.sha256, now.etag):
                    found[file.path] = entry
    return found


def _entry(file: InputFile) -> InputEntry:
    try:
        if file.append_only:
            found = {"sha256": storage.sha256_of(file.path, file.bytes)}
        else:
            found = storage.fingerprint(FileInfo(file.path, file.bytes, file.version))
    except OSError as error:
        raise unreadable(file, error) from None
    return InputEntry(path=file.name, bytes=file.bytes, **found)
