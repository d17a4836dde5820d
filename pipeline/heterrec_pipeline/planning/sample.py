"""Chooses the sample of the input, and writes it as the input folder of a build."""

import json
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from heterrec_pipeline.interactions.read import log_columns
from heterrec_pipeline.job import INTERACTIONS, ITEMS, USERS, Job
from heterrec_pipeline.planning.blocks import BlockSample, choose_blocks
from heterrec_pipeline.planning.histories import BLOCK
from heterrec_pipeline.planning.scan import (
    KEY,
    LogRead,
    TableRead,
    among,
    below,
    read_log,
    read_table,
)
from heterrec_pipeline.reading.batches import one_chunk
from heterrec_pipeline.reading.erased import erased
from heterrec_pipeline.reading.key_text import key_text
from heterrec_schemas.feature_spec import (
    CategoricalFeature,
    Erase,
    Feature,
    FeatureSpec,
    KeyList,
    Rejects,
    Source,
    Timestamp,
    VocabularyFile,
)
from heterrec_schemas.hashing import hash_texts

SAMPLE_ROWS = 125_000
"""Approximate number of interactions of the sample. An input of up to twice as many is built as a whole."""
ROWS_PER_ITEM = 5
"""Number of interactions of the sample per row of each feature table."""


@dataclass(frozen=True)
class InputSample:
    """The part of the input that was read.

    Attributes:
        job: the build.
        whole: whether the sample is the input itself.
        tables: the feature tables by name.
        log: the log.
    """

    job: Job
    whole: bool
    tables: dict[str, TableRead]
    log: LogRead

    @property
    def items(self) -> TableRead:
        """The catalogue, or the items of a denormalised log."""
        return self.tables[ITEMS]

    @property
    def share_of_log(self) -> float:
        """Rows of the sampled log per row of the log that reaches the shuffle."""
        if self.log.sample is None:
            return 1.0
        return len(self.log.sample) / max(1.0, self.log.shuffled)

    def share_of(self, table: TableRead) -> float:
        """Rows of the sample per row of a feature table; for items of a denormalised log, the share of the log."""
        if table.sample is None:
            return self.share_of_log
        return len(table.sample) / max(1, table.rows.value)


def take_sample(job: Job, budget: int | None, sample_rows: int) -> InputSample:
    """Read a bounded part of every table.

    Args:
        job: the build.
        budget: approximate number of bytes to read of each table; None to read everything, which is then built as a whole.
        sample_rows: approximate number of interactions of the sample.
    """
    rows, columns = job.sizes.rows, log_columns(job.spec)
    columns += job.items.columns if job.spec.denormalised else []
    log = choose_blocks(job.log, columns, rows[INTERACTIONS], budget)
    got, keys = dict[str, BlockSample](), dict[str, BlockSample]()
    for table in job.tables:
        files, count = table.files or job.log, rows[table.name if table.files else INTERACTIONS]
        time = [] if table.files else [job.spec.interactions.timestamp.column]
        got[table.name] = choose_blocks(files, [*table.columns, *time], count, budget)
        keys[table.name] = choose_blocks(files, [table.key, *time], count, budget)
    time_of_items = None if job.items.files else job.spec.interactions.timestamp
    most = sample_rows // ROWS_PER_ITEM
    small = rows[INTERACTIONS].count <= 2 * sample_rows and all(
        rows[t.name].count <= 2 * most for t in job.tables if t.files
    )
    if budget is None or (small and all(r.whole for r in (log, *got.values()))):
        tables = {
            t.name: read_table(
                t,
                got[t.name],
                keys[t.name],
                timestamp=time_of_items if t is job.items else None,
                gate=None if t.files else job.log_gate,
            )
            for t in job.tables
        }
        return InputSample(job, True, tables, read_log(job, log, tables[ITEMS]))
    partly = [got[j.name].expected for j in job.joins if not got[j.name].whole]
    share = min([most, *partly]) / max(1.0, got[ITEMS].expected)
    keep = partial(below, share=share) if job.items.files else None
    gate = None if job.items.files else job.log_gate
    items = read_table(job.items, got[ITEMS], keys[ITEMS], keep, time_of_items, gate)
    substitutes = None
    if items.sample is not None and len(items.sample) < items.rows.value:
        substitutes = pl.Series(items.sample[KEY]).drop_nulls()
    read = read_log(job, log, items, sample_rows, substitutes)
    tables = {ITEMS: items} | _joined(job, got, keys, items, _keys(job, items, read))
    if job.users is not None:
        # The users of the log's sample; more of a table that is small, of which none might be left otherwise.
        share = max(sample_rows / max(1.0, log.expected), most / max(1.0, got[USERS].expected))
        users = partial(below, share=share)
        tables[USERS] = read_table(job.users, got[USERS], keys[USERS], users)
    return InputSample(job, False, tables, read)


def _keys(job: Job, items: TableRead, log: LogRead) -> pl.Series:
    """The keys of the sampled items."""
    if items.sample is not None:
        text = pl.Series(items.sample[KEY])
    else:
        key, missing = job.items.key, job.items.missing_values
        text, _ = key_text(one_chunk(log.sample, key), key, INTERACTIONS, missing)
    return text.drop_nulls().unique(maintain_order=True)


