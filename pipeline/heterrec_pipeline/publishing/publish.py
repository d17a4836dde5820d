"""The last step: give all files their final names, write the manifest, update `latest.json`."""

import json
from collections.abc import Iterable, Iterator, Mapping
from importlib import metadata
from typing import Any, NamedTuple

from heterrec_pipeline.drift.gate import Verdict, drifted_too_far
from heterrec_pipeline.features.fitted import Fitted
from heterrec_pipeline.files import storage
from heterrec_pipeline.files.shards import Written, write_text
from heterrec_pipeline.job import ITEMS, USERS, Job
from heterrec_pipeline.publishing import lease
from heterrec_pipeline.publishing.kept import check_kept
from heterrec_pipeline.publishing.latest import name_latest
from heterrec_pipeline.publishing.rejects import RejectSummary
from heterrec_pipeline.publishing.statistics import arrow_schemas, statistics, with_fits
from heterrec_pipeline.reading.files import changed_input
from heterrec_pipeline.sequences.cuts import Cuts
from heterrec_pipeline.wiring.reports import count_file
from heterrec_pipeline.wiring.splits import NOT_REUSED, REUSED_BYTES, REUSED_FILES
from heterrec_schemas.errors import NotPublishedError
from heterrec_schemas.feature_spec import CategoricalFeature, Feature, spec_sha256
from heterrec_schemas.leases import LEASE_NAME
from heterrec_schemas.manifest import (
    MANIFEST_NAME,
    SPLITS,
    STATE,
    Ancestor,
    Counts,
    DriftStatus,
    FeatureEntry,
    FileEntry,
    InputEntry,
    InteractionCounts,
    ItemCounts,
    Manifest,
    RowCounts,
    UserIds,
    content_sha256,
)
from heterrec_schemas.publish_schemas import published_files
from heterrec_schemas.rejects import Reason

LIBRARIES = ("heterrec", "apache-beam", "numpy", "polars", "polars-hash", "pyarrow", "xxhash")
"""Packages whose versions the manifest lists."""
REUSE_NAME = f"{STATE}/reuse.json"


def reuse_report(job: Job, counts: Mapping[str, int]) -> str:
    """What a refresh took over from its parent, and why not the rest, as JSON text."""
    sources = [job.log, *(t.files for t in job.tables)]
    why = {n.removeprefix(NOT_REUSED): k for n, k in counts.items() if n.startswith(NOT_REUSED)}
    body = {
        "files": counts.get(REUSED_FILES, 0),
        "bytes": counts.get(REUSED_BYTES, 0),
        "of_files": sum(map(len, sources)),
        "of_bytes": sum(f.bytes for files in sources for f in files),
        "why": dict(sorted(why.items())),
    }
    return json.dumps(body, indent=1) + "\n"


class BuildReports(NamedTuple):
    """Everything that the steps of a build have reported."""

    counts: dict[str, int]
    files: list[Written]
    rejects: RejectSummary
    inputs: list[InputEntry]
    cuts: Cuts
    drift: DriftStatus | None = None


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
    summaries: Mapping[str, dict[str, Any]],
    judged: Iterable[tuple[str, dict[str, Any]]],
    drift: Verdict | None = None,
) -> Iterator[Manifest]:
    """All reports to the manifest. A retry after a failure finds files with their final names, and continues.

    Raises:
        RunError: an input file has changed since it was listed, or the generation's folder was deleted.
        DataError: the log is empty, or none of its rows was kept.
        NotPublishedError: a refresh drifted too far; it is complete, but `latest.json` does not name it.
    """
    found = BuildReports(
        counts,
        sorted(files, key=lambda f: f.path),
        rejects,
        list(inputs),
        cuts,
        drift and drift.status,
    )
    committed = storage.exists(storage.join(job.root, MANIFEST_NAME))
    if not committed and lease.is_lost(job.root):
        raise lease.lost(job.root)
    if not job.lenient:
        hashes = {entry.path: entry.sha256 for entry in found.inputs}
        if changed := changed_input(job.input_files, hashes):
            raise changed
        check_kept(job, interaction_counts(counts))
    entries = feature_entries(job, counts, item_fitted, user_fitted)
    texts = [
        write_text(job.root, "spec.yaml", job.spec_text),
        write_text(
            job.root,
            "statistics.json",
            statistics(counts, entries, with_fits(job, summaries, dict(judged))),
        ),
        *(write_text(job.root, *named) for named in arrow_schemas(job.root, found.files)),
        *(write_text(job.root, f"schema/{n}", t) for n, t in published_files().items()),
        *([write_text(job.root, REUSE_NAME, reuse_report(job, counts))] if job.parent else []),
    ]
    for text in texts:
        count_file(text)
    every = sorted([*found.files, *texts], key=lambda f: f.path)
    storage.rename([(f.temporary, storage.join(job.root, f.path)) for f in every])
    manifest = make_manifest(job, found, entries, every)
    delete_leftovers(job)
    commit(job, manifest, again=committed)
    try:
        if drift is not None and drift.status == "fail" and not job.allow_drift:
            raise drifted_too_far(job, drift)
        name_latest(job)
    except NotPublishedError:
        _release(job)
        raise
    # Only now: until then the lease keeps purges from deleting what `latest.json` is about to name.
    _release(job)
    yield manifest


