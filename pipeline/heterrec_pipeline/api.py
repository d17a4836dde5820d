"""The pipeline in a program: `build`, `refresh`, `validate` and `plan`, with the options of the commands.

    from heterrec_pipeline import build

    result = build(spec="spec.yaml", input="data/", output="shop/")
    result.manifest.counts.interactions.kept

All arguments are given by name. `spec` is the path of a YAML file (local or of a store), or the spec as a dict. `input` and
`output` are folders (also as `file://`) or stores. Errors are exceptions of `heterrec_schemas.errors`; their `exit_code` is
that of the command.
"""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from heterrec_pipeline import building
from heterrec_pipeline.building import BuildConfig, BuildResult
from heterrec_pipeline.checking.parent import output_of
from heterrec_pipeline.checking.validate import Validation
from heterrec_pipeline.checking.validate import validate as validate_text
from heterrec_pipeline.files import storage
from heterrec_pipeline.files.spec_text import spec_text
from heterrec_pipeline.planning import plan as planning
from heterrec_pipeline.planning.plan import Plan, PlanConfig
from heterrec_pipeline.runtime.flags import use_stores, with_runner
from heterrec_pipeline.telemetry.monitor import OnEvent, ignore_event
from heterrec_schemas.errors import SpecError
from heterrec_schemas.feature_spec import parse_spec, with_parameters

__all__ = ["BuildResult", "Plan", "Validation", "build", "plan", "refresh", "validate"]
AnyPath = str | os.PathLike[str]
AnySpec = AnyPath | Mapping[str, Any]
"""A spec: the path of its file, or its content."""


def build(
    *,
    spec: AnySpec,
    input: AnyPath,
    output: AnyPath,
    runner: str | None = None,
    workers: int | None = None,
    profile: AnyPath | None = None,
    beam_args: Sequence[str] = (),
    params: Mapping[str, str] | None = None,
    on_event: OnEvent = ignore_event,
) -> BuildResult:
    """Build a generation from the whole input and publish it, as `heterrec-pipeline build` does.

    Args:
        spec: the feature spec: a path, or its content as a dict.
        input: the folder that the spec's paths start from (local, gs://, s3://).
        output: the folder for generations and `latest.json` (local, gs://, s3://).
        runner: the engine: local (default), prism, portable, dataflow, or Beam's name.
        workers: number of worker processes of the local engine; None to choose by cores and input size.
        profile: a local file for a trace of the build.
        beam_args: Beam's flags.
        params: values of the spec's parameters, by name.
        on_event: called during the build with an event's name, `begin`, `stage_began` or `stage`, and its fields.

    Returns:
        The folder and the manifest of the generation; `open()` opens it.

    Raises:
        HeterrecError: an error in the call, the spec or the data (`exit_code` 2), or a failed run (`exit_code` 1). Nothing
            was published then, and earlier generations are unchanged.
    """
    config = _config(spec, input, _plain(output), runner, workers, profile, beam_args, params)
    return building.build(config, on_event=on_event)


def refresh(
    *,
    base: AnyPath,
    spec: AnySpec,
    input: AnyPath,
    output: AnyPath | None = None,
    refit: Sequence[str] = (),
    publish: bool | None = None,
    allow_drift: bool = False,
    skip_unchanged: bool = False,
    reuse: bool = True,
    runner: str | None = None,
    workers: int | None = None,
    profile: AnyPath | None = None,
    beam_args: Sequence[str] = (),
    params: Mapping[str, str] | None = None,
    on_event: OnEvent = ignore_event,
) -> BuildResult:
    """Continue a generation with the present input, as `heterrec-pipeline refresh` does: no id moves.

    Args:
        base: the generation to continue: its folder, or the output folder whose `latest.json` names it.
        spec: as in `build`.
        input: as in `build`.
        output: the folder for generations; None for that of the base.
        refit: names of features whose boundaries or quantizers are fitted anew; `user_<feature>` on the users' side.
        publish: whether `latest.json` names the result: True, False, or None for only if it names the base.
        allow_drift: publish also if the result drifted too far from the base.
        skip_unchanged: return the base (`skipped`) if it was made from the same input by the same spec.
        reuse: do not parse again the input files that are as the base has read them.
        runner: as in `build`.
        workers: as in `build`.
        profile: as in `build`.
        beam_args: as in `build`.
        params: as in `build`.
        on_event: as in `build`.

    Raises:
        NotPublishedError: the generation is complete, but `latest.json` does not name it.
        HeterrecError: as in `build`.
    """
    config = _config(
        spec,
        input,
        output_of(_plain(base)) if output is None else _plain(output),
        runner,
        workers,
        profile,
        beam_args,
        params,
        base=_plain(base),
        refit=tuple(refit),
        publish=publish,
        allow_drift=allow_drift,
        skip_unchanged=skip_unchanged,
        reuse=reuse,
    )
    return building.build(config, on_event=on_event)


