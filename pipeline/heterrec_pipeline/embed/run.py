"""`embed(config)`: from the item table to a folder of vectors."""

import json
import time
from dataclasses import replace

import apache_beam as beam

from heterrec_pipeline.embed.config import ColumnResult, EmbedConfig, EmbedResult
from heterrec_pipeline.embed.encode import KEPT_SHARDS, KEPT_TEXTS
from heterrec_pipeline.embed.flow import EmbedTable
from heterrec_pipeline.embed.job import SUMMARY, EmbedJob
from heterrec_pipeline.embed.models import (
    EncoderLoader,
    check_device,
    check_installed,
    load_encoder,
    resolve_model,
)
from heterrec_pipeline.embed.progress import OnProgress, text_progress
from heterrec_pipeline.embed.publish import delete_unfinished
from heterrec_pipeline.files import parts, storage
from heterrec_pipeline.reading.empty_files import filled_files
from heterrec_pipeline.reading.files import changed_input, input_files
from heterrec_pipeline.runtime.engines import engine_of
from heterrec_pipeline.runtime.flags import use_stores
from heterrec_pipeline.telemetry.monitor import BuildMonitor, monitor_build
from heterrec_pipeline.wiring import coder
from heterrec_pipeline.wiring.exchange import spills
from heterrec_pipeline.worker_errors import as_heterrec_error, found_in, was_stopped
from heterrec_schemas.documents import parse_json
from heterrec_schemas.errors import CallError


def embed(
    config: EmbedConfig,
    *,
    on_progress: OnProgress | None = None,
    load: EncoderLoader = load_encoder,
) -> EmbedResult:
    """Encode the text and image columns of an item table.

    Each distinct text is encoded once. The output folder then contains, for each column,
    `<column>-00000-of-000NN.parquet` with the key and `<column>_embedding` (fixed_size_list<float32>[dim]); the rejected
    rows in `rejects/`; and `embedding.json`, written last. After an interruption, the same call continues.

    Args:
        config: what to embed, and how.
        on_progress: called with (texts done, all texts) from a thread, if the workers share this process.
        load: loads the model on a worker; must be picklable.

    Raises:
        HeterrecError: an error in the call or the data, or a failed run; finished shards are kept.
        KeyboardInterrupt: the run was stopped; finished shards are kept.
    """
    started = time.monotonic()
    if load is load_encoder:
        check_installed(config)
    with monitor_build() as monitor:
        with text_progress(on_progress):
            output = _run(config, load, monitor)
        kept = monitor.metrics.get(KEPT_SHARDS, 0), monitor.metrics.get(KEPT_TEXTS, 0)
    return _result(replace(config, output=output), *kept, time.monotonic() - started)


def _run(config: EmbedConfig, load: EncoderLoader, monitor: BuildMonitor) -> str:
    """Run to the end; the output folder as the workers see it."""
    options = use_stores(config.pipeline_args)
    engine = engine_of(options, config.allow_open_ports)
    if load is load_encoder and not engine.remote_workers:
        check_device(config.device)
    config = replace(config, input=engine.path(config.input), output=engine.path(config.output))
    where = "the item table"
    files, _ = filled_files(config.source, input_files(config.source, config.input, where), where)
    _check_output(config)
    model = resolve_model(config.model, config.revision)
    job = EmbedJob(config, files, model, load, spills(options))
    coder.register()
    try:
        with engine:
            pipeline = beam.Pipeline(options=options)
            pipeline | "Embedding" >> EmbedTable(job=job)
            monitor.name_steps(pipeline)
            monitor.ended(engine.run(pipeline))
    except (Exception, KeyboardInterrupt) as error:
        if was_stopped(error):
            raise KeyboardInterrupt from error
        todo = "Run the same command again: finished shards are kept."
        cause = None if found_in(error) else changed_input(files)
        raise as_heterrec_error(cause or error, todo) from error
    finally:
        parts.forget()
        delete_unfinished(job)
    return config.output


def _check_output(config: EmbedConfig) -> None:
    """Check early that the folder can be written and contains no vectors of other columns.

    Raises:
        RunError: it cannot be written.
        CallError: it contains an embedding of other columns.
    """
    before = storage.join(config.output, SUMMARY)
    if storage.exists(before):
        try:
            held = [c["column"] for c in parse_json(storage.read_bytes(before))["columns"]]
        except (ValueError, KeyError, TypeError):
            held = []  # damaged, or another program's: replaced at the end
        others = [c for c in held if c not in [*config.text_columns, *config.image_columns]]
        if others:
            raise CallError(
                f"{config.output} holds vectors of {', '.join(others)}, which are not asked for",
                todo="Choose another output folder, or name all columns in one call.",
            )
    probe = storage.join(config.output, f".{SUMMARY}.probe.tmp")
    storage.write_bytes(probe, b"")
    storage.delete_tree(probe)


def _result(config: EmbedConfig, kept_shards: int, kept_texts: int, seconds: float) -> EmbedResult:
    body = json.loads(storage.read_bytes(storage.join(config.output, SUMMARY)))
    same = ("column", "kind", "dim", "rows", "texts", "missing")
    columns = tuple(
        ColumnResult(
            glob=c["shards"][0]["path"].rsplit("-00000-of-", 1)[0] + "-*.parquet",
            shards=len(c["shards"]),
            **{name: c[name] for name in same},
        )
        for c in body["columns"]
    )
    return EmbedResult(
        output=config.output,
        model=config.model,
        columns=columns,
        rejects=body["rejects"],
        shards=sum(c.shards for c in columns),
        kept_shards=kept_shards,
        kept_texts=kept_texts,
        seconds=seconds,
    )
