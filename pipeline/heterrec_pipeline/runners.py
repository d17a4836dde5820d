"""Beam's options: which engine runs the graph, and how."""

from collections.abc import Sequence

from apache_beam.options.pipeline_options import PipelineOptions, SetupOptions, StandardOptions

from heterrec_schemas.errors import CallError

LOCAL_RUNNER = "FnApiRunner"
_REFUSED = {
    "DaskRunner": "it reports success with files missing",
}


def pipeline_options(arguments: Sequence[str]) -> PipelineOptions:
    """Beam's own flags as options; without `--runner` the local engine is named.

    Naming it matters: `DirectRunner`, Beam's default, first tries to download another engine's binary.

    Raises:
        CallError: an engine that is known to lose data, or a flag that Beam does not know.
    """
    options = PipelineOptions(list(arguments))
    unknown = options.get_all_options(retain_unknown_options=False)
    known = set(unknown)
    for argument in arguments:
        name = argument.lstrip("-").split("=")[0]
        if argument.startswith("--") and name not in known and not name.startswith("no_"):
            raise CallError(
                f"Beam has no flag --{name}",
                todo="See Beam's pipeline options; flags behind -- go to Beam as they are.",
            )
    standard = options.view_as(StandardOptions)
    runner = standard.runner or LOCAL_RUNNER
    if runner in ("DirectRunner", "direct"):
        runner = LOCAL_RUNNER
    if runner in _REFUSED:
        raise CallError(f"--runner {runner} is refused: {_REFUSED[runner]}")
    standard.runner = runner
    options.view_as(SetupOptions).save_main_session = False
    return options


def is_local(options: PipelineOptions) -> bool:
    """Whether the graph runs in this process."""
    return options.view_as(StandardOptions).runner in (LOCAL_RUNNER, "BundleBasedDirectRunner")
