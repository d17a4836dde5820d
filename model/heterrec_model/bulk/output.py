"""The output folder of a bulk job, on a local disk or in an object store.

    job.json                                 the job, written first
    recommendations-00000-of-000NN.parquet   one shard of the users
    _shards/00000-of-000NN.json              its `ShardInfo`, written after it
    manifest.json                            written last

A file appears under its name only when it is complete: a local one is renamed, an object is created at the end of its upload.
"""

import os
import shutil
import tempfile
import uuid
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from heterrec_model.bulk.job import JOB, MANIFEST, BulkManifest, Job, ShardInfo, shard_name
from heterrec_schemas.errors import CallError
from heterrec_schemas.generation.folder import Folder, open_folder
from heterrec_schemas.stores import Store, store_of
from heterrec_schemas.stores.disk import locked
from heterrec_schemas.stores.store import writing

_OTHER = "Use the same call to continue it, or another --output."
_CHUNK = 2**23
Model = TypeVar("Model", bound=BaseModel)


class BulkOutput:
    """The files of one bulk job.

    Args:
        path: the folder, local or in a store; it need not exist.
    """

    def __init__(self, path: str | Path) -> None:
        self._folder: Folder = open_folder(path)
        self.name = str(path)

    @property
    def _store(self) -> Store:
        return store_of(self._folder.path)

    @property
    def local(self) -> bool:
        """Whether it is on a local disk."""
        return "://" not in self._folder.path

    def check(self, job: Job) -> None:
        """Check that the folder is empty or contains this job.

        Raises:
            CallError: it contains another job, or files of something else.
        """
        found = self._read(JOB, Job)
        if found is None:
            names = [] if self.local and not os.path.isdir(self._folder.path) else self._names()
            if names:
                raise CallError(
                    f"{self.name} has no {JOB}, but other files",
                    got=", ".join(names[:4]),
                    expected="an empty or absent folder",
                )
        elif found != job:
            raise CallError(
                f"{self.name} contains another bulk job: {found.differences(job)}", todo=_OTHER
            )

    def begin(self, job: Job) -> None:
        """Write job.json, unless it is there.

        Raises:
            CallError: another process has written that of another job meanwhile.
        """
        text = _json(job)
        self._store.update(
            self._locate(JOB), lambda old: text if old is None else None, uuid.uuid4().hex
        )
        self.check(job)

    @contextmanager
    def locked(self, part: tuple[int, int]) -> Iterator[None]:
        """Hold the lock of a part of a local folder; in a store, two processes write equal files.

        Raises:
            CallError: another process holds it.
            RunError: the folder cannot be written.
        """
        if not self.local:
            yield
            return
        name = "_lock" if part == (1, 1) else f"_lock-{part[0]}-of-{part[1]}"
        busy = CallError(f"another process writes to {self.name}", todo="Wait for it, or stop it.")
        with ExitStack() as held:
            with writing(self.name):
                os.makedirs(self._folder.path, exist_ok=True)
                held.enter_context(locked(self._locate(name), busy))
            yield

    def clear_drafts(self, shards: int, own: Iterable[int]) -> None:
        """Remove what killed processes have left of some shards, of job.json and of manifest.json in a local folder."""
        if not self.local:
            return
        infos = {_info_name(shard, shards) for shard in own}
        starts = {f".{shard_name(shard, shards)}" for shard in own} | infos | {JOB, MANIFEST}
        below = len(self._folder.path) + 1
        found = [path[below:] for path in self._store.files_below(self._folder.path)]
        drafts = [name for name in found if name not in starts and _stem(name) in starts]
        self._store.delete([self._locate(name) for name in drafts])

    @contextmanager
    def writing(self, name: str) -> Iterator[Path]:
        """A local path to write; the file appears under its name after the block.

        Raises:
            RunError: the block, or the store, cannot write it.
        """
        if self.local:
            draft = self._locate(f".{name}.{uuid.uuid4().hex}")
            try:
                with writing(self._locate(name)):
                    yield Path(draft)
                self._store.rename([(draft, self._locate(name))])
            finally:
                self._store.delete([draft])
            return
        with tempfile.TemporaryDirectory(prefix="heterrec-bulk-") as folder:
            file = Path(folder) / name
            yield file
            with file.open("rb") as source, self._store.create(self._locate(name)) as sink:
                while chunk := source.read(_CHUNK):
                    sink.write(chunk)

    def finished(self, shard: int, shards: int) -> ShardInfo | None:
        """The info of a shard whose file is complete and unchanged; None for others."""
        info = self._read(_info_name(shard, shards), ShardInfo)
        if info is None or self._folder.sizes([info.path]) != [info.bytes]:
            return None
        return info if self._folder.sha256(info.path) == info.sha256 else None

    def finish(self, shard: int, shards: int, info: ShardInfo) -> None:
        """Write the info of a shard."""
        assert info.path == shard_name(shard, shards)
        self._replace(_info_name(shard, shards), info)

    def publish(self, manifest: BulkManifest) -> None:
        """Write the manifest."""
        self._replace(MANIFEST, manifest)

    def manifest(self) -> BulkManifest | None:
        """The manifest; None if the job is not finished."""
        return self._read(MANIFEST, BulkManifest)

    def _names(self) -> list[str]:
        names = [os.path.basename(p) for p in self._store.files_in(self._folder.path)]
        return [n for n in names if not n.startswith(("_lock", f"{JOB}."))]

    def _locate(self, name: str) -> str:
        return f"{self._folder.path}/{name}"

    def _replace(self, name: str, model: BaseModel) -> None:
        self._store.replace(self._locate(name), _json(model), uuid.uuid4().hex)

    def _read(self, name: str, kind: type[Model]) -> Model | None:
        try:
            return kind.model_validate_json(self._folder.read_bytes(name))
        except FileNotFoundError:
            return None
        except ValidationError as error:
            first = error.errors()[0]
            text = f"{self.name}/{name} cannot be read: {first['msg']}"
            raise CallError(
                text, todo="It is of another release or damaged: use another --output."
            ) from None


@contextmanager
def on_this_machine(path: str | Path) -> Iterator[Path]:
    """A folder or a file as a local path: one in a store is copied to a temporary folder, which is removed afterwards.

    Raises:
        CallError: there is no such file or folder.
    """
    if "://" not in str(path):
        yield Path(path)
        return
    source = open_folder(path)
    store = store_of(source.path)
    kind = source.kind()
    if kind == "absent":
        raise CallError(f"there is no {path}")
    with tempfile.TemporaryDirectory(prefix="heterrec-copy-") as folder:
        files = [source.path] if kind == "file" else store.files_below(source.path)
        for file in files:
            relative = os.path.basename(file) if kind == "file" else file[len(source.path) + 1 :]
            target = Path(folder) / "copy" / relative
            target.parent.mkdir(parents=True, exist_ok=True)
            with store.open(file) as data, target.open("wb") as out:
                shutil.copyfileobj(data, out, _CHUNK)
        yield Path(folder) / "copy" / (os.path.basename(source.path) if kind == "file" else "")


def _stem(name: str) -> str:
    """The name of a draft without its random end, and without .tmp."""
    return name.removesuffix(".tmp").rpartition(".")[0]


def _info_name(shard: int, shards: int) -> str:
    return f"_shards/{shard:05}-of-{shards:05}.json"


def _json(model: BaseModel) -> bytes:
    return (model.model_dump_json(indent=1) + "\n").encode("utf-8")
