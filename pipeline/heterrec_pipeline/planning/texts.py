"""The text files of a generation: made for real out of what is predicted, and measured."""

from importlib import metadata

from heterrec_pipeline.job import Job
from heterrec_pipeline.planning.counts import LogCounts, TableCounts
from heterrec_pipeline.planning.output import Files, Surveys
from heterrec_pipeline.planning.sampling.estimates import Estimate
from heterrec_pipeline.publishing.publish import LIBRARIES
from heterrec_pipeline.publishing.statistics import schema_json, statistics
from heterrec_schemas.manifest import (
    Counts,
    FeatureEntry,
    FileEntry,
    InputEntry,
    InteractionCounts,
    Manifest,
    RowCounts,
)
from heterrec_schemas.publish_schemas import schema_files
from heterrec_schemas.rejects import Reason
from heterrec_schemas.tables import shard_name

HASH = "0" * 64


def text_bytes(
    found: Surveys,
    files: list[Files],
    items: TableCounts,
    users: TableCounts | None,
    log: LogCounts,
    sequences: dict[str, Estimate],
    rejects: dict[Reason, int],
) -> dict[str, int]:
    """Bytes of every text file by name."""
    job, entries = found.job, found.entries
    texts = {"spec.yaml": job.spec_text}
    texts |= {f"schema/{name}": text for name, text in schema_files().items()}
    for file in files:
        name = file.kind.replace("/", "-") if file.kind.startswith("sequences") else file.kind
        texts[f"schema/{name}.json"] = schema_json(file.schema)
    counts = {
        "items.keys": items.kept.value,
        "users.keys": users.kept.value if users else 0,
        "interactions.kept": log.kept.value,
        **{f"sequences.{s}": n.value for s, n in sequences.items()},
    }
    texts["statistics.json"] = statistics(counts, entries)
    sizes = {name: len(text.encode("utf-8")) for name, text in texts.items()}
    manifest = _manifest(job, files, sizes, entries, _counts(items, users, log, sequences), rejects)
    return sizes | {"manifest.json": len(manifest.to_json().encode("utf-8"))}


def _counts(
    items: TableCounts, users: TableCounts | None, log: LogCounts, sequences: dict[str, Estimate]
) -> Counts:
    def rows(c: TableCounts) -> RowCounts:
        return RowCounts(read=c.read.value, kept=c.kept.value, rejected=c.rejected.value)

    return Counts(
        items=rows(items),
        users=rows(users) if users else None,
        interactions=InteractionCounts(
            read=log.read.value,
            kept=log.kept.value,
            unknown_item=log.unknown_item.value,
            duplicate=log.duplicate.value,
            short_user=log.short_user.value,
            rejected=log.rejected.value,
        ),
        sequences={s: n.value for s, n in sequences.items()},
    )


def _manifest(
    job: Job,
    files: list[Files],
    texts: dict[str, int],
    entries: list[FeatureEntry],
    counts: Counts,
    rejects: dict[Reason, int],
) -> Manifest:
    """A manifest as long as the real one."""
    listed = [
        FileEntry(path=path, rows=f.rows // f.shards, bytes=f.bytes // f.shards, sha256=HASH)
        for f in files
        for path in _paths(f)
    ]
    listed += [FileEntry(path=p, rows=None, bytes=n, sha256=HASH) for p, n in texts.items()]
    inputs = {f.name: f.bytes for f in (*job.log, *(f for t in job.tables for f in t.files))}
    temporal = {"validation_at_ms": 10**12, "test_at_ms": 10**12}
    return Manifest(
        generation=job.generation,
        created=job.created,
        name=job.spec.name,
        spec_sha256=HASH,
        content_sha256=HASH,
        files=listed,
        features=entries,
        item_vocabulary_size=counts.items.kept,
        counts=counts,
        rejects=rejects,
        cuts=temporal if job.spec.split.method == "temporal" else {},
        inputs=[InputEntry(path=p, bytes=n, sha256=HASH) for p, n in inputs.items()],
        libraries={name: metadata.version(name) for name in LIBRARIES},
    )


def _paths(files: Files) -> list[str]:
    if files.kind in ("boundaries", "quantizers"):
        return [f"{files.stem}.parquet"]
    folder, _, stem = files.stem.rpartition("/")
    return [f"{folder}/{shard_name(stem, s, files.shards)}" for s in range(files.shards)]