def validate(
    *,
    spec: AnySpec,
    input: AnyPath,
    base: AnyPath | None = None,
    refit: Sequence[str] = (),
    beam_args: Sequence[str] = (),
    params: Mapping[str, str] | None = None,
) -> Validation:
    """Check a spec against the data's schema and a sample, as `heterrec-pipeline validate` does; nothing is written.

    Args:
        spec: as in `build`.
        input: as in `build`.
        base: the generation that a refresh would continue; None to check a build.
        refit: as in `refresh`.
        beam_args: Beam's flags, of which those of stores matter.
        params: as in `build`.

    Returns:
        The errors (`problems`, as texts `mistakes`), the warnings, and samples of the tables. Errors of the data are
        returned, not raised.

    Raises:
        HeterrecError: the spec or a store cannot be read.
    """
    use_stores(beam_args)
    text, where = _text(spec, params)
    parent = None if base is None else _plain(base)
    return validate_text(text, _plain(input), where, parent=parent, refit=tuple(refit))


def plan(
    *,
    spec: AnySpec,
    input: AnyPath,
    base: AnyPath | None = None,
    refit: Sequence[str] = (),
    full_scan: bool = False,
    tune_tokens: bool = False,
    runner: str | None = None,
    beam_args: Sequence[str] = (),
    params: Mapping[str, str] | None = None,
) -> Plan:
    """Estimate the results and resources of a build from a build of a sample, as `heterrec-pipeline plan` does.

    Args:
        spec: as in `build`.
        input: as in `build`.
        base: the generation that a refresh would continue; None to plan a build.
        refit: as in `refresh`.
        full_scan: read and build everything in a temporary folder, so that all numbers are exact.
        tune_tokens: compare settings of the tokens of embedding features (`Plan.tokens`).
        runner: as in `build`.
        beam_args: Beam's flags.
        params: as in `build`.

    Raises:
        HeterrecError: as in `build`, except that too many rejects, a feature without any value and a log without interactions
            are warnings.
    """
    flags = with_runner(runner, beam_args)
    use_stores(flags)
    text, where = _text(spec, params)
    parent = None if base is None else _plain(base)
    parsed = parse_spec(text, where=where)
    return planning.plan(
        PlanConfig(
            parsed,
            text,
            _plain(input),
            flags,
            full_scan,
            base=parent,
            refit=tuple(refit),
            tune_tokens=tune_tokens,
        )
    )


def _config(
    spec: AnySpec,
    input: AnyPath,
    output: str,
    runner: str | None,
    workers: int | None,
    profile: AnyPath | None,
    beam_args: Sequence[str],
    params: Mapping[str, str] | None,
    **of_refresh: Any,
) -> BuildConfig:
    options = use_stores(with_runner(runner, beam_args))
    text, where = _text(spec, params)
    return BuildConfig(
        parse_spec(text, where=where),
        text,
        _plain(input),
        output,
        options=options,
        workers=workers,
        profile=None if profile is None else os.fspath(profile),
        **of_refresh,
    )


def _plain(path: AnyPath) -> str:
    return storage.plain_path(os.fspath(path))


def _text(spec: AnySpec, params: Mapping[str, str] | None) -> tuple[str, str]:
    """The YAML of a spec with the values of its parameters, and the name of the spec in messages."""
    if isinstance(spec, Mapping):
        try:
            text = yaml.safe_dump(dict(spec), sort_keys=False, allow_unicode=True)
        except yaml.representer.RepresenterError as error:
            raise SpecError(
                "the spec holds a value that YAML has no type for",
                got=repr(error.args[-1]),
                expected="dicts, lists, texts, numbers and booleans",
            ) from None
        return with_parameters(text, params or {}), "spec"
    path = _plain(spec)
    return spec_text(path, params), path
