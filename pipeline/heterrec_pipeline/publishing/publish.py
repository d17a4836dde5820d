"""The last step: give all files their final names, write the manifest, update `latest.json`."""

import json
import logging
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from typing import Any, NamedTuple

from heterrec_pipeline.features.fitted import Fitted
from heterrec_pipeline.files import storage
from heterrec_pipeline.files.shards import Written, write_text
from heterrec_pipeline.job import ITEMS, USERS, Job
from heterrec_pipeline.keys.read import key_text
from heterrec_pipeline.publishing import lease
from heterrec_pipeline.publishing.lease import LEASE_NAME
from heterrec_pipeline.publishing.rejects import RejectSummary
from heterrec_pipeline.publishing.statistics import arrow_schemas, statistics
from heterrec_pipeline.reading.files import InputFile, changed_input, split_file, unreadable
from heterrec_pipeline.reading.read import read_split
from heterrec_pipeline.sequences.cuts import Cuts
from heterrec_pipeline.telemetry.recorder import RECORDER
from heterrec_pipeline.wiring.reports import count_file
from heterrec_schemas.documents import parse_json
from heterrec_schemas.errors import DataError
from heterrec_schemas.feature_spec import spec_sha256
from heterrec_schemas.manifest import (
    GENERATION_ID,
    LATEST_NAME,
    MANIFEST_NAME,
    SPLITS,
    Counts,
    FeatureEntry,
    FileEntry,
    InputEntry,
    InteractionCounts,
    Manifest,
    RowCounts,
    content_sha256,
)
from heterrec_schemas.publish_schemas import schema_files
from heterrec_schemas.rejects import Reason
from heterrec_schemas.stores import FileInfo

LOG = logging.getLogger(__name__)
LIBRARIES = ("heterrec", "apache-beam", "numpy", "polars", "polars-hash", "pyarrow", "xxhash")
"""Packages whose versions the manifest lists."""
EXAMPLES = 3
"""Number of keys of a table that a message quotes."""


def hash_inputs(files: tuple[InputFile, ...]) -> Iterator[InputEntry]:
    """Input files to their manifest entries: SHA-256 on local disks, the store's etag elsewhere."""
    RECORDER.count("inputs.files", len(files))
    RECORDER.count("inputs.bytes", sum(f.bytes for f in files))
    with ThreadPoolExecutor(max_workers=4) as pool:
        yield from pool.map(_input_entry, files)


def _input_entry(file: InputFile) -> InputEntry:
    try:
        if file.append_only:
            found = {"sha256": storage.sha256_of(file.path, file.bytes)}
        else:
            found = storage.fingerprint(FileInfo(file.path, file.bytes, file.version))
    except OSError as error:
        raise unreadable(file, error) from None
    return InputEntry(path=file.name, bytes=file.bytes, **found)


class BuildReports(NamedTuple):
    """Everything that the steps of a build have reported."""

    counts: dict[str, int]
    files: list[Written]
    rejects: RejectSummary
    inputs: list[InputEntry]
    cuts: Cuts


