"""`--profile`: the span files of all processes as one file for the trace viewers of Chrome and Perfetto."""

import gzip
import json
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import IO, Any

from heterrec_pipeline.telemetry.span_file import name_event
from heterrec_pipeline.telemetry.stages import Stage
from heterrec_schemas.errors import CallError, RunError

STAGES = 0
"""Process id under which the trace shows the stages, one thread per stage."""


def check_target(path: str) -> None:
    """Refuse a file that cannot be written, before the build begins.

    Raises:
        CallError: the folder of the file does not exist, or the path is a folder, a device or a pipe.
    """
    target = Path(path)
    # A device or a pipe would be replaced by the file.
    other = target.exists() and not target.is_file()
    if "://" in path or other or not target.absolute().parent.is_dir():
        raise CallError(
            f"--profile {path}",
            got="no file in an existing folder",
            expected="a local file to write the trace to",
            todo="Create the folder, or name another file.",
        )


def write_trace(
    path: str, folder: str, began: datetime, stages: list[Stage], about: dict[str, Any]
) -> None:
    """Combine the span files.

    Args:
        path: the file to write; compressed if it ends in .gz.
        folder: the folder of the span files.
        began: when the build began: zero of the trace.
        stages: shown above the processes.
        about: further facts about the build.

    Raises:
        RunError: the file cannot be written.
    """
    dropped = 0
    try:
        with _replacing(path) as out:
            out.write('{"displayTimeUnit": "ms", "traceEvents": [\n')
            out.write(",\n".join(json.dumps(e) for e in _stage_events(began, stages)))
            for spans in sorted(Path(folder).glob("*.jsonl")):
                pid = int(spans.stem)
                name = "this process" if pid == os.getpid() else "worker"
                out.write(",\n" + json.dumps(name_event("process_name", f"{name} {pid}", pid)))
                skipped = 0
                with spans.open(encoding="utf-8") as lines:
                    for line in lines:
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
def _replacing(path: str) -> Iterator[IO[str]]:
    """Write a temporary file that replaces `path` when the block succeeds."""
    temporary = f"{path}.{uuid.uuid4().hex}.tmp"
    try:
        packed = path.endswith(".gz")
        with (
            gzip.open(temporary, "wt") if packed else open(temporary, "w", encoding="utf-8")
        ) as out:
            yield out
        os.replace(temporary, path)
    finally:
        Path(temporary).unlink(missing_ok=True)


def _stage_events(began: datetime, stages: list[Stage]) -> Iterator[dict[str, Any]]:
    yield name_event("process_name", "stages", STAGES)
    for number, stage in enumerate(stages, 1):
        yield name_event("thread_name", stage.stage, STAGES, number)
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
