"""`heterrec-pipeline purge`."""

import time
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from heterrec_pipeline.commands.shared import (
    DebugOption,
    JsonOption,
    OutputArgument,
    ParamOption,
    SweepAfterOption,
    app,
    guarded,
    parameters_in,
    parse_duration,
    print_columns,
)
from heterrec_pipeline.files.spec_text import spec_text
from heterrec_pipeline.runtime.startup import fast_imports
from heterrec_schemas.command_line import print_json
from heterrec_schemas.errors import CallError, RunError
from heterrec_schemas.feature_spec import parse_spec

if TYPE_CHECKING:
    from heterrec_pipeline.keeping import Purged

NOT_TOUCHED = "Models, exports and indexes made from the deleted generations are not touched."


@app.command()
def purge(
    output: OutputArgument,
    keep: Annotated[
        int | None,
        typer.Option("--keep", help="Number of ancestors of the latest generation to keep."),
    ] = None,
    grace: Annotated[
        str,
        typer.Option(
            "--grace",
            help="Keep younger generations, and those replaced by them, for readers without a lease.",
        ),
    ] = "24h",
    erased: Annotated[
        bool,
        typer.Option(
            "--erased", help="Delete the generations that hold a key listed under the spec's erase."
        ),
    ] = False,
    spec: Annotated[
        str | None, typer.Option("--spec", help="With --erased: the feature spec (YAML).")
    ] = None,
    input: Annotated[
        str | None,
        typer.Option("--input", help="With --erased: the folder that the spec's paths start from."),
    ] = None,
    param: ParamOption = None,
    pinned: Annotated[
        bool, typer.Option("--pinned", help="With --erased: delete pinned generations too.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be deleted; nothing is written.")
    ] = False,
    sweep_after: SweepAfterOption = "1h",
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Delete generations that are not needed, or (--erased) that hold texts which must not be kept."""
    with guarded(debug, as_json=as_json) as failed:
        with fast_imports():
            from heterrec_pipeline import keeping

        console, errors = Console(markup=False), Console(stderr=True, markup=False)

        def wait(seconds: float) -> None:
            text = f"waiting {seconds:g} s for a sign of life of builders and readers elsewhere"
            errors.print(text, soft_wrap=True)
            time.sleep(seconds)

        after = parse_duration("--sweep-after", sweep_after)
        if erased:
            if spec is None or input is None or keep is not None:
                raise CallError("--erased", expected="--spec and --input, and no --keep")
            keys = keeping.read_erased_keys(
                parse_spec(spec_text(spec, parameters_in(param)), where=spec), input
            )
            done = keeping.purge_erased(
                output, keys, pinned=pinned, dry_run=dry_run, after=after, wait=wait
            )
        else:
            if spec is not None or input is not None or param or pinned:
                raise CallError("--spec, --input, --param and --pinned go with --erased")
            if keep is None:
                raise CallError("purge", expected="--keep N, or --erased")
            age = parse_duration("--grace", grace)
            done = keeping.purge(output, keep, grace=age, dry_run=dry_run, after=after, wait=wait)
        body = done.as_json() | ({"note": NOT_TOUCHED} if erased else {})
        failed.update(body)
        if not as_json:
            _print(console, done)
            if erased:
                console.print(NOT_TOUCHED, soft_wrap=True)
        if done.refused:
            raise _refusal(done)
        if as_json:
            print_json(body)


def _print(console: Console, done: "Purged") -> None:
    rows = [
        [one.id, "would be deleted" if done.dry_run else "deleted", why]
        for one, why in done.deleted
    ]
    rows += [[one.id, "kept", why] for one, why in done.kept]
    rows += [
        [generation, "deleted", "unfinished, its builder is dead"] for generation in done.swept
    ]
    print_columns(console, {"id": "<", "": "<", "why": "<"}, sorted(rows, reverse=True))
    verb = "would be deleted" if done.dry_run else "deleted"
    count = len(done.deleted)
    text = f"{count} generation{'s' if count != 1 else ''} with {done.bytes:,} bytes {verb}."
    console.print(text, highlight=False, soft_wrap=True)


def _refusal(done: "Purged") -> RunError:
    listed = "\n".join(f"  {one.id}: {why}" for one, why in done.refused)
    return RunError(
        f"these generations hold listed keys, or may hold them, and must not be deleted:\n{listed}\n"
        "Publish a refresh with the same erase list, end the readers, unpin them or give --pinned, and purge again"
    )
