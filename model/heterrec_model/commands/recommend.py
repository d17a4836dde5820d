"""The command `recommend`: answers of a run in words, or files of answers of a bundle."""

from typing import Annotated, Any

import typer
from rich.console import Console

from heterrec_model.commands.shared import (
    DATA_HELP,
    CheckpointOption,
    DebugOption,
    JsonOption,
    QuietOption,
    app,
    error_messages,
    progress,
)
from heterrec_schemas.command_line import importing, print_json, text_argument
from heterrec_schemas.errors import CallError, UnknownItemError

_OF_RUN = {"run": "--run", "data": "--data", "user": "--user", "item": "--item", "items": "--items"}
_OF_BUNDLE = {
    "users": "--users",
    "output": "--output",
    "workers": "--workers",
    "search": "--search",
    "allow": "--allow",
    "deny": "--deny",
    "shards": "--shards",
    "part": "--part",
}


@app.command()
def recommend(
    run: Annotated[
        str | None, typer.Option("--run", help="Folder of a run, on this machine.")
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
    bundle: Annotated[
        str | None,
        typer.Option(
            "--bundle", help="A bundle instead of --run and --data; local, gs:// or s3://."
        ),
    ] = None,
    users: Annotated[
        str | None,
        typer.Option(
            "--users",
            metavar="all|FILE",
            help="Of --bundle: all its users, or a file: one id per line (.txt), a column user_id (.csv, .parquet), "
            "or objects with user or history (.jsonl).",
        ),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            help="Of --bundle: folder of the Parquet files; the same call continues a job.",
        ),
    ] = None,
    k: Annotated[
        int | None,
        typer.Option("-k", help="Number of items; default: 10, of --bundle 100.", min=1, max=2**20),
    ] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(
            "--where",
            metavar="FEATURE=VALUE",
            help="Only items with this value of a feature; repeat it for other values or features.",
        ),
    ] = None,
    allow: Annotated[
        str | None,
        typer.Option(
            "--allow",
            metavar="FILE",
            help="Of --bundle: only these items: one id per line (.txt), or a column item_id (.csv, .parquet).",
        ),
    ] = None,
    deny: Annotated[
        str | None, typer.Option("--deny", metavar="FILE", help="Of --bundle: none of these items.")
    ] = None,
    filter_seen: Annotated[
        bool, typer.Option("--filter-seen/--no-filter-seen", help="Leave out items of the history.")
    ] = False,
    checkpoint: CheckpointOption = "best",
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers", help="Of --bundle: number of processes; default: the cores.", min=1
        ),
    ] = None,
    search: Annotated[
        str | None,
        typer.Option(
            "--search",
            metavar="exact|index",
            help="Of --bundle: default: the index, if there is one.",
        ),
    ] = None,
    shards: Annotated[
        int | None, typer.Option("--shards", help="Of --bundle: number of files.", min=1)
    ] = None,
    part: Annotated[
        str | None,
        typer.Option(
            "--part",
            metavar="I/N",
            help="Of --bundle: every N-th file, from the I-th on, for one of N machines.",
        ),
    ] = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> None:
    """Recommend items to users, or after a list of items, with features in words; with --bundle to all users, as files."""
    given = {name: value for name, value in locals().items() if value not in (None, [], False)}
    continues = "stopped" if bundle is None else "stopped; the same call continues the job"
    with error_messages(debug, as_json, stopped=continues):
        mode, other = (_OF_BUNDLE, _OF_RUN) if bundle is not None else (_OF_RUN, _OF_BUNDLE)
        wrong = [other[name] for name in given if name in other]
        if wrong:
            with_what = "--bundle" if bundle is not None else "--run and --data"
            raise CallError(
                f"recommend with {with_what}", got=wrong[0], expected=", ".join(mode.values())
            )
        if bundle is not None:
            _to_files(given, as_json=as_json, quiet=quiet)
            return
        missing = [
            flag for name, flag in (("run", "--run"), ("data", "--data")) if name not in given
        ]
        if missing:
            raise CallError(
                "recommend", got=f"no {missing[0]}", expected="--run and --data, or --bundle"
            )
        with importing():
            from heterrec_model.serving.recommend import recommend as run_recommend
            from heterrec_model.serving.recommendation_display import show_recommendation

        try:
            found = run_recommend(
                run or "",
                data or "",
                users=None if not user else [text_argument(name) for name in user],
                items=item_ids(item, items),
                k=k or 10,
                checkpoint=checkpoint,
                where=conditions(where),
                filter_seen=filter_seen,
            )
        except UnknownItemError as error:
            if "," not in (items or ""):
                raise
            todo = f"{error.todo or ''} Give ids that have commas by --item, one each.".strip()
            raise CallError(error.what, got=error.got, expected=error.expected, todo=todo) from None
        if as_json:
            print_json({"recommendations": [one.to_json() for one in found]})
            return
        for one in found:
            show_recommendation(Console(markup=False), one)


def _to_files(given: dict[str, Any], *, as_json: bool, quiet: bool) -> None:
    """Write the answers of a bundle as files."""
    for name in ("users", "output"):
        if name not in given:
            raise CallError(
                "recommend with --bundle", got=f"no --{name}", expected="--users and --output"
            )
    with importing():
        from heterrec_model.bulk.ids import read_ids
        from heterrec_model.bulk.run import BulkProgress, recommend_all

    allow, deny = (read_ids(given[name]) if name in given else None for name in ("allow", "deny"))
    with progress(quiet) as line:

        def show(done: BulkProgress) -> None:
            left = "" if done.seconds_left is None else f", about {done.seconds_left:,.0f} s left"
            line.show(
                f"{done.users:,} of {done.of_users:,} users, {done.per_second:,.0f} a second{left}"
            )

        result = recommend_all(
            given["bundle"],
            given["output"],
            given["users"],
            given.get("k", 100),
            workers=given.get("workers"),
            search=given.get("search"),
            filter_seen=given.get("filter_seen", False),
            where=conditions(given.get("where")),
            allow=allow,
            deny=deny or (),
            shards=given.get("shards"),
            part=given.get("part", "1/1"),
            on_progress=show,
        )
    if as_json:
        print_json(result.to_json())
    elif not quiet:
        console = Console(markup=False, highlight=False, soft_wrap=True)
        rest = "" if result.manifest is not None else "; shards of other parts are missing"
        console.print(
            f"{result.output}: {result.written:,} files written, {result.kept:,} kept in {result.seconds:,.1f} s{rest}"
        )
        if result.manifest is not None:
            console.print(f"fingerprint {result.manifest.job.identity.fingerprint}")


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
