"""Entry point of a flex template's launcher: turns its parameters, a flat list of flags, into a `--no-wait` command.

The launcher gives the parameters `spec`, `input` and `output` of a build, and perhaps `param` (name=value, several separated
by semicolons), among Beam's own flags. With `base`, and perhaps `refit`, `publish`, `allow_drift` and `reuse` (the last three
true or false), the command is a refresh, which needs no `output`. With its `--template_location` Beam writes the job's
description there, and the launcher creates the job and exits.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import Any

OWN = ("spec", "input")
SWITCHES = ("publish", "allow_drift", "reuse")
"""Parameters that are true or false."""
OPTIONAL = ("base", "output", "param", "refit", *SWITCHES)
RUNNER = "--runner=DataflowRunner"


def build_call(flags: Sequence[str]) -> list[str]:
    """The arguments of the command line: parameters of `build` or `refresh` before `--`, Beam's flags after it.

    Raises:
        SystemExit: a parameter is missing or wrong; argparse names it.
    """
    parser = argparse.ArgumentParser(prog="heterrec template", allow_abbrev=False)
    for name in OWN:
        parser.add_argument(f"--{name}", required=True)
    for name in OPTIONAL:
        parser.add_argument(f"--{name}", choices=("true", "false") if name in SWITCHES else None)
    parser.add_argument("--runner")  # ignored: a template always runs on Dataflow
    known, beam = parser.parse_known_args(list(flags))
    refresh = known.base is not None
    if not refresh and known.output is None:
        parser.error("the following arguments are required: --output")
    for name in () if refresh else ("refit", *SWITCHES):
        if getattr(known, name) is not None:
            parser.error(f"--{name} is for a refresh, which needs --base")
    names = [n for n in (*OWN, "base", "output", "refit") if getattr(known, n) is not None]
    own = [f"--{name}={getattr(known, name)}" for name in names]
    own += [f"--param={value}" for value in (known.param or "").split(";") if value]
    if known.publish is not None:
        own.append("--publish" if known.publish == "true" else "--no-publish")
    if known.allow_drift == "true":
        own.append("--allow-drift")
    if known.reuse == "false":
        own.append("--no-reuse")
    command = "refresh" if refresh else "build"
    return [command, *own, "--no-wait", "--json", "--", RUNNER, *beam]


def main() -> None:
    """Run the command line with the launcher's flags."""
    from heterrec_pipeline.runtime.startup import run_process

    sys.argv[1:] = build_call(sys.argv[1:])
    run_process(_app)


def _app() -> Callable[..., Any]:
    from heterrec_pipeline.commands import app

    return app
