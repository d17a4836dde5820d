"""The command line: `heterrec-pipeline build | validate | plan | inspect | embed`. It parses and calls.

Exit codes: 0 done, 1 a failure of the run, 2 a mistake in the call, the spec or the data.
"""

import json
import logging
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from pydantic import ValidationError
from rich.console import Console

from heterrec_pipeline.startup import leave_soon, many_imports
from heterrec_schemas.errors import CallError, HeterrecError, SpecError
from heterrec_schemas.spec import Source, describe_mistakes, parse_spec, read_spec_text

if TYPE_CHECKING:
    from heterrec_pipeline.dataflow.submission import Submission
    from heterrec_pipeline.observing.json_log import JsonLog

app = typer.Typer(
    name="heterrec-pipeline",
    help="Turn a catalogue, its embeddings and an interaction log into token tables for HeterRec.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

SpecOption = Annotated[str, typer.Option("--spec", help="The feature spec (YAML).")]
InputOption = Annotated[
    str,
    typer.Option(
        "--input", help="The folder that the spec's paths start from (local, gs://, s3://)."
    ),
]
DebugOption = Annotated[
    bool, typer.Option("--debug", help="Show tracebacks and the engine's own log.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for a script.")]
QuietOption = Annotated[bool, typer.Option("--quiet", help="No progress and no tables.")]
RunnerOption = Annotated[
    str | None,
    typer.Option(
        "--runner", help="The engine: local (default), prism, portable, dataflow, or Beam's name."
    ),
]
TimeLimitOption = Annotated[
    float | None,
    typer.Option(
        "--time-limit", help="End the run as Ctrl-C does after so many seconds.", min=0.001
    ),
]
BEAM = {"allow_extra_args": True}
BEAM_FLAGS = "Flags behind -- go to Apache Beam as they are."


def _stop(signum: int, frame: object) -> NoReturn:
    """SIGTERM, or the end of the time limit: end as Ctrl-C does, so that half a generation is cleaned up."""
    raise KeyboardInterrupt


@contextmanager
def _guarded(
    debug: bool, log: "JsonLog | None" = None, time_limit: float | None = None
) -> Iterator[None]:
    """Turn errors into one message and an exit code; tracebacks only with --debug. A log gets all of it instead of stderr."""
    started = time.monotonic()
    logging.basicConfig(
        level=logging.INFO if debug else logging.CRITICAL,
        format="%(levelname)s %(name)s: %(message)s",
        handlers=[log.handler()] if log else None,
    )
    signal.signal(signal.SIGTERM, _stop)
    if time_limit is not None:
        signal.signal(signal.SIGALRM, _stop)
        signal.setitimer(signal.ITIMER_REAL, time_limit)
    try:
        yield
    except HeterrecError as error:
        _fail(error.message, error.exit_code, debug, log)
    except KeyboardInterrupt:
        late = time_limit is not None and time.monotonic() - started >= time_limit
        why = f"stopped: the time limit of {time_limit:g} s is over" if late else "stopped"
        _fail(f"{why}; nothing was published", 1, False, log)
    except BrokenPipeError:
        raise typer.Exit(1) from None
    except Exception as error:
        message = " ".join(str(error).split())
        todo = "Run again with --debug for the traceback, and report it."
        _fail(f"an unexpected {type(error).__name__}: {message}. {todo}", 1, debug, log)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _fail(message: str, code: int, debug: bool, log: "JsonLog | None") -> NoReturn:
    if log:
        log.failed(message, code, with_traceback=debug)
        raise typer.Exit(code)
    if debug:
        import traceback

        traceback.print_exc()
    Console(stderr=True, markup=False).print(
        f"error: {message}", style="red", markup=False, highlight=False, soft_wrap=True
    )
    raise typer.Exit(code)


def _json_log() -> "JsonLog":
    from heterrec_pipeline.observing.json_log import JsonLog

    return JsonLog(sys.stderr)


def _spec_text(path: str, flags: list[str]) -> str:
    """The text of a spec: a local file, or an object of a store, which Beam's flags may be needed for."""
    if "://" not in path:
        return read_spec_text(path)
    from heterrec_pipeline import storage
    from heterrec_pipeline.runners import use_stores

    use_stores(flags)
    if not storage.matched(path):
        raise SpecError(f"there is no spec {path}", todo="Check --spec.")
    try:
        return storage.read_bytes(path).decode("utf-8")
    except UnicodeDecodeError as error:
        raise SpecError(f"the spec {path} is no UTF-8 text: {error}") from None


@app.command(context_settings=BEAM, epilog=BEAM_FLAGS)
def build(
    context: typer.Context,
    spec: SpecOption,
    input: InputOption,
    output: Annotated[
        str,
        typer.Option("--output", help="The folder that generations go to (local, gs://, s3://)."),
    ],
    runner: RunnerOption = None,
    time_limit: TimeLimitOption = None,
    no_wait: Annotated[
        bool,
        typer.Option("--no-wait", help="On Dataflow: end when the job is submitted; it publishes."),
    ] = False,
    profile: Annotated[
        str | None,
        typer.Option(
            "--profile",
            help="Write a trace of the build there, for Perfetto or Chrome (.gz: packed).",
        ),
    ] = None,
    log_json: Annotated[
        bool, typer.Option("--log-json", help="Log to standard error as JSON, a line a stage.")
    ] = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> None:
    """Build a generation from the whole input and publish it."""
    log = _json_log() if log_json else None
    with _guarded(debug, log, time_limit):
        with many_imports():
            from heterrec_pipeline.building import BuildConfig, submit
            from heterrec_pipeline.building import build as run
            from heterrec_pipeline.dataflow.options import is_detached
            from heterrec_pipeline.display import progress, submitted, summary
            from heterrec_pipeline.observing.watching import nobody
            from heterrec_pipeline.runners import pipeline_options, with_runner

        started = time.monotonic()
        flags = with_runner(runner, context.args)
        text = _spec_text(spec, flags)
        parsed = parse_spec(text, where=spec)
        errors = Console(stderr=True, markup=False)
        for warning in parsed.warnings():
            if log:
                log("warning", message=warning)
                continue
            errors.print(f"warning: {warning}", style="yellow", markup=False, soft_wrap=True)
        config = BuildConfig(parsed, text, input, output, flags, profile)
        if is_detached(pipeline_options(config.pipeline_args), no_wait):
            submission = submit(config)
            if log:
                log("submitted", **submission.in_short())
            submitted(Console(markup=False), submission, as_json=as_json)
            return

        def announce(submission: "Submission") -> None:
            if log:
                log("submitted", **submission.in_short())
            else:
                submitted(errors, submission)

        with progress(errors, quiet=quiet or log is not None):
            result = run(config, announce, log or nobody)
        seconds = round(time.monotonic() - started, 3)
        if log:
            log("published", **result.in_short(), seconds=seconds)
        if as_json:
            print(json.dumps({"path": result.path, "seconds": seconds} | result.as_json()))
        elif not quiet:
            summary(Console(markup=False), result, seconds)


@app.command(context_settings=BEAM, epilog=BEAM_FLAGS)
def validate(
    context: typer.Context,
    spec: SpecOption,
    input: InputOption,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Hold a spec against the data's schema and a sample; nothing is written."""
    with _guarded(debug):
        from heterrec_pipeline.runners import use_stores
        from heterrec_pipeline.validate import run_validate

        use_stores(list(context.args))
        text = _spec_text(spec, list(context.args))
        run_validate(text, input, where=spec, as_json=as_json, console=Console(markup=False))


@app.command(context_settings=BEAM, epilog=BEAM_FLAGS)
def plan(
    context: typer.Context,
    spec: SpecOption,
    input: InputOption,
    runner: RunnerOption = None,
    full_scan: Annotated[
        bool, typer.Option("--full-scan", help="Read everything: cardinalities are then exact.")
    ] = False,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Say what a build would take and give, from schemas and a sample; nothing is run or written."""
    with _guarded(debug):
        from heterrec_pipeline.planning.display import as_json as plan_json
        from heterrec_pipeline.planning.display import show
        from heterrec_pipeline.planning.plan import PlanConfig
        from heterrec_pipeline.planning.plan import plan as reckon
        from heterrec_pipeline.runners import use_stores, with_runner

        flags = with_runner(runner, context.args)
        use_stores(flags)
        text = _spec_text(spec, flags)
        parsed = parse_spec(text, where=spec)
        found = reckon(PlanConfig(parsed, text, input, flags, full_scan))
        if as_json:
            print(json.dumps(plan_json(found)))
        else:
            show(Console(markup=False), found)


@app.command()
def inspect(
    path: Annotated[str, typer.Argument(help="A generation, or an output folder (its latest).")],
    item: Annotated[str | None, typer.Option(help="Decode the tokens of this item.")] = None,
    user: Annotated[str | None, typer.Option(help="Show this user's sequences in words.")] = None,
    verify: Annotated[bool, typer.Option(help="Check the hash of every file first.")] = True,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Show what a generation holds."""
    with _guarded(debug):
        from heterrec_pipeline.inspect import run_inspect

        run_inspect(
            path,
            item=item,
            user=user,
            as_json=as_json,
            verify=verify,
            console=Console(markup=False),
        )


@app.command(context_settings=BEAM, epilog=BEAM_FLAGS)
def embed(
    context: typer.Context,
    input: InputOption,
    items: Annotated[
        list[str], typer.Option("--items", help="The item table: a file or glob; may be repeated.")
    ],
    key: Annotated[str, typer.Option(help="The item's key column.")],
    output: Annotated[str, typer.Option(help="The folder for the shards of vectors.")],
    text: Annotated[list[str], typer.Option(help="A text column; may be repeated.")] = [],  # noqa: B006
    image: Annotated[
        list[str], typer.Option(help="An image column (bytes or paths), for a CLIP model.")
    ] = [],  # noqa: B006
    model: Annotated[
        str | None,
        typer.Option(
            help="A folder, an installed model package, or a name on the Hugging Face hub."
        ),
    ] = None,
    revision: Annotated[str | None, typer.Option(help="A revision of a model on the hub.")] = None,
    prompt: Annotated[str | None, typer.Option(help="Text put before every text.")] = None,
    prompt_name: Annotated[
        str | None, typer.Option(help="One of the model's own prompts, by name.")
    ] = None,
    normalize: Annotated[bool, typer.Option(help="Scale vectors to length 1.")] = False,
    batch_size: Annotated[int, typer.Option(help="Texts that go through the model at once.")] = 64,
    shard_texts: Annotated[
        int, typer.Option(help="Distinct texts a shard; finished shards survive an interruption.")
    ] = 4096,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, mps ...")] = None,
    threads: Annotated[int | None, typer.Option(help="PyTorch's threads a worker.")] = None,
    max_reject_ratio: Annotated[
        float, typer.Option(help="Above this share of bad rows the run fails.")
    ] = 0.01,
    format: Annotated[
        str | None, typer.Option(help="parquet, csv or jsonl, where the suffix does not tell.")
    ] = None,
    fresh: Annotated[bool, typer.Option(help="Encode all again, whatever stands there.")] = False,
    runner: RunnerOption = None,
    time_limit: TimeLimitOption = None,
    debug: DebugOption = False,
) -> None:
    """Encode text or image columns of an item table; each distinct text once, resumable."""
    with _guarded(debug, time_limit=time_limit):
        from heterrec_pipeline.embed import EmbedConfig, run_embed
        from heterrec_pipeline.embed.config import DEFAULT_MODEL
        from heterrec_pipeline.runners import with_runner

        try:
            source = Source.model_validate({"path": items, "format": format})
        except ValidationError as error:
            raise CallError(describe_mistakes(error, "--items")) from None
        config = EmbedConfig(
            input=input,
            source=source,
            key=key,
            output=output,
            text_columns=tuple(text),
            image_columns=tuple(image),
            model=model or DEFAULT_MODEL,
            revision=revision,
            prompt=prompt,
            prompt_name=prompt_name,
            normalize=normalize,
            batch_size=batch_size,
            max_shard_texts=shard_texts,
            device=device,
            threads=threads,
            max_reject_ratio=max_reject_ratio,
            fresh=fresh,
            pipeline_args=tuple(with_runner(runner, context.args)),
        )
        run_embed(config, Console(stderr=True, markup=False))


def main() -> None:
    """Run the command line."""
    try:
        app()
    except SystemExit as end:
        leave_soon(end.code)
        raise


if __name__ == "__main__":
    main()
