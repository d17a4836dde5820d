"""`heterrec-pipeline validate`."""

from typing import TYPE_CHECKING

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from heterrec_pipeline.commands.shared import (
    BEAM,
    BEAM_FLAGS,
    DebugOption,
    InputOption,
    JsonOption,
    ParamOption,
    ParentOption,
    RefitOption,
    SpecOption,
    app,
    guarded,
    names_in,
    parameters_in,
    print_warning,
)
from heterrec_pipeline.files.spec_text import spec_text
from heterrec_pipeline.runtime.startup import fast_imports
from heterrec_schemas.command_line import print_json
from heterrec_schemas.errors import DataError

if TYPE_CHECKING:
    from heterrec_pipeline.checking.sample import Sample


@app.command(context_settings=BEAM, epilog=BEAM_FLAGS)
def validate(
    context: typer.Context,
    spec: SpecOption,
    input: InputOption,
    param: ParamOption = None,
    base: ParentOption = None,
    refit: RefitOption = "",
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Check a spec against the data's schema and a sample; nothing is written."""
    with guarded(debug, as_json=as_json) as failed:
        with fast_imports():
            from heterrec_pipeline.checking.outlook_display import (
                print_outlook,
                print_vocabularies,
            )
            from heterrec_pipeline.checking.validate import validate as validate_spec
            from heterrec_pipeline.runtime.flags import use_stores

        use_stores(context.args)
        found = validate_spec(
            spec_text(spec, parameters_in(param)),
            input,
            where=spec,
            parent=base,
            refit=names_in(refit),
        )
        console = Console(markup=False)
        failed.update(found.as_json())
        if not as_json:
            if found.samples:
                console.print(_table(found.samples))
            for one in found.erase:
                console.print(
                    f"{one.list}: the samples contain {one.met:,} of {one.listed:,} listed",
                    highlight=False,
                )
            if found.imported:
                print_vocabularies(console, "Values against vocabulary files", found.imported)
            if found.base:
                print_outlook(console, found.base)
            for warning in found.warnings:
                print_warning(console, warning)
        if found.problems:
            count = len(found.mistakes)
            listed = "\n".join(f"  {m}" for m in found.mistakes)
            raise DataError(f"{count} mistake{'s' if count != 1 else ''}:\n{listed}")
        if as_json:
            print_json(found.as_json())
        else:
            console.print("The spec fits the data. Nothing was written.", highlight=False)


def _table(samples: "list[Sample]") -> Table:
    table = Table(title="A sample of every table", box=box.SIMPLE, title_justify="left")
    more = [name for name in ("erased", "filtered") if any(getattr(s, name) for s in samples)]
    for name in ("table", "files", "bytes", "sampled", "rejected", *more, "missing"):
        left = name in ("table", "missing")
        table.add_column(name, justify="left" if left else "right", no_wrap=name != "missing")
    for s in samples:
        missing = ", ".join(f"{k} {v:.1%}" for k, v in s.missing.items())
        numbers = [s.files, s.bytes, s.rows, s.rejected, *(getattr(s, name) for name in more)]
        table.add_row(s.table, *(f"{n:,}" for n in numbers), missing)
    return table