def publish_generation(
    job: Job,
    _: Any,
    counts: dict[str, int],
    files: Iterable[Written],
    rejects: RejectSummary,
    inputs: Iterable[InputEntry],
    cuts: Cuts,
    item_fitted: dict[str, Fitted],
    user_fitted: dict[str, Fitted],
) -> Iterator[Manifest]:
    """All reports to the manifest. A retry after a failure finds files with their final names, and continues.

    Raises:
        RunError: an input file has changed since it was listed, or the generation's folder was deleted.
        DataError: the log is empty, or none of its rows was kept.
    """
    found = BuildReports(counts, sorted(files, key=lambda f: f.path), rejects, list(inputs), cuts)
    committed = storage.exists(storage.join(job.root, MANIFEST_NAME))
    if not committed and lease.is_lost(job.root):
        raise lease.lost(job.root)
    if not job.lenient:
        hashes = {entry.path: entry.sha256 for entry in found.inputs}
        if changed := changed_input(job.input_files, hashes):
            raise changed
        check_kept(job, counts)
    entries = feature_entries(job, counts, item_fitted, user_fitted)
    texts = [
        write_text(job.root, "spec.yaml", job.spec_text),
        write_text(job.root, "statistics.json", statistics(counts, entries)),
        *(write_text(job.root, *named) for named in arrow_schemas(job.root, found.files)),
        *(write_text(job.root, f"schema/{n}", t) for n, t in schema_files().items()),
    ]
    for text in texts:
        count_file(text)
    every = sorted([*found.files, *texts], key=lambda f: f.path)
    storage.rename([(f.temporary, storage.join(job.root, f.path)) for f in every])
    manifest = make_manifest(job, found, entries, every)
    storage.delete_tree(job.parts)
    # Temporary files that are left belong to failed attempts.
    storage.delete_files(path for path in storage.files_below(job.root) if path.endswith(".tmp"))
    commit(job, manifest, again=committed)
    point_latest(job.output, job.generation, job.attempt)
    storage.delete_tree(storage.join(job.root, LEASE_NAME))
    yield manifest


def commit(job: Job, manifest: Manifest, *, again: bool) -> None:
    """Write the manifest, provided that the generation's folder is complete and still belongs to this build.

    Args:
        job: the build.
        manifest: its manifest.
        again: whether an earlier attempt has written it.

    Raises:
        RunError: files are absent, or another build is deleting the folder.
    """
    path = storage.join(job.root, MANIFEST_NAME)
    if not again and (lease.is_lost(job.root) or not _is_complete(job, manifest)):
        raise lease.lost(job.root)
    storage.create_bytes(path, manifest.to_json().encode(), job.attempt)
    # Whoever deletes a folder marks its lease and then looks for a manifest, so one of both sides notices.
    if lease.is_taken(job.root) or not _is_complete(job, manifest):
        storage.delete_files([path])
        raise lease.lost(job.root)


def _is_complete(job: Job, manifest: Manifest) -> bool:
    """Whether every file of a manifest exists with its size."""
    sizes = storage.sizes(job.root, [f.path for f in manifest.files])
    return sizes == [f.bytes for f in manifest.files]


def point_latest(output: str, generation: str, attempt: str) -> None:
    """Let `latest.json` name a generation, unless it names a newer one that is published.

    Of builds that end at the same time, the one that began last is named, in whatever order they write.

    Raises:
        RunError: the file cannot be written.
    """

    def newer_only(held: bytes | None) -> bytes | None:
        named = _named(held)
        if named > generation and storage.exists(
            storage.join(output, "generations", named, MANIFEST_NAME)
        ):
            LOG.warning("%s already names the newer %s", LATEST_NAME, named)
            return None
        body = (json.dumps({"generation": generation}) + "\n").encode()
        return None if body == held else body

    storage.update_bytes(storage.join(output, LATEST_NAME), newer_only, attempt)


def _named(held: bytes | None) -> str:
    """The generation named by the content of `latest.json`; empty if there is none."""
    try:
        named = parse_json(held or b"")["generation"]
    except (ValueError, TypeError, KeyError):
        return ""
    return named if isinstance(named, str) and GENERATION_ID.fullmatch(named) else ""


def check_kept(job: Job, counts: dict[str, int]) -> None:
    """Refuse to publish a build without interactions.

    Raises:
        DataError: no row of the log was kept.
    """
    if counts.get("interactions.kept", 0) == 0:
        entry = interaction_counts(counts)
        keys = f" {_key_examples(job)}" if entry.unknown_item else ""
        raise DataError(
            f"interactions: none of the {entry.read:,} rows is left",
            got=f"{entry.rejected:,} rejected, {entry.unknown_item:,} with unknown items, "
            f"{entry.duplicate:,} duplicates, {entry.short_user:,} of short users",
            expected="at least one user's history",
            todo=f"Check that the item keys of both sources agree, and sequences.min_length.{keys}",
        )


