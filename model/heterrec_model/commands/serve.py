"""The commands `serve` and `promote`, which need neither PyTorch nor Beam."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from heterrec_model.commands.shared import DebugOption, JsonOption, app, error_messages
from heterrec_schemas.command_line import importing, print_json, print_line
from heterrec_schemas.errors import CallError, with_extra

if TYPE_CHECKING:
    from heterrec_model.recommending.recommender import Recommender

GREEN = 32
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS")


@app.command()
def serve(
    bundle: Annotated[
        Path,
        typer.Option(
            "--bundle",
            help="Folder that `export` wrote, or a file that `promote` wrote; a new bundle is served without a restart.",
        ),
    ],
    host: Annotated[
        str,
        typer.Option("--host", help="Address to listen on; 0.0.0.0 lets other machines connect."),
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", help="0 chooses a free one.", min=0, max=65_535)
    ] = 8080,
    queue: Annotated[
        int,
        typer.Option("--queue", help="Requests that may wait; more get a 503.", min=1, max=10_000),
    ] = 64,
    deadline: Annotated[
        int,
        typer.Option(
            "--deadline",
            metavar="MS",
            help="A request that waited longer, in milliseconds, gets a 503.",
            min=1,
            max=60_000,
        ),
    ] = 250,
    cached_users: Annotated[
        int,
        typer.Option(
            "--cached-users", help="Users whose vectors are kept.", min=0, max=100_000_000
        ),
    ] = 10_000,
    drain: Annotated[
        float,
        typer.Option(
            "--drain",
            help="Seconds after SIGTERM in which requests are still accepted while /readyz answers 503.",
            min=0,
            max=300,
        ),
    ] = 1.0,
    page: Annotated[
        bool, typer.Option("--page/--no-page", help="The page at /, which shows ids of users.")
    ] = True,
    index: Annotated[
        bool, typer.Option("--index/--no-index", help="Use the bundle's index, if it has one.")
    ] = True,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Serve recommendations of a bundle over HTTP until SIGTERM; SIGHUP opens the bundle again."""
    with error_messages(debug, as_json):
        for name in _THREADS:  # read when libraries are imported; replicas use the other cores
            os.environ.setdefault(name, "1")
        with importing(), _needing_the_extra("serve"):
            from heterrec_model.service.server import HttpService, Settings, log_to_stderr

        def started(address: str) -> None:
            if as_json:
                print_json({"address": address})
            else:
                print_line(f"answers at {address}", GREEN)

        settings = Settings(
            bundle=bundle,
            host=host,
            port=port,
            queue=queue,
            deadline=deadline / 1000,
            cached_users=cached_users,
            drain=drain,
            show_page=page,
        )
        log_to_stderr()
        HttpService(settings, lambda folder: _open(folder, index=index), started).run()


@app.command()
def promote(
    bundle: Annotated[Path, typer.Option("--bundle", help="Folder that `export` wrote.")],
    pointer: Annotated[
        Path, typer.Option("--pointer", help="File that names the bundle to serve.")
    ],
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Verify a bundle and its index, and let a pointer file name it; services that watch the file take it over."""
    with error_messages(debug, as_json):
        with importing(), _needing_the_extra("promote"):
            from heterrec_model.service.reload import write_pointer

        recommender = _open(bundle, index=True)
        write_pointer(bundle, pointer)
        if as_json:
            identity = recommender.identity.model_dump()
            print_json(identity | {"pointer": str(pointer), "bundle": str(bundle)})
        else:
            print_line(f"{pointer} names {bundle}, {recommender.identity.fingerprint}", GREEN)


def _open(folder: Path, *, index: bool) -> "Recommender":
    """Open and verify a bundle and its index."""
    from heterrec_model.recommending.bundle_recommender import BundleRecommender

    return BundleRecommender.open(folder, with_index=index)


@contextmanager
def _needing_the_extra(command: str) -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        raise CallError(
            f"{command} needs the package {error.name}", todo=with_extra("serve")
        ) from None
