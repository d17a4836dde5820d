"""The command `recommend`."""

from typing import Annotated

import typer
from rich.console import Console

from heterrec_model.commands.shared import (
    DATA_HELP,
    CheckpointOption,
    DebugOption,
    JsonOption,
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
    k: Annotated[int, typer.Option("-k", help="Number of items.", min=1, max=2**20)] = 10,
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
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Recommend items to users, or after a list of items, with features in words."""
    with error_messages(debug, as_json):
        with importing():
            from heterrec_model.serving.recommend import recommend as run_recommend
            from heterrec_model.serving.recommendation_display import show_recommendation

        if run is None or data is None:
            raise CallError(
                "recommend", got=f"no {'--run' if run is None else '--data'}", expected="both"
            )
        found = run_recommend(
            run,
            data,
            users=None if user is None else [text_argument(name) for name in user],
            items=item_ids(item, items),
            k=k,
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
