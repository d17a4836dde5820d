"""Open the parent of a refresh: find it, check the files that a refresh reads, describe it for the workers."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa

from heterrec_pipeline.job import ITEMS
from heterrec_pipeline.parent import KnownVocabulary, Parent, ParentRows
from heterrec_schemas.drift import DRIFT_NAME
from heterrec_schemas.errors import (
    CallError,
    CorruptGenerationError,
    FormatVersionError,
    GenerationError,
    UnfinishedGenerationError,
)
from heterrec_schemas.generation import Folder, Generation
from heterrec_schemas.generation.find_generation import find_generation
from heterrec_schemas.generation.verify import (
    AGAIN,
    check_features,
    check_files,
    read_manifest,
    read_spec,
)
from heterrec_schemas.manifest import FORMAT_VERSION, GENERATIONS, FeatureEntry
from heterrec_schemas.tokens import ITEM_VOCABULARY, feature_stem

READ = ("vocabularies", "boundaries", "quantizers", "items", "retired")
"""Folders of the parent that a refresh reads."""
_LATEST = "sequences/latest-"
"""Begin of the files that a refresh reads as well if the parent has no `drift.json`."""
_RESTORE = "Restore the file, or roll back and refresh an earlier generation."


def find_parent(base: str) -> Folder:
    """The folder of the generation that `--base` names.

    Raises:
        HeterrecError: there is none, or it is unfinished.
    """
    try:
        return find_generation(base)
    except (UnfinishedGenerationError, CorruptGenerationError):
        raise
    except GenerationError as error:
        raise GenerationError(
            f"--base: {error.message.rstrip('.')}",
            todo="There is nothing to refresh; run `heterrec-pipeline build`.",
        ) from None


def output_of(base: str) -> str:
    """The output folder that the generation at `--base` lies in.

    Raises:
        HeterrecError: there is no generation, or it does not lie in an output folder.
    """
    folder = find_parent(base)
    holder = folder.parent()
    if not holder.path.endswith(f"/{GENERATIONS}"):
        raise CallError(
            f"--base: {folder.name} does not lie in {GENERATIONS}/ of an output folder",
            todo="Name the folder for the new generation: --output.",
        )
    return holder.parent().path


def open_parent(base: str) -> Parent:
    """Open the parent, and check the files that a refresh reads.

    Raises:
        GenerationError: there is no generation, it is unfinished or has another format version, or a file is damaged.
    """
    folder = find_parent(base)
    try:
        manifest = read_manifest(folder)
    except FormatVersionError as error:
        raise FormatVersionError(
            error.message.split(". ")[0],
            todo=f"This release continues generations of format version {FORMAT_VERSION} only: build anew.",
        ) from None
    read = [f for f in manifest.files if f.path.split("/")[0] in READ or f.path == DRIFT_NAME]
    if not any(f.path == DRIFT_NAME for f in read):
        read += [f for f in manifest.files if f.path.startswith(_LATEST)]
    try:
        check_files(folder, manifest.model_copy(update={"files": read}), "hashes")
        spec = read_spec(folder, manifest)
        check_features(folder, manifest, spec)
        generation = Generation(folder, manifest, spec)
        drift = generation.drift()
    except CorruptGenerationError as error:
        what = error.message.removesuffix(AGAIN).rstrip(". ")
        raise CorruptGenerationError(f"--base: {what}", todo=_RESTORE) from None
    counts = manifest.counts
    features = {f"{f.side}/{f.name}": f for f in manifest.features}
    return Parent(
        root=folder.path,
        generation=manifest.generation,
        content_sha256=manifest.content_sha256,
        lineage=tuple(manifest.lineage),
        spec=spec,
        features=features,
        vocabularies=dict(_vocabularies(generation, features)),
        tokens=tuple(f.path for d in ("items", "retired") for f in generation.files(d)),
        latest=tuple(generation.sequence_shards("latest")),
        rows=ParentRows(counts.items.kept, counts.sequences["latest"], counts.interactions.kept),
        drift=drift.status if drift else None,
        user_key=manifest.user_key,
    )


def _vocabularies(
    generation: Generation, features: dict[str, FeatureEntry]
) -> Iterator[tuple[str, KnownVocabulary]]:
    rows_of = {f.path: f.rows for f in generation.manifest.files}
    sizes = {ITEMS: (ITEM_VOCABULARY, generation.manifest.item_vocabulary_size)}
    for name, entry in features.items():
        if entry.kind == "categorical":
            stem = feature_stem(entry.side, entry.name)
            sizes[name] = (stem, entry.vocabulary_size)
    with ThreadPoolExecutor(8) as pool:
        integral = pool.map(
            lambda stem: _is_integral(generation, stem), (s for s, _ in sizes.values())
        )
        for (name, (stem, size)), whole in zip(sizes.items(), integral, strict=True):
            paths = generation.vocabulary_shards(stem)
            rows = sum(rows_of[path] or 0 for path in paths)
            yield name, KnownVocabulary(stem, len(paths), rows, size, whole)


def _is_integral(generation: Generation, stem: str) -> bool:
    with generation.open_shard(generation.vocabulary_shards(stem)[0]) as shard:
        return bool(pa.types.is_integer(shard.schema_arrow.field("value").type))
