"""The end of a run: rejects and `embedding.json` are written, what is no longer true removed."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import apache_beam as beam
import pyarrow as pa

from heterrec_pipeline.embed.config import EmbedConfig, EmbeddedColumn
from heterrec_pipeline.embed.shard import SUMMARY, Shard
from heterrec_pipeline.embed.survey import EmbedJob, Plan, refuse_rejects
from heterrec_pipeline.files import storage
from heterrec_pipeline.files.shards import write_shard
from heterrec_pipeline.wiring.carried import carried
from heterrec_schemas.rejects import REJECTS_SCHEMA
from heterrec_schemas.tables import shard_name

FORMAT_VERSION = 1
REJECTS_FOLDER = "rejects"
_LIBRARIES = ("sentence-transformers", "transformers", "torch", "pyarrow")


class Publish(beam.DoFn):
    """All shards stand: say so."""

    def __init__(self, job: EmbedJob) -> None:
        """Publish one job."""
        self.job = job

    @carried
    def process(self, element: tuple[int, dict[str, Iterable[Any]]], plan: Plan) -> Iterator[None]:
        """Write the rejects, clean up, write the summary."""
        output = self.job.config.output
        shards: list[Shard] = list(element[1]["shards"])
        table = all_rejects(element[1]["rejects"])
        bad = len(table.group_by(["file", "row"]).aggregate([]))
        refuse_rejects(self.job.config, bad, plan.rows)
        written = write_shard(output, f"{REJECTS_FOLDER}/{shard_name('rejects', 0, 1)}", table)
        storage.rename([(written.temporary, storage.join(output, written.path))])
        clean(self.job.config, {s.path for s in shards})
        says = summary(self.job, plan, shards, table)
        body = json.dumps(says, indent=2, ensure_ascii=False) + "\n"
        storage.replace_bytes(storage.join(output, SUMMARY), body.encode("utf-8"), "publish")
        yield from ()


def all_rejects(tables: Iterable[pa.Table]) -> pa.Table:
    """The rejects as one table, in the order of their files and rows."""
    whole = pa.concat_tables([REJECTS_SCHEMA.empty_table(), *tables]).combine_chunks()
    return whole.sort_by([(n, "ascending") for n in ("file", "row", "column", "reason")])


def summary(job: EmbedJob, plan: Plan, shards: list[Shard], rejects: pa.Table) -> dict[str, Any]:
    """What `embedding.json` says; the same for the same input, model, options and libraries."""
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
        "rejects": dict(sorted(Counter(rejects["reason"].to_pylist()).items())),
        "libraries": {name: v for name in _LIBRARIES if (v := _version(name))},
    }


def _column(column: EmbeddedColumn, plan: Plan, shards: list[Shard]) -> dict[str, Any]:
    mine = sorted((s for s in shards if s.column == column.name), key=lambda s: s.path)
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


def clean(config: EmbedConfig, shards: set[str]) -> None:
    """Remove shards of another count, and the half-written files of attempts that ended."""
    stems = "|".join(re.escape(c.stem) for c in config.columns)
    shard = rf"({stems})-\d{{5}}-of-\d{{5}}\.parquet"
    ours, half = re.compile(shard), re.compile(rf"\.{shard}\.[0-9a-f]{{32}}\.tmp")
    for name in storage.files_in(config.output):
        if (ours.fullmatch(name) and name not in shards) or half.fullmatch(name):
            storage.delete_tree(storage.join(config.output, name))
