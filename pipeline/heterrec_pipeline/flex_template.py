"""Entry point of a flex template's launcher: turns its parameters, a flat list of flags, into a `build --no-wait`.

The launcher gives `--spec=...`, `--input=...` and `--output=...` among Beam's own flags. With its `--template_location`
Beam writes the job's description there, and the launcher creates the job and exits.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import Any

OWN = ("spec", "input", "output")
RUNNER = "--runner=DataflowRunner"


def build_call(flags: Sequence[str]) -> list[str]:
    """The arguments of the command line: parameters of `build` before `--`, Beam's flags after it.

    Raises:
        SystemExit: a parameter is missing; argparse names it.
    """
    parser = argparse.ArgumentParser(prog="heterrec template", allow_abbrev=False)
    for name in OWN:
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--runner")  # ignored: a template always runs on Dataflow
    known, beam = parser.parse_known_args(list(flags))
    own = [f"--{name}={getattr(known, name)}" for name in OWN]
    return ["build", *own, "--no-wait", "--json", "--", RUNNER, *beam]


def main() -> None:
    """Run the command line with the launcher's flags."""
    from heterrec_pipeline.runtime.startup import run_process

    sys.argv[1:] = build_call(sys.argv[1:])
    run_process(_app)


def _app() -> Callable[..., Any]:
    from heterrec_pipeline.commands import app

    return app
