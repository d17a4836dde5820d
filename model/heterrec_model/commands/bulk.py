"""`recommend --bundle`: recommendations for many users, as files."""

from pathlib import Path

from rich.console import Console

from heterrec_model.commands.shared import progress
from heterrec_schemas.command_line import importing, print_json
from heterrec_schemas.errors import CallError


def recommend_in_bulk(
    bundle: str,
    users: str,
    output: str | None,
    k: int | None,
    *,
    workers: int | None,
    exact: bool | None,
    filter_seen: bool,
    where: dict[str, list[str]] | None,
    allow: Path | None,
    deny: Path | None,
    shards: int | None,
    part: str,
    as_json: bool,
    quiet: bool,
) -> None:
    """Run the bulk job and print its result; see `recommend_all`.

    Raises:
        CallError: there is no output.
    """
    with importing():
        from heterrec_model.bulk.ids import read_ids
        from heterrec_model.bulk.run import BulkProgress, recommend_all

    if output is None:
        raise CallError("recommend --bundle", got="no --output", expected="a folder for the result")
    with progress(quiet) as display:

        def show(done: BulkProgress) -> None:
            left = "?" if done.seconds_left is None else f"{done.seconds_left:,.0f} s"
            display.show(
                f"{done.users:,}/{done.of_users:,} users  {done.per_second:,.0f} users/s  {left} left"
            )

        result = recommend_all(
            bundle,
            output,
            users,
            100 if k is None else k,
            workers=workers,
            search={None: None, True: "exact", False: "index"}[exact],
            filter_seen=filter_seen,
            where=where,
            allow=None if allow is None else read_ids(allow),
            deny=() if deny is None else read_ids(deny),
            shards=shards,
            part=part,
            on_progress=show,
        )
    if as_json:
        print_json(result.to_json())
    elif not quiet:
        console = Console(markup=False, highlight=False, soft_wrap=True)
        kept = f", {result.kept:,} kept" if result.kept else ""
        console.print(
            f"Wrote {result.written:,} shards{kept} to {output} in {result.seconds:,.1f} s"
        )
        if result.manifest is None:
            console.print(
                "Shards of other parts are missing; the part that ends last writes manifest.json."
            )
            return
        for kind, count in result.manifest.fallbacks.items():
            console.print(
                f"{count:,} of {result.manifest.rows:,} users got items by fallback: {kind}"
            )
        if result.manifest.short:
            console.print(f"{result.manifest.short:,} users got fewer items: no more are allowed")
