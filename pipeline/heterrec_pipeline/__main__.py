"""The command line, `heterrec-pipeline`: one file per command in `commands`.

Exit codes: 0 done, 1 a failure of the run, 2 a mistake in the call, the spec or the data.
"""

import signal
from collections.abc import Callable
from typing import Any


def main() -> None:
    """Run the command line."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # no traceback of the next import
    from heterrec_pipeline.runtime.startup import run_process

    run_process(_app)


def _app() -> Callable[..., Any]:
    from heterrec_pipeline.commands import app

    return app


if __name__ == "__main__":
    main()
