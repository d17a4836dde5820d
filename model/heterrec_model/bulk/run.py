"""Recommendations for many users, in shards that several processes write; a killed job continues where it was."""

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from heterrec_model.bulk.job import (
    ALL,
    BulkManifest,
    Job,
    ShardInfo,
    library_versions,
    listed,
    number_of_shards,
    part_of,
    shard_name,
    shard_rows,
)
from heterrec_model.bulk.output import BulkOutput, on_this_machine
from heterrec_model.bulk.users import convert_users
from heterrec_model.bulk.worker import RECOMMENDER, THREADS, Task
from heterrec_model.bundle.files import INDEX
from heterrec_model.bundle.reader import Bundle, open_bundle
from heterrec_model.recommending.history import Key
from heterrec_model.recommending.recommender import MOST_ITEMS
from heterrec_model.retrieval.vector_index import FLAT, open_index
from heterrec_schemas.errors import BundleError, CallError, RunError, from_wire
from heterrec_schemas.hashing import file_sha256

EXACT, BY_INDEX = "exact", "index"
_MOST_WORKERS = 1_024


@dataclass(frozen=True)
class BulkProgress:
    """How far a job is.

    Attributes:
        users: number of users answered, those of kept shards included.
        of_users: number of users of this part.
        per_second: users answered per second by this call.
        seconds_left: estimate; None at the beginning.
    """

    users: int
    of_users: int
    per_second: float
    seconds_left: float | None


@dataclass(frozen=True)
class BulkResult:
    """What a call has done.

    Attributes:
        output: the output folder.
        written: number of shards written by this call.
        kept: number of shards that earlier calls have written.
        manifest: None if shards of other parts are missing.
        seconds: time of the call.
    """

    output: str
    written: int
    kept: int
    manifest: BulkManifest | None
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """The result as plain data, without the list of files."""
        manifest = None if self.manifest is None else self.manifest.model_dump(exclude={"files"})
        return {
            "output": self.output,
            "shards_written": self.written,
            "shards_kept": self.kept,
            "complete": self.manifest is not None,
            "seconds": round(self.seconds, 3),
            **(manifest or {}),
        }


def recommend_all(
    bundle: str | Path,
    output: str | Path,
    users: str | Path = ALL,
    k: int = 100,
    *,
    workers: int | None = None,
    search: str | None = None,
    filter_seen: bool = False,
    where: Mapping[str, Key | Sequence[Key]] | None = None,
    allow: Sequence[Key] | None = None,
    deny: Sequence[Key] = (),
    shards: int | None = None,
    part: str = "1/1",
    on_progress: Callable[[BulkProgress], None] = lambda progress: None,
    recommender: str = RECOMMENDER,
) -> BulkResult:
    """Write the k best items of many users as Parquet files: see docs/batch_scoring.md.

    The same call again continues a job: finished shards are kept if they are unchanged. Files do not depend on the number of
    workers, parts and kills.

    Args:
        bundle: its folder, local or in a store.
        output: folder of the result, local or in a store; empty, absent, or with the same job.
        users: `all` users of the bundle, or a file of users, see `bulk/users.py`.
        k: number of items per user.
        workers: number of processes, of one thread each; default: the number of cores.
        search: `exact` or `index`; default: by the index if the bundle has one.
        filter_seen: leave out the items of the history.
        where: values by feature that an item must have.
        allow: ids of items that may be recommended; None allows all.
        deny: ids of items that are left out.
        shards: number of files; default: one per 4,096 users, at most 1,000.
        part: `I/N` writes every N-th shard, from the I-th on; the part that ends last writes the manifest.
        on_progress: called after each block of users.
        recommender: `module:function` that opens a bundle in a worker.

    Raises:
        CallError: an argument is wrong, or the output contains another job or is in use.
        BundleError: the bundle or its index cannot be read, or has no histories for `all`.
        DataError: the file of users is wrong.
        RunError: a worker fails, or a file cannot be written.
    """
    started = time.monotonic()
    workers = _cores() if workers is None else workers
    numbers = part_of(part)
    _check_call(k, workers, shards, search)
    with ExitStack() as stack:
        folder = stack.enter_context(on_this_machine(bundle))
        opened = open_bundle(folder)
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="heterrec-bulk-")))
        users_name, rows, users_file = _users(opened, users, work, stack)
        method, index_sha256 = _search(opened, search)
        job = Job(
            identity=opened.info.identity,
            users=users_name,
            rows=rows,
            shards=number_of_shards(rows) if shards is None else shards,
            k=k,
            search=method,
            index_sha256=index_sha256,
            filter_seen=filter_seen,
            where={name: _texts(values) for name, values in (where or {}).items()},
            allow=listed(allow),
            deny=listed(deny or None),
            versions=library_versions(),
        )
        target = BulkOutput(output)
        target.check(job)
        stack.enter_context(target.locked(numbers))
        task = Task(
            bundle=str(folder.absolute()),
            recommender=recommender,
            users=users_file,
            output=str(output),
            job=job,
            allow=None if allow is None else list(allow),
            deny=list(deny),
        )
        (work / "task.json").write_text(task.model_dump_json())
        written, kept = _write(target, job, numbers, work / "task.json", workers, on_progress)
        manifest = _publish(target, job, written | kept)
    seconds = time.monotonic() - started
    return BulkResult(str(output), len(written), len(kept), manifest, seconds)


