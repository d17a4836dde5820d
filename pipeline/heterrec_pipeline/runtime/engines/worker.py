"""A worker process of the local engine: imports what every worker needs, then waits on standard input for its settings.

The imports take over a second. A worker that is started before the graph is built has finished them by the time it is needed.
"""

import json
import os
import sys

from heterrec_pipeline.runtime.startup import fast_imports

PROGRESS_VARIABLE = "HETERREC_PROGRESS"
"""Environment variable that names the folder for snapshots of the worker's progress."""


def main() -> None:
    """Run Beam's worker with the environment variables that one line of JSON on standard input sets."""
    with fast_imports():
        import polars  # noqa: F401
        import polars_hash  # noqa: F401
        import pyarrow.parquet  # noqa: F401
        from apache_beam.runners.worker import sdk_worker_main

        from heterrec_pipeline.telemetry.worker_progress import write_snapshots

    settings = sys.stdin.readline()
    if settings:  # empty if the command ended without this worker
        os.environ.update(json.loads(settings))
        write_snapshots(os.environ[PROGRESS_VARIABLE])
        sdk_worker_main.main([])


if __name__ == "__main__":
    main()
