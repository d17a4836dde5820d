"""The progress line, from the records of this process."""

from heterrec_pipeline.telemetry.recorder import RECORDER

_ROWS_READ = ("rows", "read")
"""Last part of the counters of rows read: `<table>.rows` and `interactions.read`."""


def progress_line() -> str:
    """The step or phase that began last, with the rows read and written so far by table."""
    activity, counters, written = RECORDER.progress()
    done = []
    for name, count in counters.items():
        table, _, counted = name.rpartition(".")
        if counted in _ROWS_READ and table != "files":
            done.append(f"{table} {count:,} read")
    done += [f"{table} {rows:,} written" for table, rows in written.items() if rows]
    return (activity or "starting") + (f"  ({', '.join(done)})" if done else "")
