"""Console output of `build`: progress while it runs, a summary when it has ended."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from heterrec_pipeline.building.config import BuildResult
from heterrec_pipeline.building.dataflow import Submission
from heterrec_pipeline.checking.outlook_display import size
from heterrec_pipeline.files import storage
from heterrec_pipeline.files.shards import table_of
from heterrec_pipeline.telemetry.progress import ProgressLine
from heterrec_schemas.background import in_background
from heterrec_schemas.command_line import print_json
from heterrec_schemas.manifest import MANIFEST_NAME, SPLITS, STATE, Manifest

LIVE_EVERY = 0.2
"""Seconds between updates of the live line."""
LINE_EVERY = 5.0
"""Seconds between lines where there is no terminal."""


@contextmanager
def show_progress(console: Console, *, quiet: bool = False) -> Iterator[None]:
    """Show the progress line while the block runs: live on a terminal, as plain lines elsewhere."""
    if quiet:
        yield
        return
    with in_background(partial(_live if console.is_terminal else _lines, console), "progress"):
        yield


def _live(console: Console, done: threading.Event) -> None:
    started, progress = time.monotonic(), ProgressLine()
    with console.status("starting", spinner=_spinner(console)) as status:
        while not done.wait(LIVE_EVERY):
            line = Text(f"{time.monotonic() - started:5.0f} s  {progress.text()}")
            line.truncate(console.width - 3, overflow="ellipsis")  # after the spinner
            status.update(line)


def _spinner(console: Console) -> str:
    """A spinner of characters that the terminal has."""
    return "dots" if console.encoding.startswith("utf") else "line"


def _lines(console: Console, done: threading.Event) -> None:
    started, progress = time.monotonic(), ProgressLine()
    last = ""
    while not done.wait(LINE_EVERY):
        line = progress.text()
        if line != last:
            _print(console, f"{time.monotonic() - started:5.0f} s  {line}")
            last = line


def _print(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def print_submission(console: Console, submission: Submission, *, as_json: bool = False) -> None:
    """Print the job that Dataflow has accepted, and where its generation will be."""
    path, dry = submission.job.root, submission.steps is not None
    if as_json:
        body = {
            "job": submission.job_id,
            "url": submission.url,
            "template": submission.template,
            "steps": submission.steps,
            "generation": submission.job.generation,
            "path": None if dry else path,
            "manifest": None if dry else storage.join(path, MANIFEST_NAME),
        }
        print_json(body)
        return
    if dry:
        text = (
            f"The graph is valid: {submission.steps} steps. Nothing was staged, written or started."
        )
    elif submission.job_id is None:
        text = f"The job's description was written to {submission.template}"
    else:
        text = f"Dataflow runs the job {submission.job_id}\n{submission.url}"
    if not dry:
        text += f"\nIts generation is {path}; it is complete once {MANIFEST_NAME} exists."
    _print(console, text)


def print_summary(console: Console, result: BuildResult, seconds: float) -> None:
    """Print the closing tables of rows, features and files; the generation's folder, the log's rows, the next commands."""
    manifest = result.manifest
    console.print(_rows(manifest))
    if manifest.rejects:
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in manifest.rejects.items())
        _print(console, f"Rejected (rejects/): {reasons}")
    for outcome in ("erased", "filtered"):
        if found := _left_out(manifest, outcome):
            _print(console, f"{outcome.capitalize()} rows: {found}")
    if manifest.features:
        console.print(_features(manifest))
    console.print(_files(manifest))
    if result.reuse is not None:
        _print(console, _reused(result.reuse))
    for generation in result.swept:
        _print(console, f"Deleted the leftovers of the dead build {generation}")
    _print(console, f"{seconds:.1f} s. The generation is {result.path}")
    _print(console, f"Interactions: {result.funnel}")
    first, *others = result.next_commands
    _print(console, f"Next: {first}")
    for command in others:
        _print(console, f"      {command}")


def _rows(manifest: Manifest) -> Table:
    columns = ("", "read", "kept", "rejected", "unknown", "duplicate", "short user")
    table = _table(f"{manifest.name}: rows", columns)
    counts = manifest.counts
    for name, entry in (("items", counts.items), ("users", counts.users)):
        if entry is not None:
            duplicate = f"{entry.repeated:,} equal" if entry.repeated else ""
            table.add_row(
                name, *_numbers(entry.read, entry.kept, entry.rejected), "", duplicate, ""
            )
    log = counts.interactions
    table.add_row(
        "interactions",
        *_numbers(
            log.read, log.kept, log.rejected, log.unknown_item, log.duplicate, log.short_user
        ),
    )
    for split in SPLITS:
        table.add_row(f"  {split}", "", *_numbers(counts.sequences[split]))
    return table


def _left_out(manifest: Manifest, outcome: str) -> str:
    """The number of `erased` or `filtered` rows by table, in words; empty if there are none."""
    counts = manifest.counts
    tables = {"items": counts.items, "users": counts.users, "interactions": counts.interactions}
    rows = {name: getattr(c, outcome) for name, c in tables.items() if c is not None}
    return ", ".join(f"{name} {count:,}" for name, count in rows.items() if count)


def _reused(reuse: dict[str, Any]) -> str:
    """How many input files a refresh did not parse again, and why not the others."""
    why = ", ".join(f"{name} ({count:,})" for name, count in reuse["why"].items())
    return (
        f"Unchanged input files: {reuse['files']:,} of {reuse['of_files']:,}, "
        f"{size(reuse['bytes'])} of {size(reuse['of_bytes'])}" + (f". Parsed: {why}" if why else "")
    )


def _table(title: str, columns: tuple[str, ...], texts: int = 1) -> Table:
    """A table whose first `texts` columns are text and the others numbers."""
    table = Table(title=title, box=box.SIMPLE, title_justify="left", pad_edge=False)
    for k, column in enumerate(columns):
        table.add_column(column, justify="left" if k < texts else "right", no_wrap=True)
    return table


def _numbers(*values: int) -> list[str]:
    return [f"{v:,}" for v in values]


def _features(manifest: Manifest) -> Table:
    columns = ("feature", "side", "kind", "ids", "tokens", "missing", "OOV")
    table = _table("Features", columns, texts=3)
    users = manifest.counts.users
    for f in manifest.features:
        rows = manifest.counts.items.kept if f.side == "item" else (users.kept if users else 0)
        table.add_row(
            f.name,
            f.side,
            f.kind,
            f"{f.vocabulary_size:,}",
            "several" if f.multivalued else f"{f.groups or 1:,}",
            f"{f.missing / rows:.1%}" if rows else "",
            f"{f.oov / rows:.1%}" if rows else "",
        )
    return table


def _files(manifest: Manifest) -> Table:
    table = _table("Files", ("kind", "files", "rows", "bytes", "smallest", "largest"))
    kinds: dict[str, list[tuple[int, int]]] = {}
    for file in manifest.files:
        if file.path.startswith(f"{STATE}/"):
            kinds.setdefault(STATE, []).append((0, file.bytes))
        elif file.rows is not None:
            kinds.setdefault(table_of(file.path), []).append((file.rows, file.bytes))
    for kind, sizes in kinds.items():
        rows, nbytes = (sum(s[k] for s in sizes) for k in (0, 1))
        low, high = (f"{pick(s[1] for s in sizes):,}" for pick in (min, max))
        table.add_row(kind, f"{len(sizes)}", f"{rows:,}", f"{nbytes:,}", low, high)
    return table
