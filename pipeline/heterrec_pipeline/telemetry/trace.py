"""`--profile`: the pieces of all processes as one file that Chrome's and Perfetto's trace viewers open."""

import gzip
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import IO, Any

from heterrec_pipeline.telemetry.pieces import named
from heterrec_pipeline.telemetry.stages import Stage
from heterrec_schemas.errors import CallError, RunError

STAGES = 0
"""Stands for a process in the trace: its threads are the stages."""


def check_target(path: str) -> None:
    """Refuse a file that could not be written, before the build begins.

    Raises:
        CallError: the folder of the file does not exist, or the path is a folder.
    """
    target = Path(path)
    if "://" in path or target.is_dir() or not target.absolute().parent.is_dir():
        raise CallError(
            f"--profile {path}",
            got="no file in a folder that exists",
            expected="a local file to write the trace to",
            todo="Make the folder, or name another file.",
        )


def write_trace(
    path: str, folder: str, began: datetime, stages: list[Stage], about: dict[str, Any]
) -> None:
    """Put the pieces together.

    Args:
        path: the file to write; packed when it ends in .gz.
        folder: where the pieces are.
        began: when the build began: zero of the trace.
        stages: shown above the processes.
        about: what else the file says of the build.

    Raises:
        RunError: the file cannot be written.
    """
    dropped = 0
    try:
        with _written(path) as out:
            out.write('{"displayTimeUnit": "ms", "traceEvents": [\n')
            out.write(",\n".join(json.dumps(e) for e in _stage_events(began, stages)))
            for piece in sorted(Path(folder).glob("*.jsonl")):
                pid = int(piece.stem)
                name = "this process" if pid == os.getpid() else "worker"
                out.write(",\n" + json.dumps(named("process_name", f"{name} {pid}", pid)))
                skipped = 0
                for line in piece.open(encoding="utf-8"):
                    if line.startswith('{"dropped"'):
                        skipped = json.loads(line)["dropped"]
                    else:
                        out.write(",\n" + line.rstrip("\n"))
                dropped += skipped
            other = json.dumps(about | {"spans_left_out": dropped})
            out.write(f'\n], "otherData": {other}}}\n')
    except OSError as error:
        raise RunError(f"the trace {path} cannot be written: {error.strerror or error}") from None


@contextmanager
def _written(path: str) -> Iterator[IO[str]]:
    waiting = f"{path}.{os.getpid()}.tmp"
    try:
        packed = path.endswith(".gz")
        with gzip.open(waiting, "wt") if packed else open(waiting, "w", encoding="utf-8") as out:
            yield out
        os.replace(waiting, path)
    finally:
        Path(waiting).unlink(missing_ok=True)


def _stage_events(began: datetime, stages: list[Stage]) -> Iterator[dict[str, Any]]:
    yield named("process_name", "stages", STAGES)
    for number, stage in enumerate(stages, 1):
        yield named("thread_name", stage.stage, STAGES, number)
        moved = {k: v for k, v in stage.as_json().items() if k.startswith(("rows", "bytes")) and v}
        yield {
            "ph": "X",
            "name": stage.stage,
            "cat": "stage",
            "ts": round((stage.started - began).total_seconds() * 1e6),
            "dur": round(stage.seconds * 1e6),
            "pid": STAGES,
            "tid": number,
            "args": {"busy_seconds": stage.busy_seconds} | moved,
        }
