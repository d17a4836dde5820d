"""The number of worker processes of the local engine."""

import os

from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions, StandardOptions

from heterrec_pipeline.runtime.flags import LOCAL_RUNNER, MAX_WORKERS
from heterrec_schemas.errors import CallError

AUTO = "auto"
"""The value of `--workers` that chooses by cores and input size."""
QUOTA = "/sys/fs/cgroup/cpu.max"
"""File of a control group's CPU quota and period in microseconds, on Linux."""
ROWS_PER_WORKER = 3_000_000
"""Input rows per worker process. With two workers the break-even is at about 4 million rows (docs/benchmarks.md)."""


def parse_workers(text: str) -> int | None:
    """The value of `--workers`; None for auto.

    Raises:
        CallError: neither `auto` nor a number that a machine can run.
    """
    if text == AUTO:
        return None
    if text.isascii() and text.isdigit() and len(text) <= len(str(MAX_WORKERS)):
        if 1 <= int(text) <= MAX_WORKERS:
            return int(text)
    raise CallError(
        "--workers", got=repr(text[:40]), expected=f"auto or a number from 1 to {MAX_WORKERS:,}"
    )


def use_workers(options: PipelineOptions, workers: int | None, rows: int) -> int:
    """Set the number of worker processes in Beam's options; returns it. One means this process itself.

    Beam's own flags `--direct_num_workers` and `--direct_running_mode` take precedence over an automatic choice.

    Args:
        options: completed in place.
        workers: the number that was asked for; None to choose one.
        rows: rows of all input tables together, estimated.

    Raises:
        CallError: a number was asked for, and the engine is not the local one or Beam's own flags name another number.
    """
    direct = options.view_as(DirectOptions)
    local = options.view_as(StandardOptions).runner == LOCAL_RUNNER
    named = direct.direct_num_workers != 1 or direct.direct_running_mode not in (None, "in_memory")
    if workers is not None and (not local or named):
        raise CallError(
            f"--workers {workers}",
            got="another engine" if not local else "Beam's own --direct_* flags as well",
            expected="the local engine, without --direct_num_workers and --direct_running_mode",
            todo="Leave --workers out, or the flags after --.",
        )
    if not local or named:
        return int(direct.direct_num_workers)
    chosen = workers or max(1, min(cores(), rows // ROWS_PER_WORKER))
    if chosen > 1:
        direct.direct_running_mode = "multi_processing"
        direct.direct_num_workers = chosen
    return chosen


def cores() -> int:
    """Number of cores that this process may use: those of its CPU mask, and of its control group's quota."""
    count = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    try:
        with open(QUOTA, encoding="ascii") as file:
            quota, period = file.read().split()
        return count if quota == "max" else max(1, min(count, int(quota) // int(period)))
    except (OSError, ValueError):
        return count
