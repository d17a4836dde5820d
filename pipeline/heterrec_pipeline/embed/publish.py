"""The end of a run: writes the rejects and `embedding.json`, and removes obsolete and incomplete files."""

import json
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import polars as pl
import pyarrow as pa

from heterrec_pipeline.embed.config import EmbedConfig, EmbeddedColumn
from heterrec_pipeline.embed.encode import VectorShard, finished_shard
from heterrec_pipeline.embed.job import SUMMARY, EmbedJob, ShardPlan
from heterrec_pipeline.embed.survey import check_rejects
from heterrec_pipeline.files import storage
from heterrec_pipeline.files.parts import delete_parts
from heterrec_pipeline.files.rejects import sorted_rejects, write_rejects_shard
from heterrec_pipeline.reading.files import changed_input
from heterrec_pipeline.wiring.step import tables_in
from heterrec_schemas.errors import HeterrecError, RunError

FORMAT_VERSION = 1
_LIBRARIES = ("sentence-transformers", "transformers", "torch", "pyarrow")


def publish_vectors(
    job: EmbedJob,
    element: tuple[int, Iterable[pa.Table]],
    plan: ShardPlan,
    shards: Iterable[VectorShard],
) -> Iterator[None]:
    """All rejects and all finished shards to a published folder.

    Raises:
        RejectRatioError: too many rows are rejected.
        RunError: the item table has changed since it was listed, or another run has deleted or replaced shards.
    """
    if changed := changed_input(job.files):
        raise changed
    output, shards = job.config.output, sorted(shards, key=lambda s: s.path)
    rejects = sorted_rejects(tables_in(element[1]))
    check_rejects(job.config, rejects.select("file", "row").n_unique(), plan.rows)
    written = write_rejects_shard(output, rejects)
    storage.rename([(written.temporary, storage.join(output, written.path))])
    delete_obsolete(job.config, {s.path for s in shards})
    check_shards(job, shards)
    body = json.dumps(summary(job, plan, shards, rejects), indent=2, ensure_ascii=False) + "\n"
    storage.replace_bytes(storage.join(output, SUMMARY), body.encode("utf-8"), "publish")
    yield from ()


def check_shards(job: EmbedJob, shards: list[VectorShard]) -> None:
    """Check that the finished shards still are what this run has written or kept.

    Raises:
        RunError: another run into the same folder has deleted or replaced some.
    """
    lost = [s.path for s in shards if finished_shard(job, s.column, s.path, s.fingerprint) is None]
    if lost:
        raise RunError(
            f"{len(lost)} of {len(shards)} shards in {job.config.output} were deleted or replaced while this run wrote "
            f"them: {lost[0]}",
            todo="Let one run at a time write there, and run the same command again: finished shards are kept.",
        )


def summary(
    job: EmbedJob, plan: ShardPlan, shards: list[VectorShard], rejects: pl.DataFrame
) -> dict[str, Any]:
    """The content of `embedding.json`; the same for the same input, model, options and libraries."""
    config = job.config
    return {
        "format_version": FORMAT_VERSION,
        "model": {"name": config.model, "identity": job.model.identity},
        "options": {
            "prompt": config.prompt,
            "prompt_name": config.prompt_name,
            "normalize": config.normalize,
        },
        "key": config.key,
        "rows_read": plan.rows,
        "columns": [_column(c, plan, shards) for c in config.columns],
        "rejects": dict(rejects.group_by("reason").len().sort("reason").iter_rows()),
        "libraries": {name: v for name in _LIBRARIES if (v := _version(name))},
    }


def _column(column: EmbeddedColumn, plan: ShardPlan, shards: list[VectorShard]) -> dict[str, Any]:
    mine = [s for s in shards if s.column == column.name]
    return {
        "column": column.name,
        "kind": column.kind,
        "vectors": column.vector_name,
        "dim": mine[0].dim,
        "rows": sum(s.rows for s in mine),
        "texts": sum(s.texts for s in mine),
        "missing": plan.missing[column.name],
        "shards": [
            {"path": s.path, "rows": s.rows, "texts": s.texts, "fingerprint": s.fingerprint}
            for s in mine
        ],
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def delete_obsolete(config: EmbedConfig, shards: set[str]) -> None:
    """Delete the shards of these columns that are not among the given names."""
    found = _matching(config.output, _shard_pattern(config))
    storage.delete_files(path for name, path in found if name not in shards)


def delete_unfinished(job: EmbedJob) -> None:
    """Delete the parts of a run, and temporary files of this run or an earlier one."""
    output, temporary = job.config.output, r"\.[0-9a-f]{32}\.tmp"
    with suppress(HeterrecError):  # of the store, which then has ended the run already
        delete_parts(job.parts)
        found = _matching(output, rf"\.{_shard_pattern(job.config)}{temporary}")
        rejects = storage.join(output, "rejects")
        if not storage.is_link(rejects):
            found += _matching(rejects, rf"\.rejects-.*{temporary}")
        storage.delete_files(path for _, path in found)


def _shard_pattern(config: EmbedConfig) -> str:
    stems = "|".join(re.escape(c.stem) for c in config.columns)
    return rf"({stems})-\d{{5}}-of-\d{{5}}\.parquet"


def _matching(folder: str, pattern: str) -> list[tuple[str, str]]:
    """The names and paths of the files in a folder whose names match a regular expression."""
    names = (name for name in storage.files_in(folder) if re.fullmatch(pattern, name))
    return [(name, storage.join(folder, name)) for name in names]
