"""`heterrec-pipeline embed`."""

from typing import Annotated

import typer
from pydantic import ValidationError
from rich.console import Console

from heterrec_pipeline.commands.shared import (
    BEAM,
    BEAM_FLAGS,
    DebugOption,
    InputOption,
    JsonOption,
    OpenPortsOption,
    RunnerOption,
    TimeLimitOption,
    app,
    guarded,
)
from heterrec_pipeline.runtime.startup import fast_imports
from heterrec_schemas.command_line import print_json
from heterrec_schemas.errors import CallError
from heterrec_schemas.feature_spec import Source, describe_mistakes


@app.command(context_settings=BEAM, epilog=BEAM_FLAGS)
def embed(
    context: typer.Context,
    input: InputOption,
    items: Annotated[
        list[str], typer.Option("--items", help="The item table: a file or glob; repeatable.")
    ],
    key: Annotated[str, typer.Option(help="The item's key column.")],
    output: Annotated[str, typer.Option(help="The output folder of the vectors.")],
    text: Annotated[list[str], typer.Option(help="A text column; repeatable.")] = [],  # noqa: B006
    image: Annotated[
        list[str],
        typer.Option(help="An image column (bytes or paths), for a model of images; repeatable."),
    ] = [],  # noqa: B006
    model: Annotated[
        str | None,
        typer.Option(
            help="A folder, an installed model package, a name on the Hugging Face hub, or a class "
            "of your own, my_module:MyEncoder."
        ),
    ] = None,
    revision: Annotated[str | None, typer.Option(help="A revision of a model on the hub.")] = None,
    prompt: Annotated[str | None, typer.Option(help="Text prepended to every text.")] = None,
    prompt_name: Annotated[
        str | None, typer.Option(help="Name of one of the model's prompts.")
    ] = None,
    normalize: Annotated[bool, typer.Option(help="Scale vectors to length 1.")] = False,
    batch_size: Annotated[int, typer.Option(help="Number of texts per model call.")] = 64,
    shard_texts: Annotated[
        int,
        typer.Option(
            help="Distinct texts per shard; an interrupted run keeps its finished shards."
        ),
    ] = 4096,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, mps ...")] = None,
    threads: Annotated[
        int | None, typer.Option(help="Number of PyTorch threads per worker.")
    ] = None,
    max_reject_ratio: Annotated[
        float, typer.Option(help="Maximum ratio of rejected rows to all rows.")
    ] = 0.01,
    format: Annotated[
        str | None, typer.Option(help="parquet, csv or jsonl, if the suffix does not determine it.")
    ] = None,
    fresh: Annotated[
        bool, typer.Option(help="Encode everything again, and keep no finished shards.")
    ] = False,
    runner: RunnerOption = None,
    allow_open_ports: OpenPortsOption = False,
    time_limit: TimeLimitOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Encode text or image columns of an item table: each distinct text once, resumable."""
    with guarded(debug, time_limit=time_limit, as_json=as_json):
        with fast_imports():
            from heterrec_pipeline.embed import EmbedConfig, run_embed
            from heterrec_pipeline.embed.config import DEFAULT_MODEL
            from heterrec_pipeline.runtime.flags import with_runner

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
            allow_open_ports=allow_open_ports,
            pipeline_args=tuple(with_runner(runner, context.args)),
        )
        result = run_embed(config, Console(stderr=True, markup=False))
        if as_json:
            print_json(result.as_json())