def _joined(
    job: Job,
    got: dict[str, BlockSample],
    keys: dict[str, BlockSample],
    items: TableRead,
    sample: pl.Series,
) -> dict[str, TableRead]:
    """Read the joined tables: the rows of the sampled items, or other rows that get their keys."""
    tables = {}
    for join in job.joins:
        known = items.known if items.all_known else None
        if got[join.name].whole:
            known = hash_texts(sample).sort().to_numpy()
        read = read_table(join, got[join.name], keys[join.name], partial(among, known=known))
        tables[join.name] = read if read.part.whole else _paired(read, sample, items)
    return tables


def _paired(join: TableRead, keys: pl.Series, items: TableRead) -> TableRead:
    """A joined table whose rows get keys of the sampled items, for the share of items that have a row.

    The row groups read of it contain other items than those read of the catalogue.
    """
    assert join.sample is not None
    covered = min(1.0, join.keys.value / max(1, items.keys.value))
    count = round(covered * len(keys)) if len(join.sample) else 0
    rows = join.sample.take(pa.array(np.arange(count) % max(1, len(join.sample))))
    names = keys.head(count).to_arrow().cast(pa.string())
    for name in dict.fromkeys([KEY, join.table.key]):
        rows = rows.set_column(rows.column_names.index(name), name, names)
    return replace(join, sample=rows)


def write(folder: Path, found: InputSample) -> FeatureSpec:
    """Write the sample as the input of a build; returns the spec that reads it.

    Values that are rare in the sample need not be rare in the whole table, so `min_count` is 1. The number of shards shrinks
    with the sample, so that a shard holds as many rows as one of the whole build, if the sample has as many.
    """
    spec, source = found.job.spec, dict[str, Source]()
    samples = {n: t.sample for n, t in found.tables.items()} | {INTERACTIONS: found.log.sample}
    for number, (name, rows) in enumerate(samples.items()):
        if rows is not None:
            rows = rows.select([c for c in rows.column_names if c not in (BLOCK, KEY)])
            source[name] = Source(path=_written(folder, f"table-{number}", rows))
    joins = [
        j.model_copy(update={"source": source[t.name]})
        for j, t in zip(spec.items.joins, found.job.joins, strict=True)
    ]
    items = {"source": source.get(ITEMS, "interactions"), "joins": joins}
    output = {
        "item_shards": max(1, round(spec.output.item_shards * found.share_of(found.items))),
        "sequence_shards": max(1, round(spec.output.sequence_shards * found.share_of_log)),
    }
    log = spec.interactions
    log_parts = {
        "source": source[INTERACTIONS],
        "timestamp": Timestamp(column=log.timestamp.column, unit="ms"),
    }
    parts: dict[str, Any] = {
        "items": spec.items.model_copy(update=items | _loose(found.job, "item")),
        "interactions": log.model_copy(update=log_parts),
        "output": spec.output.model_copy(update=output),
        "erase": Erase(values=_erased_values(folder, found.job)),
    }
    if spec.hash_key is not None:  # the rows of the sample have the hashes
        parts["users"] = None
    if spec.user_table is not None:
        users = {"source": source[USERS]} | _loose(found.job, "user")
        table = spec.user_table.model_copy(update=users)
        parts["users"] = table.model_copy(update={"hash_key": None}) if spec.hash_key else table
    if spec.rejects.values == "hashed":
        parts["rejects"] = Rejects(values="none")
    return spec.model_copy(update=parts)


def _erased_values(folder: Path, job: Job) -> dict[str, KeyList]:
    """The lists of erased values as files of the sample, whose rows are without the erased keys."""
    lists = {}
    for number, (name, listed) in enumerate(job.erasures.values.items()):
        texts = pa.table({"value": erased(listed).texts.to_arrow()})
        lists[name] = KeyList(
            source=Source(path=_written(folder, f"erased-{number}", texts)), key="value"
        )
    return lists


def _loose(job: Job, side: str) -> dict[str, list[Feature]]:
    """The features of a side with `min_count` 1, and the full paths of vocabulary files."""
    features = job.spec.items.features if side == "item" else job.spec.user_features
    return {
        "features": [
            f.model_copy(update={"min_count": 1, "vocabulary": _vocabulary_file(job, side, f)})
            if isinstance(f, CategoricalFeature)
            else f
            for f in features
        ]
    }


def _vocabulary_file(job: Job, side: str, feature: CategoricalFeature) -> VocabularyFile | None:
    if feature.vocabulary is None:
        return None
    path = job.imported[f"{side}/{feature.name}"].path
    return feature.vocabulary.model_copy(update={"path": path})


def _written(folder: Path, stem: str, rows: pa.Table) -> str:
    """Write a table as Parquet, or as JSON lines if a column mixes lists and values; returns the file's name."""
    mixed = [f.name for f in rows.schema if pa.types.is_binary(f.type)]
    if not mixed:
        pq.write_table(rows, folder / f"{stem}.parquet")
        return f"{stem}.parquet"
    with (folder / f"{stem}.jsonl").open("wb") as out:
        for row in rows.to_pylist():
            row |= {c: json.loads(row[c]) for c in mixed if row[c] is not None}
            out.write(orjson.dumps(row) + b"\n")
    return f"{stem}.jsonl"
