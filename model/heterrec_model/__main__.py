"""The command line, `heterrec-model`; the commands are in `commands`."""

import signal
import sys
from collections.abc import Callable
from typing import Any


def main() -> None:
    """Run the command line."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # no traceback of the next import
    from heterrec_schemas.command_line import FailureReport, asked, run

    sys.exit(run(_app, FailureReport(asked("--json"))))


def _app() -> Callable[..., Any]:
    from heterrec_model.commands import app

    return app


if __name__ == "__main__":
    main()
