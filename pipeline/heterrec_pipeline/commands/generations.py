"""`heterrec-pipeline generations`."""

from typing import TYPE_CHECKING

from rich.console import Console

from heterrec_pipeline.commands.shared import (
    DebugOption,
    JsonOption,
    OutputArgument,
    app,
    guarded,
    print_columns,
)
from heterrec_pipeline.runtime.startup import fast_imports
from heterrec_schemas.command_line import print_json

if TYPE_CHECKING:
    from heterrec_pipeline.keeping import Listed

_COLUMNS = {
    "id": "<",
    "parent": "<",
    "created": "<",
    "content": "<",
    "items": ">",
    "retired": ">",
    "rows": ">",
    "bytes": ">",
    "drift": "<",
    "state": "<",
}
"""The columns and their alignment."""


@app.command()
def generations(
    output: OutputArgument,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """List the generations of an output, newest first."""
    with guarded(debug, as_json=as_json):
        with fast_imports():
            from heterrec_pipeline.keeping import survey

        found = survey(output)
        if as_json:
            print_json(found.as_json())
            return
        print_columns(Console(markup=False), _COLUMNS, [_row(one) for one in found.listed])


def _row(one: "Listed") -> list[str]:
    """The cells of a generation. Of the parent, the random part of the id is shown: the rest is a time like `created`."""
    m = one.manifest
    cells = [one.id, "", f"{one.created:%Y-%m-%d %H:%M}", "", "", "", "", "", ""]
    if m is not None:
        counts = m.counts
        cells[1] = (m.parent or "").rpartition("-")[2]
        cells[3] = m.content_sha256[:8]
        cells[4:7] = [
            f"{n:,}" for n in (counts.items.kept, counts.items.retired, counts.interactions.kept)
        ]
        cells[7:] = [f"{one.bytes:,}", m.drift or ""]
    return [*cells, ", ".join(one.states)]
