"""Beam's options: which engine runs the graph, and how."""

import argparse
import contextlib
import io
from collections.abc import Sequence
from typing import Any, TypeVar, cast

from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import (
    DirectOptions,
    PipelineOptions,
    SetupOptions,
    StandardOptions,
)
from apache_beam.runners.runner import create_runner

from heterrec_schemas.errors import CallError, suggest

LOCAL_RUNNER = "FnApiRunner"
MAX_WORKERS = 1024
"""Maximum number of worker processes; more than the cores of a machine."""
_LOCAL = ("direct", "directrunner", "switchingdirectrunner")
ENGINES = {
    "local": LOCAL_RUNNER,
    "prism": "PrismRunner",
    "portable": "PortableRunner",
    "dataflow": "DataflowRunner",
}
"""Beam's runners by the short names of `--runner`, which accepts Beam's names too."""
_REFUSED = {
    "daskrunner": "it reports success with files missing",
    "bundlebaseddirectrunner": "it gives steps empty side inputs; use FnApiRunner, the default",
}
_HINT = "See Beam's pipeline options; flags after -- go to Beam unchanged."
View = TypeVar("View", bound=PipelineOptions)
_VIEWS = "_views"


class CachingOptions(PipelineOptions):
    """Options that create each view once, which makes the construction of a graph three times as fast.

    Beam requests views several times per transform, and creates each by declaring and parsing all flags again. A view
    shares its values with the options it was created from, so a cached one shows later changes too.
    """

    def view_as(self, cls: type[View]) -> View:
        """The view of a class, created on first use."""
        views: dict[type[PipelineOptions], PipelineOptions] = self.__dict__.setdefault(_VIEWS, {})
        if cls not in views:
            views[cls] = super().view_as(cls)
        return cast(View, views[cls])

    def __getstate__(self) -> dict[str, Any]:
        """The state without views: copies create their own."""
        return {name: value for name, value in super().__getstate__().items() if name != _VIEWS}


def pipeline_options(arguments: Sequence[str]) -> PipelineOptions:
    """Parse Beam's flags; without `--runner` the local engine is set.

    Setting it matters: `DirectRunner`, Beam's default, first tries to download another engine's binary.

    Raises:
        CallError: an unknown engine, one that is known to lose data, an unknown flag, or too many workers.
    """
    options = CachingOptions(list(arguments))
    _check_flags(options, arguments)
    workers = options.view_as(DirectOptions).direct_num_workers
    if not 0 <= workers <= MAX_WORKERS:
        raise CallError(
            "--direct_num_workers", got=workers, expected=f"0 (one per core) to {MAX_WORKERS:,}"
        )
    standard = options.view_as(StandardOptions)
    standard.runner = _checked_runner(standard.runner or LOCAL_RUNNER)
    options.view_as(SetupOptions).save_main_session = False
    return options


def with_runner(runner: str | None, arguments: Sequence[str]) -> list[str]:
    """Beam's flags, with the engine of the command's own `--runner`.

    Raises:
        CallError: the flags name another engine.
    """
    if runner is None:
        return list(arguments)
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--runner")
    named, _ = parser.parse_known_args(list(arguments))
    if named.runner not in (None, runner):
        raise CallError(
            f"two engines are named: --runner {runner}, and --runner {named.runner} after --",
            todo="Leave one of them out.",
        )
    return [f"--runner={runner}", *arguments]


def use_stores(arguments: Sequence[str]) -> PipelineOptions:
    """Parse Beam's flags, and apply them to this process's own access to object stores.

    Raises:
        CallError: as `pipeline_options`.
    """
    options = pipeline_options(arguments)
    FileSystems.set_options(options)
    return options


def _check_flags(options: PipelineOptions, arguments: Sequence[str]) -> None:
    """Refuse flags that Beam's parser does not know; Beam itself would ignore them."""
    parsers: list[argparse.ArgumentParser] = []
    printed = io.StringIO()
    try:
        with contextlib.redirect_stderr(printed):
            known = options.get_all_options(add_extra_args_fn=parsers.append)
            unknown = parsers[0].parse_known_args(list(arguments))[1]
    except SystemExit:  # argparse has printed its whole usage, and the reason in the last line
        reason = printed.getvalue().strip().splitlines()[-1].partition("error: ")[2]
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
    """The name of Beam's runner; the local one for names under which Beam would choose a runner itself."""
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
