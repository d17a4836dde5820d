"""`heterrec-pipeline validate`."""

import typer
from rich.console import Console

from heterrec_pipeline.commands.shared import (
    BEAM,
    BEAM_FLAGS,
    DebugOption,
    InputOption,
    JsonOption,
    SpecOption,
    app,
    guarded,
    spec_text,
)


@app.command(context_settings=BEAM, epilog=BEAM_FLAGS)
def validate(
    context: typer.Context,
    spec: SpecOption,
    input: InputOption,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Hold a spec against the data's schema and a sample; nothing is written."""
    with guarded(debug):
        from heterrec_pipeline.checking.validate import run_validate
        from heterrec_pipeline.runtime.flags import use_stores

        use_stores(list(context.args))
        text = spec_text(spec, list(context.args))
        run_validate(text, input, where=spec, as_json=as_json, console=Console(markup=False))