def delete_leftovers(job: Job) -> None:
    """Delete what no finished generation may have: parts, and temporary files, which belong to failed attempts.

    Raises:
        RunError: some cannot be deleted.
    """
    storage.delete_tree(job.parts)
    parts = storage.join(job.parts, "")
    for path in storage.files_below(job.root):
        if path.startswith(parts) or path.endswith(".tmp"):
            storage.delete_now(path)


def _release(job: Job) -> None:
    """Delete the lease of a finished build."""
    storage.delete_tree(storage.join(job.root, LEASE_NAME))


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


def interaction_counts(counts: dict[str, int]) -> InteractionCounts:
    """The counts of the log; asserts that `read` is the sum of the others."""
    get = {
        k: counts.get(f"interactions.{k}", 0)
        for k in ("kept", "unknown_item", "duplicate", "short_user", "erased", "filtered")
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
    erased, filtered = (counts.get(f"{name}.{k}", 0) for k in ("erased", "filtered"))
    assert read == kept + rejected + erased + filtered, (name, counts)
    return RowCounts(
        read=read,
        kept=kept,
        rejected=rejected,
        repeated=repeated,
        erased=erased,
        filtered=filtered,
    )


def item_counts(counts: dict[str, int]) -> ItemCounts:
    """The counts of the catalogue."""
    rows = row_counts(ITEMS, counts).model_dump()
    return ItemCounts(**rows, retired=counts.get(f"{ITEMS}.retired", 0))


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
        ).model_copy(update=descent(job, side, feature))
        for side, features, fitted in sides
        for feature in features
    ]


def descent(job: Job, side: str, feature: Feature) -> dict[str, Any]:
    """The fields of a feature's entry that say where its ids began, and its edges."""
    name = f"{side}/{feature.name}"
    if job.parent is None or name not in job.parent.features:
        return {"begun": job.generation, "fitted": job.generation}
    begun, version = job.parent.begun(name), job.parent.features[name].boundary_version
    if isinstance(feature, CategoricalFeature):
        return {"begun": begun, "fitted": begun}
    if name in job.refit:
        return {"begun": begun, "fitted": job.generation, "boundary_version": (version or 1) + 1}
    return {"begun": begun, "fitted": job.parent.fitted(name), "boundary_version": version or 1}


def lineage(job: Job) -> list[Ancestor]:
    """The ancestors of the generation, the first build first, the parent last."""
    if job.parent is None:
        return []
    parent = Ancestor(generation=job.parent.generation, content_sha256=job.parent.content_sha256)
    return [*job.parent.lineage, parent]


def item_vocabulary_size(job: Job, counts: dict[str, int]) -> int:
    """The largest item_index + 1."""
    known = job.inherited(ITEMS)
    if known is None:
        return job.spec.first_item_index + counts[f"{ITEMS}.keys"]
    return known.size + counts.get(f"{ITEMS}.new", 0)


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
        drift=found.drift,
        parent=job.parent.generation if job.parent else None,
        lineage=lineage(job),
        created=job.created,
        name=job.spec.name,
        user_ids=None
        if job.user_key is None
        else UserIds(hash_key=job.user_key.variable, fingerprint=job.user_key.fingerprint),
        spec_sha256=spec_sha256(job.spec_text),
        content_sha256=content_sha256(entries),
        files=entries,
        features=features,
        item_vocabulary_size=item_vocabulary_size(job, counts),
        counts=Counts(
            items=item_counts(counts),
            users=row_counts(USERS, counts) if job.users else None,
            interactions=interaction_counts(counts),
            sequences={s: counts.get(f"sequences.{s}", 0) for s in SPLITS},
        ),
        rejects={Reason(r): n for r, n in sorted(found.rejects.entries.items())},
        cuts=cuts,
        inputs=sorted(found.inputs, key=lambda i: i.path),
        libraries={name: metadata.version(name) for name in LIBRARIES},
    )
