"""A process that writes shards: `python -m heterrec_model.bulk.worker TASK`, where TASK is the file of a `Task`.

It reads numbers of shards from standard input, one per line, and writes JSON lines to standard output: `ready`, `users`
(answered since the last line), `done` (a shard), or `error` (the wire form of an error), with which it ends.
"""

import ctypes
import json
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any, TextIO, cast

from pydantic import BaseModel, ConfigDict

from heterrec_model.bulk.job import Job, ShardInfo, shard_name, shard_rows
from heterrec_model.bulk.output import BulkOutput
from heterrec_model.bulk.shard import ShardWriter
from heterrec_model.bulk.users import UsersOfBundle, UsersOfFile
from heterrec_model.recommending.answer import Filters
from heterrec_model.recommending.bundle_recommender import BundleRecommender
from heterrec_model.recommending.history import Key
from heterrec_model.retrieval.search import Searcher
from heterrec_schemas.errors import CallError, HeterrecError, RunError
from heterrec_schemas.hashing import file_sha256

RECOMMENDER = "heterrec_model.bulk.worker:open_recommender"
"""How workers open a bundle, unless the caller has another kind of recommender."""
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS")
"""Variables of the environment that the parent sets to 1."""
_SET_PDEATHSIG = 1


class Task(BaseModel):
    """What a worker needs.

    Attributes:
        bundle: its local folder.
        recommender: `module:function` that opens it.
        users: Arrow file of the users; None for those of the bundle.
        output: folder or URI of the output.
        job: the job.
        allow: ids that may be recommended; None allows all.
        deny: ids that are left out.
    """

    model_config = ConfigDict(frozen=True)
    bundle: str
    recommender: str
    users: str | None
    output: str
    job: Job
    allow: list[Key] | None
    deny: list[Key]


def open_recommender(bundle: str) -> BundleRecommender:
    """The recommender of a bundle whose hashes the parent has compared."""
    return BundleRecommender.open(bundle, verify="sizes")


def main() -> None:
    """Write shards until standard input ends."""
    _end_with_parent()
    out = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(2, 1)  # libraries may print
    parent = os.getppid()
    try:
        task = Task.model_validate_json(Path(sys.argv[1]).read_bytes())
        write = _shards(task, out)
        _say(out, ready=True)
        for line in sys.stdin:
            if os.getppid() != parent:
                return
            write(int(line))
            _say(out, done=int(line))
    except HeterrecError as error:
        _say(out, error=error.to_wire())
    except BrokenPipeError:
        pass
    except MemoryError:
        text = "a worker had too little memory"
        _say(out, error=RunError(text, todo="Use fewer workers, or a smaller -k.").to_wire())
    except OSError as error:
        todo = "Free space or permissions, then run the same command again."
        _say(out, error=RunError(f"a worker failed: {error}", todo=todo).to_wire())


def _shards(task: Task, out: TextIO) -> Callable[[int], None]:
    """The function that writes a shard by its number."""
    module, _, name = task.recommender.partition(":")
    opened = cast(BundleRecommender, getattr(import_module(module), name)(task.bundle))
    job, output = task.job, BulkOutput(task.output)
    if opened.identity != job.identity:
        raise CallError(
            "the bundle was replaced meanwhile",
            got=opened.identity.fingerprint,
            expected=job.identity.fingerprint,
        )
    if job.search == "exact":
        opened.searcher = Searcher(opened.searcher.items_ND)
    filters = Filters(task.allow, task.deny, job.where or None, job.filter_seen)
    users = UsersOfBundle(opened) if task.users is None else UsersOfFile(Path(task.users), opened)
    writer = ShardWriter(opened, users, job.k, filters)

    def write(shard: int) -> None:
        start, stop = shard_rows(shard, job.shards, job.rows)
        name = shard_name(shard, job.shards)
        with output.writing(name) as path:
            counts = writer.write(path, start, stop, lambda users: _say(out, users=users))
            info = ShardInfo(
                path=name,
                rows=stop - start,
                bytes=path.stat().st_size,
                sha256=file_sha256(path),
                fallbacks=counts.fallbacks,
                short=counts.short,
            )
        output.finish(shard, job.shards, info)

    return write


def _say(out: TextIO, **message: Any) -> None:
    out.write(json.dumps(message) + "\n")
    out.flush()


def _end_with_parent() -> None:
    """On Linux, end at once when the parent does, however it ends. Ctrl-C is the parent's to handle."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).prctl(_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    main()