def _key_examples(job: Job) -> str:
    """Item keys of the catalogue and of the log, to compare their spelling."""
    words = []
    for files, key in ((job.items.files, job.items.key), (job.log, job.spec.interactions.item)):
        batch = next((b for split in split_file(files[0]) for b in read_split(split, [key])), None)
        if batch is not None:
            text, _ = key_text(batch.table[key], key, files[0].name)
            some = text.drop_nulls().unique(maintain_order=True).head(EXAMPLES).to_list()
            words.append(f"{files[0].name} has keys such as {', '.join(map(repr, some))}")
    return "; ".join(words) + "."


def interaction_counts(counts: dict[str, int]) -> InteractionCounts:
    """The counts of the log; asserts that `read` is the sum of the others."""
    get = {
        k: counts.get(f"interactions.{k}", 0)
        for k in ("kept", "unknown_item", "duplicate", "short_user")
    }
    rejected = counts.get("interactions.malformed", 0) + counts.get("interactions.bad", 0)
    read = counts.get("interactions.read", 0)
    assert read == rejected + sum(get.values()), counts
    return InteractionCounts(read=read, **get, rejected=rejected)


def row_counts(name: str, counts: dict[str, int]) -> RowCounts:
    """The counts of a feature table; equal rows of a key count once."""
    repeated = counts.get(f"{name}.repeated", 0)
    read = counts.get(f"{name}.rows", 0) - repeated
    rejected = counts.get(f"{name}.unusable", 0) + counts.get(f"{name}.duplicate", 0)
    kept = counts.get(f"{name}.keys", 0)
    assert read == kept + rejected, (name, counts)
    return RowCounts(read=read, kept=kept, rejected=rejected, repeated=repeated)


def feature_entries(
    job: Job,
    counts: dict[str, int],
    item_fitted: dict[str, Fitted],
    user_fitted: dict[str, Fitted],
) -> list[FeatureEntry]:
    """The manifest entries of all features, those of items first."""
    sides = (
        ("item", job.spec.items.features, item_fitted),
        ("user", job.spec.user_features, user_fitted),
    )
    return [
        feature.entry(
            side,
            fitted[feature.name].size,
            counts.get(f"{side}/{feature.name}.missing", 0),
            counts.get(f"{side}/{feature.name}.oov", 0),
        )
        for side, features, fitted in sides
        for feature in features
    ]


def make_manifest(
    job: Job, found: BuildReports, features: list[FeatureEntry], files: list[Written]
) -> Manifest:
    """The manifest of a generation whose files have their final names."""
    entries = [
        FileEntry(path=f.path, rows=f.rows if f.rows >= 0 else None, bytes=f.bytes, sha256=f.sha256)
        for f in files
    ]
    counts = found.counts
    cuts = (
        {}
        if found.cuts is None
        else dict(zip(("validation_at_ms", "test_at_ms"), found.cuts, strict=True))
    )
    return Manifest(
        generation=job.generation,
        created=job.created,
        name=job.spec.name,
        spec_sha256=spec_sha256(job.spec_text),
        content_sha256=content_sha256(entries),
        files=entries,
        features=features,
        item_vocabulary_size=job.spec.first_item_index + counts[f"{ITEMS}.keys"],
        counts=Counts(
            items=row_counts(ITEMS, counts),
            users=row_counts(USERS, counts) if job.users else None,
            interactions=interaction_counts(counts),
            sequences={s: counts.get(f"sequences.{s}", 0) for s in SPLITS},
        ),
        rejects={Reason(r): n for r, n in sorted(found.rejects.entries.items())},
        cuts=cuts,
        inputs=sorted(found.inputs, key=lambda i: i.path),
        libraries={name: metadata.version(name) for name in LIBRARIES},
    )