def _cores() -> int:
    """Number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _texts(values: Key | Sequence[Key]) -> list[str]:
    """The values of a condition as sorted texts."""
    return sorted(map(str, [values] if isinstance(values, str | int) else values))


def _check_call(k: int, workers: int, shards: int | None, search: str | None) -> None:
    for name, value, most in (
        ("k", k, MOST_ITEMS),
        ("workers", workers, _MOST_WORKERS),
        ("shards", shards, 99_999),
    ):
        if value is not None and not 1 <= value <= most:
            raise CallError(name, got=value, expected=f"1 to {most:,}")
    if search not in (None, EXACT, BY_INDEX):
        raise CallError("search", got=search, expected=f"{EXACT} or {BY_INDEX}")


def _users(
    bundle: Bundle, users: str | Path, work: Path, stack: ExitStack
) -> tuple[str, int, str | None]:
    """Name of the users in the job, their number, and the Arrow file of those that a file lists."""
    if str(users) == ALL:
        if not bundle.info.users:
            raise BundleError(
                f"{bundle.folder} has no histories",
                todo="Export it with histories, or give a file with histories as --users.",
            )
        return ALL, bundle.info.users, None
    source = stack.enter_context(on_this_machine(users))
    converted = work / "users.arrow"
    rows = convert_users(source, converted, integral=bundle.info.user_id_type == "int64")
    return file_sha256(source), rows, str(converted)


def _search(bundle: Bundle, search: str | None) -> tuple[str, str | None]:
    """How items are searched for, and the hash of the index."""
    if search == EXACT:
        return EXACT, None
    index = open_index(bundle)
    if index is not None and index.kind != FLAT:
        return BY_INDEX, index.info.sha256
    if search == BY_INDEX and index is None:
        raise BundleError(f"{bundle.folder} has no {INDEX}", todo="Run `heterrec-model index`.")
    return EXACT, None


def _write(
    output: BulkOutput,
    job: Job,
    part: tuple[int, int],
    task: Path,
    workers: int,
    on_progress: Callable[[BulkProgress], None],
) -> tuple[dict[int, ShardInfo], dict[int, ShardInfo]]:
    """Write the missing shards of a part. Returns the shards written and those kept."""
    own = range(part[0] - 1, job.shards, part[1])
    output.clear_drafts(job.shards, own)
    kept = {shard: info for shard in own if (info := output.finished(shard, job.shards))}
    missing = [shard for shard in own if shard not in kept]
    sizes = {shard: _size(shard, job) for shard in own}
    progress = _Progress(sum(sizes.values()), sum(sizes[s] for s in kept), on_progress)
    if not missing:
        output.begin(job)
        return {}, kept
    with _processes(min(workers, len(missing)), task) as pool:
        pool.wait_until_ready()
        output.begin(
            job
        )  # after a worker has checked the filters: a wrong call leaves no job behind
        pool.write(missing, progress)
    written = {shard: output.finished(shard, job.shards) for shard in missing}
    lost = [shard_name(shard, job.shards) for shard, info in written.items() if info is None]
    if lost:
        raise RunError(
            f"{output.name} was changed meanwhile: {', '.join(lost[:3])}", todo="Run again."
        )
    return {shard: info for shard, info in written.items() if info is not None}, kept


def _publish(output: BulkOutput, job: Job, known: Mapping[int, ShardInfo]) -> BulkManifest | None:
    """Write the manifest if all shards are finished, those of other parts included."""
    files = []
    for shard in range(job.shards):
        info = known.get(shard) or output.finished(shard, job.shards)
        if info is None:
            return None
        files.append(info)
    manifest = BulkManifest.of(job, files)
    output.publish(manifest)
    return manifest


def _size(shard: int, job: Job) -> int:
    start, stop = shard_rows(shard, job.shards, job.rows)
    return stop - start


class _Progress:
    """Adds up the answered users."""

    def __init__(self, total: int, done: int, report: Callable[[BulkProgress], None]) -> None:
        self._total, self._first, self._done, self._report = total, done, done, report
        self._started = time.monotonic()

    def add(self, users: int) -> None:
        """Count users, and report."""
        self._done += users
        seconds = max(time.monotonic() - self._started, 1e-9)
        rate = (self._done - self._first) / seconds
        left = (self._total - self._done) / rate if rate else None
        self._report(BulkProgress(self._done, self._total, rate, left))


@contextmanager
def _processes(count: int, task: Path) -> Iterator["_Pool"]:
    pool = _Pool(count, task)
    try:
        yield pool
    finally:
        pool.stop()


class _Pool:
    """The workers. Each has a thread that hands it shards and passes its messages on."""

    def __init__(self, count: int, task: Path) -> None:
        environment = os.environ | dict.fromkeys(THREADS, "1")
        environment["PYTHONPATH"] = os.pathsep.join(p for p in sys.path if p)
        command = [sys.executable, "-m", "heterrec_model.bulk.worker", str(task)]
        self._workers = [
            subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True
            )
            for _ in range(count)
        ]
        self._messages: SimpleQueue[dict[str, Any]] = SimpleQueue()
        self._shards: SimpleQueue[int | None] = SimpleQueue()
        self._threads = [
            threading.Thread(target=self._serve, args=(worker,), daemon=True)
            for worker in self._workers
        ]
        for thread in self._threads:
            thread.start()

    def _serve(self, worker: "subprocess.Popen[str]") -> None:
        """Pass the messages of a worker on; after `ready` and `done`, give it the next shard."""
        assert worker.stdin is not None
        assert worker.stdout is not None
        for line in worker.stdout:
            message = json.loads(line)
            self._messages.put(message)
            if "error" in message:
                return
            if "ready" in message or "done" in message:
                shard = self._shards.get()
                if shard is None:
                    return
                try:
                    worker.stdin.write(f"{shard}\n")
                    worker.stdin.flush()
                except OSError:
                    break
        self._messages.put({"died": worker.wait()})

    def wait_until_ready(self) -> None:
        """Wait for the first worker that has opened the bundle.

        Raises:
            HeterrecError: a worker fails.
        """
        while "ready" not in self._next():
            pass

    def write(self, shards: Sequence[int], progress: _Progress) -> None:
        """Let the workers write shards.

        Raises:
            HeterrecError: a worker fails.
        """
        for shard in [*shards, *([None] * len(self._workers))]:
            self._shards.put(shard)
        left = len(shards)
        while left:
            message = self._next()
            left -= "done" in message
            if "users" in message:
                progress.add(message["users"])

    def _next(self) -> dict[str, Any]:
        message = self._messages.get()
        if "error" in message:
            raise from_wire(message["error"]) or RunError("a worker failed", got=message["error"])
        if "died" in message:
            code = message["died"]
            raise RunError(
                "a worker ended before its work was done",
                got=f"signal {-code}" if code < 0 else f"exit code {code}",
                todo="Run the same command again: finished shards are kept. If memory was short, use fewer workers.",
            )
        return message

    def stop(self) -> None:
        """End the workers at once: files appear only when they are complete."""
        for worker in self._workers:
            worker.kill()
            self._shards.put(None)
        for worker, thread in zip(self._workers, self._threads, strict=True):
            thread.join()
            worker.wait()
            for pipe in (worker.stdin, worker.stdout):
                if pipe is not None:
                    with suppress(OSError):
                        pipe.close()
