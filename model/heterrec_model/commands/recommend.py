"""The command `recommend`."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from heterrec_model.commands.bulk import recommend_in_bulk
from heterrec_model.commands.shared import (
    DATA_HELP,
    CheckpointOption,
    DebugOption,
    JsonOption,
    QuietOption,
    app,
    error_messages,
)
from heterrec_schemas.command_line import importing, print_json, text_argument
from heterrec_schemas.errors import CallError


@app.command()
def recommend(
    run: Annotated[
        str | None, typer.Option("--run", help="Folder of the run, on this machine.")
    ] = None,
    data: Annotated[str | None, typer.Option("--data", help=DATA_HELP)] = None,
    user: Annotated[
        list[str] | None, typer.Option("--user", help="Id of a user; may be repeated.")
    ] = None,
    item: Annotated[
        list[str] | None,
        typer.Option(
            "--item", help="Id of an item instead of users; repeat it for more, oldest first."
        ),
    ] = None,
    items: Annotated[
        str | None,
        typer.Option("--items", metavar="I1,I2", help="Likewise, for ids without commas."),
    ] = None,
    k: Annotated[
        int | None,
        typer.Option(
            "-k", help="Number of items; default: 10, with --bundle 100.", min=1, max=2**20
        ),
    ] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(
            "--where",
            metavar="FEATURE=VALUE",
            help="Only items with this value of a feature; repeat it for other values or features.",
        ),
    ] = None,
    filter_seen: Annotated[
        bool, typer.Option("--filter-seen/--no-filter-seen", help="Leave out items of the history.")
    ] = False,
    checkpoint: CheckpointOption = "best",
    bundle: Annotated[
        str | None,
        typer.Option(
            "--bundle",
            help="Instead of --run: folder that `export` wrote, local, gs:// or s3://. Recommends to --users, into --output.",
        ),
    ] = None,
    users: Annotated[
        str,
        typer.Option(
            "--users",
            metavar="all|FILE",
            help="With --bundle: all its users, or a file of ids or histories: text, .csv, .parquet (user_id), .jsonl.",
        ),
    ] = "all",
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            help="With --bundle: folder of the Parquet files, local, gs:// or s3://; a job that is there is continued.",
        ),
    ] = None,
    exact: Annotated[
        bool | None,
        typer.Option(
            "--exact/--index",
            help="With --bundle: how to search; default: its index if it has one.",
        ),
    ] = None,
    allow: Annotated[
        Path | None,
        typer.Option("--allow", metavar="FILE", help="With --bundle: only these items (item_id)."),
    ] = None,
    deny: Annotated[
        Path | None,
        typer.Option("--deny", metavar="FILE", help="With --bundle: not these items (item_id)."),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers", help="With --bundle: number of processes; default: of cores.", min=1
        ),
    ] = None,
    shards: Annotated[
        int | None,
        typer.Option(
            "--shards", help="With --bundle: number of files; default: by 4,096 users.", min=1
        ),
    ] = None,
    part: Annotated[
        str,
        typer.Option(
            "--part", metavar="I/N", help="With --bundle: every N-th file, from the I-th on."
        ),
    ] = "1/1",
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> None:
    """Recommend items to users, or after a list of items, in words; with --bundle to many users, into Parquet files."""
    with error_messages(debug, as_json):
        if bundle is not None:
            given = {"--run": run, "--data": data, "--user": user, "--item": item, "--items": items}
            if other := [name for name, value in given.items() if value is not None]:
                raise CallError(
                    "recommend", got=f"--bundle and {other[0]}", expected="--bundle with --users"
                )
            recommend_in_bulk(
                bundle,
                users,
                output,
                k,
                workers=workers,
                exact=exact,
                filter_seen=filter_seen,
                where=conditions(where),
                allow=allow,
                deny=deny,
                shards=shards,
                part=part,
                as_json=as_json,
                quiet=quiet,
            )
            return
        with importing():
            from heterrec_model.serving.recommend import recommend as run_recommend
            from heterrec_model.serving.recommendation_display import show_recommendation

        if run is None or data is None:
            raise CallError(
                "recommend",
                got=f"no {'--run' if run is None else '--data'}",
                expected="both, or --bundle",
            )
        found = run_recommend(
            run,
            data,
            users=None if user is None else [text_argument(name) for name in user],
            items=item_ids(item, items),
            k=10 if k is None else k,
            checkpoint=checkpoint,
            where=conditions(where),
            filter_seen=filter_seen,
        )
        if as_json:
            print_json({"recommendations": [one.to_json() for one in found]})
            return
        for one in found:
            show_recommendation(Console(markup=False), one)


def item_ids(single: list[str] | None, joined: str | None) -> list[str] | None:
    """The ids of `--item` and `--items`; None if there is neither.

    Raises:
        CallError: both are given.
    """
    if single and joined is not None:
        raise CallError("items", got="--item and --items", expected="one of them")
    if single:
        return [text_argument(name) for name in single]
    if joined is None:
        return None
    return [name.strip() for name in text_argument(joined).split(",") if name.strip()]


def conditions(where: list[str] | None) -> dict[str, list[str]] | None:
    """The conditions of `--where` by feature.

    Raises:
        CallError: one has no `=`.
    """
    found: dict[str, list[str]] = {}
    for text in where or ():
        name, equals, value = text_argument(text).partition("=")
        if not equals:
            raise CallError("where", got=repr(text), expected="FEATURE=VALUE")
        found.setdefault(name.strip(), []).append(value.strip())
    return found or None
