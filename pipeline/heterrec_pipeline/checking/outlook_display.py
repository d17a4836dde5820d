"""Shows what a build would find in vocabularies that exist, and a refresh in its parent, on a console."""

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table

from heterrec_pipeline.checking.outlook import BaseOutlook, VocabularyOutlook


def print_outlook(console: Console, base: BaseOutlook) -> None:
    """Print the values of each vocabulary, and which files the parent has not read."""
    print_vocabularies(console, f"Values against {base.generation}", base.vocabularies)
    lines = []
    if not base.complete:
        lines.append(
            "Retired values are counted where a whole table was read; `plan --full-scan` reads all tables."
        )
    lines.append(
        f"Not in the base: {len(base.changed_files):,} of {base.files:,} input files, {size(base.changed_bytes)}."
    )
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def print_vocabularies(
    console: Console, title: str, vocabularies: Sequence[VocabularyOutlook]
) -> None:
    """Print the values of vocabularies as a table."""
    table = Table(
        title=title,
        box=box.SIMPLE,
        title_justify="left",
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    table.add_column("vocabulary", no_wrap=True)
    for column in ("rows", "known", "new", "retired", "room"):
        table.add_column(column, justify="right")
    for v in vocabularies:
        counts = (v.rows, v.known, v.new, v.retired, v.room)
        table.add_row(v.name, *("" if n is None else f"{n:,}" for n in counts))
    console.print(table)


def size(count: float) -> str:
    """A number of bytes in B, kB, MB or GB."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"
