"""`embed(config)` for programs, and `run_embed`: the same with a progress line."""

import json
import time
from dataclasses import replace
from typing import Any

import apache_beam as beam
from apache_beam.metrics import MetricsFilter
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from heterrec_pipeline.embed.config import ColumnResult, EmbedConfig, EmbedResult
from heterrec_pipeline.embed.flow import draw
from heterrec_pipeline.embed.models import (
    EncoderLoader,
    check_installed,
    load_encoder,
    resolve_model,
)
from heterrec_pipeline.embed.shard import KEPT_SHARDS, KEPT_TEXTS, METRICS, SUMMARY
from heterrec_pipeline.embed.survey import EmbedJob
from heterrec_pipeline.embed.tally import TALLY, OnProgress
from heterrec_pipeline.files import storage
from heterrec_pipeline.reading.files import input_files
from heterrec_pipeline.runtime.engines import engine_of
from heterrec_pipeline.runtime.flags import use_stores
from heterrec_pipeline.worker_errors import found_in
from heterrec_schemas.errors import CallError, RunError

_LINE_SECONDS = 15.0


def embed(
    config: EmbedConfig,
    *,
    on_progress: OnProgress | None = None,
    load: EncoderLoader = load_encoder,
) -> EmbedResult:
    """Encode the text and image columns of an item table.

    Each distinct text is encoded once. The output folder then holds, for each column,
    `<column>-00000-of-000NN.parquet` with the key and `<column>_embedding`
    (fixed_size_list<float32>[dim]); the rows that were set aside in `rejects/`; and
    `embedding.json`, written last. A run that was interrupted goes on where it stopped when it is
    called again.

    Args:
        config: what to embed.
        on_progress: told (texts done, texts in all or None), from a worker's thread, where the
            workers share this process.
        load: loads the model on a worker; must be picklable.

    Raises:
        HeterrecError: a mistake in the call or the data, or a failure to write.
        KeyboardInterrupt: the user has had enough.
    """
    started = time.monotonic()
    if load is load_encoder:
        check_installed(images=bool(config.image_columns))
    options = use_stores(config.pipeline_args)
    engine = engine_of(options)
    config = replace(config, input=engine.path(config.input), output=engine.path(config.output))
    files = input_files(config.source, config.input, "the item table")
    _check_output(config)
    job = EmbedJob(config, files, resolve_model(config.model, config.revision), load)
    with TALLY.watched(on_progress):
        try:
            with engine:
                pipeline = beam.Pipeline(options=options)
                draw(pipeline, job)
                result = engine.run(pipeline)
                metrics = result.metrics()
        except Exception as error:
            if str(error).startswith(KeyboardInterrupt.__name__):  # wrapped by the local engine
                raise KeyboardInterrupt from error
            raise (found_in(error) or _failed(error)) from error
    return _result(config, metrics, time.monotonic() - started)


def _failed(error: Exception) -> RunError:
    text = " ".join(str(error).split())
    return RunError(
        f"the run failed: {type(error).__name__}: {text[-600:]}",
        todo="Run the same command again: finished shards are kept.",
    )


def _check_output(config: EmbedConfig) -> None:
    """Refuse early a folder that cannot be written, or that holds other columns' vectors.

    Raises:
        RunError: it cannot be written.
        CallError: it holds an embedding of other columns.
    """
    before = storage.join(config.output, SUMMARY)
    if storage.exists(before):
        try:
            held = [c["column"] for c in json.loads(storage.read_bytes(before))["columns"]]
        except (ValueError, KeyError, TypeError):
            held = []  # not ours, or damaged: replaced at the end
        others = [c for c in held if c not in [*config.text_columns, *config.image_columns]]
        if others:
            raise CallError(
                f"{config.output} holds vectors of {', '.join(others)}, which are not asked for",
                todo="Choose another output folder, or name all columns in one call.",
            )
    probe = storage.join(config.output, f".{SUMMARY}.probe.tmp")
    storage.write_bytes(probe, b"")
    storage.delete_tree(probe)


def _result(config: EmbedConfig, metrics: Any, seconds: float) -> EmbedResult:
    body = json.loads(storage.read_bytes(storage.join(config.output, SUMMARY)))
    counters = metrics.query(MetricsFilter().with_namespace(METRICS))["counters"]
    kept = {KEPT_SHARDS: 0, KEPT_TEXTS: 0}
    for counter in counters:
        kept[counter.key.metric.name] += counter.committed or 0
    columns = tuple(
        ColumnResult(
            column=c["column"],
            kind=c["kind"],
            glob=c["shards"][0]["path"].rsplit("-00000-of-", 1)[0] + "-*.parquet",
            dim=c["dim"],
            shards=len(c["shards"]),
            rows=c["rows"],
            texts=c["texts"],
            missing=c["missing"],
        )
        for c in body["columns"]
    )
    return EmbedResult(
        output=config.output,
        model=config.model,
        columns=columns,
        rejects=body["rejects"],
        shards=sum(c.shards for c in columns),
        kept_shards=kept[KEPT_SHARDS],
        kept_texts=kept[KEPT_TEXTS],
        seconds=seconds,
    )


def run_embed(config: EmbedConfig, console: Console) -> EmbedResult:
    """`embed` with a progress line on a terminal, plain lines elsewhere, and a closing summary.

    Raises:
        HeterrecError: see `embed`; the caller shows it.
    """
    names = ", ".join(c.name for c in config.columns)
    console.print(f"embedding {names} with {config.model}", highlight=False, markup=False)
    if console.is_terminal:
        result = _with_bar(config, console)
    else:
        result = embed(config, on_progress=_Lines(console))
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

        def show(done: int, total: int | None) -> None:
            bar.update(task, completed=done, total=total, description="encoding")

        return embed(config, on_progress=show)


class _Lines:
    """A plain line at the start of encoding, then one now and then."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._next = 0.0

    def __call__(self, done: int, total: int | None) -> None:
        now = time.monotonic()
        if now >= self._next or done == total:
            self._next = now + _LINE_SECONDS
            of = "" if total is None else f" of {total:,}"
            self._console.print(f"encoded {done:,}{of}", highlight=False)


def describe(result: EmbedResult) -> list[str]:
    """The closing summary."""
    lines = []
    for c in result.columns:
        rest = f", {c.missing:,} rows without" if c.missing else ""
        lines.append(
            f"{c.column}: {c.rows:,} rows, {c.texts:,} distinct {c.kind}s{rest}; "
            f"{c.dim} dimensions in {c.shards} shard{'s' if c.shards != 1 else ''} ({c.glob})"
        )
    if result.kept_shards:
        lines.append(
            f"{result.kept_shards} of {result.shards} shards stood already "
            f"({result.kept_texts:,} texts)"
        )
    if result.rejects:
        counts = ", ".join(f"{n:,} {reason}" for reason, n in result.rejects.items())
        lines.append(f"set aside: {counts} (see {storage.join(result.output, 'rejects')})")
    lines.append(f"written to {result.output} in {result.seconds:.1f} s")
    return lines
