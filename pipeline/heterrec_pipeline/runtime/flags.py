"""Beam's options: which engine runs the graph, and how."""

import argparse
import contextlib
import io
from collections.abc import Sequence

from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions, SetupOptions, StandardOptions
from apache_beam.runners.runner import create_runner

from heterrec_pipeline.runtime.options import RememberingOptions
from heterrec_schemas.errors import CallError, suggest

LOCAL_RUNNER = "FnApiRunner"
_LOCAL = ("direct", "directrunner", "switchingdirectrunner")
ENGINES = {
    "local": LOCAL_RUNNER,
    "prism": "PrismRunner",
    "portable": "PortableRunner",
    "dataflow": "DataflowRunner",
}
"""The short names of `--runner`; Beam's own names work too."""
_REFUSED = {
    "daskrunner": "it reports success with files missing",
    "bundlebaseddirectrunner": "it hands steps empty side inputs; use FnApiRunner, the default",
}
_HINT = "See Beam's pipeline options; flags behind -- go to Beam as they are."


def pipeline_options(arguments: Sequence[str]) -> PipelineOptions:
    """Beam's own flags as options; without `--runner` the local engine is named.

    Naming it matters: `DirectRunner`, Beam's default, first tries to download another engine's binary.

    Raises:
        CallError: an engine that is known to lose data or that there is none of, or a flag that Beam does not know.
    """
    options = RememberingOptions(list(arguments))
    _check_flags(options, arguments)
    standard = options.view_as(StandardOptions)
    standard.runner = _checked_runner(standard.runner or LOCAL_RUNNER)
    options.view_as(SetupOptions).save_main_session = False
    return options


def with_runner(runner: str | None, arguments: Sequence[str]) -> list[str]:
    """Beam's flags with the engine of the command's own `--runner`.

    Raises:
        CallError: the flags name another one.
    """
    if runner is None:
        return list(arguments)
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--runner")
    named, _ = parser.parse_known_args(list(arguments))
    if named.runner not in (None, runner):
        raise CallError(
            f"two engines are named: --runner {runner}, and --runner {named.runner} behind --",
            todo="Leave one of them out.",
        )
    return [f"--runner={runner}", *arguments]


def use_stores(arguments: Sequence[str]) -> PipelineOptions:
    """`pipeline_options`, which this process's own reads and writes of object stores follow too.

    Raises:
        CallError: as `pipeline_options`.
    """
    options = pipeline_options(arguments)
    FileSystems.set_options(options)
    return options


def _check_flags(options: PipelineOptions, arguments: Sequence[str]) -> None:
    """Refuse what Beam's parser does not know; Beam itself would pass over it."""
    parsers: list[argparse.ArgumentParser] = []
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            known = options.get_all_options(add_extra_args_fn=parsers.append)
            unknown = parsers[0].parse_known_args(list(arguments))[1]
    except SystemExit:  # argparse has printed its whole usage, and the reason in the last line
        reason = said.getvalue().strip().splitlines()[-1].partition("error: ")[2]
        raise CallError(f"Beam refuses its flags: {reason}", todo=_HINT) from None
    if not unknown:
        return
    flag = unknown[0].split("=")[0]
    if not flag.startswith("-"):
        raise CallError(f"unexpected argument {flag!r}", todo="See --help.")
    hint = suggest(flag, (f"--{name}" for name in known))
    todo = f"{hint} {_HINT}" if hint.startswith("Did") else _HINT
    raise CallError(f"Beam has no flag {flag}", todo=todo)


def _checked_runner(runner: str) -> str:
    """The engine's name, the local one's for every name that would pick one by itself."""
    name = runner.rpartition(".")[2].lower()
    if runner.lower() in ENGINES:
        return ENGINES[runner.lower()]
    if name in _LOCAL:
        return LOCAL_RUNNER
    for refused, why in _REFUSED.items():
        if name in (refused, refused.removesuffix("runner")):
            raise CallError(f"--runner {runner} is refused: {why}")
    try:
        create_runner(runner)
    except ValueError:
        hint = suggest(runner, [*ENGINES, *StandardOptions.KNOWN_RUNNER_NAMES])
        raise CallError(f"there is no runner {runner!r}", todo=hint) from None
    except (ImportError, AttributeError) as error:
        raise CallError(f"the runner {runner!r} cannot be used: {error}") from None
    return runner
