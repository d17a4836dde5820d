"""`run_embed`: an embedding run with progress and a summary on a console."""

import time

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from heterrec_pipeline.embed.config import EmbedConfig, EmbedResult
from heterrec_pipeline.embed.run import embed
from heterrec_pipeline.files import storage

LINE_SECONDS = 15.0
"""Seconds between two lines of progress, where there is no terminal."""


def run_embed(config: EmbedConfig, console: Console) -> EmbedResult:
    """`embed` with a progress bar on a terminal, plain lines elsewhere, and a summary at the end.

    Raises:
        HeterrecError: see `embed`; the caller prints it.
    """
    names = ", ".join(c.name for c in config.columns)
    console.print(f"embedding {names} with {config.model}", highlight=False, markup=False)
    if console.is_terminal:
        result = _with_bar(config, console)
    else:
        result = _with_lines(config, console)
    for line in describe(result):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    return result


def _with_bar(config: EmbedConfig, console: Console) -> EmbedResult:
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    )
    with bar:
        task = bar.add_task("reading", total=None)

        def show(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total, description="encoding")

        return embed(config, on_progress=show)


def _with_lines(config: EmbedConfig, console: Console) -> EmbedResult:
    due = 0.0

    def show(done: int, total: int) -> None:
        nonlocal due
        now = time.monotonic()
        if now >= due or done == total:
            due = now + LINE_SECONDS
            console.print(f"encoded {done:,} of {total:,}", highlight=False)

    return embed(config, on_progress=show)


def describe(result: EmbedResult) -> list[str]:
    """The lines of the summary."""
    lines = []
    for c in result.columns:
        rest = f", {c.missing:,} rows without" if c.missing else ""
        lines.append(
            f"{c.column}: {c.rows:,} rows, {c.texts:,} distinct {c.kind}s{rest}; "
            f"{c.dim} dimensions in {c.shards} shard{'s' if c.shards != 1 else ''} ({c.glob})"
        )
    if result.kept_shards:
        lines.append(
            f"{result.kept_shards} of {result.shards} shards were finished already "
            f"({result.kept_texts:,} texts)"
        )
    if result.rejects:
        counts = ", ".join(f"{n:,} {reason}" for reason, n in result.rejects.items())
        lines.append(f"rejected: {counts} (see {storage.join(result.output, 'rejects')})")
    lines.append(f"written to {result.output} in {result.seconds:.1f} s")
    return lines
