"""Estimates the files of the generation: their number, rows and bytes."""

from collections import Counter
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from heterrec_pipeline.job import INTERACTIONS, ITEMS, LOG_ITEMS, USERS
from heterrec_pipeline.planning.figures import Figures
from heterrec_pipeline.reading.digests import reading_of, reading_slug
from heterrec_pipeline.sequences.split import FIRST_INTERACTION, ITEM_COUNTS
from heterrec_schemas.generation import Generation
from heterrec_schemas.manifest import MANIFEST_NAME, SPLITS, STATE, FileEntry
from heterrec_schemas.tables import ITEM_TIMES, ROW_GROUP, WIDE_ROW_GROUP
from heterrec_schemas.tokens import ITEM_VOCABULARY, vocabulary_shards

KINDS = (
    *("vocabularies", "boundaries", "quantizers", "items"),
    *(f"sequences/{split}" for split in SPLITS),
    *(ITEM_COUNTS, ITEM_TIMES, "rejects", STATE),
)
"""All kinds of tables, in the order in which they are shown."""
ENTRY_BYTES = 190
"""Bytes of a file's entry in the manifest."""
REJECT_BYTES = 30
"""Bytes of an entry of `rejects/` where the trial build has none."""


@dataclass(frozen=True)
class Files:
    """Shards of one table.

    Attributes:
        kind: items, sequences/train, vocabularies, ...
        stem: common start of their paths, below the generation's folder.
        shards, rows, bytes: number and total size.
    """

    kind: str
    stem: str
    shards: int
    rows: int
    bytes: int


def expected_files(found: Figures, trial: Generation) -> tuple[list[Files], dict[str, int]]:
    """The tables of the whole build, and the bytes of its text files by name."""
    shards: dict[str, list[FileEntry]] = {}
    for file in trial.manifest.files:
        if file.rows is not None:
            stem = file.path.removesuffix(".parquet")
            shards.setdefault(stem.rsplit("-", 3)[0] if "-of-" in stem else stem, []).append(file)
    files = [_scaled(found, trial, stem, mine) for stem, mine in shards.items()]
    texts = {
        f.path: f.bytes
        for f in trial.manifest.files
        if f.rows is None and not f.path.startswith(f"{STATE}/")
    }
    files += _state(found, trial)
    more = sum(f.shards for f in files) - (len(trial.manifest.files) - len(texts))
    texts[MANIFEST_NAME] = len(trial.manifest.to_json().encode()) + ENTRY_BYTES * more
    return sorted(files, key=lambda f: KINDS.index(f.kind)), texts


def _state(found: Figures, trial: Generation) -> list[Files]:
    """The digests of the input: those of the trial, scaled by the rows of their tables."""
    job, counts = found.job, trial.manifest.counts
    sizes: Counter[str] = Counter()
    for file in trial.manifest.files:
        if file.path.startswith(f"{STATE}/"):
            sizes[reading_of(file.path)] += file.bytes
    if not sizes:
        return []
    log, items = found.read.log.rows.value, found.read.tables[ITEMS].rows.value
    of_log = log / max(1, counts.interactions.read)
    # Each file of a log keeps a few rows per item in it.
    of_items = found.item_count / max(1, counts.items.kept) * len(job.log)
    growth = {
        INTERACTIONS: of_log,
        LOG_ITEMS: min(of_log, of_items),
        **{reading_slug(t.name): items / max(1, counts.items.read) for t in job.item_tables},
    }
    if job.users is not None and counts.users is not None:
        growth[USERS] = found.read.tables[USERS].rows.value / max(1, counts.users.read)
    whole = found.read.whole
    size = sum(n * (1.0 if whole else growth[name]) for name, n in sizes.items())
    rows = log + sum(found.read.tables[t.name].rows.value for t in job.tables if t.files)
    number = sum(map(len, (job.log, *(t.files for t in job.tables)))) + job.spec.denormalised * len(
        job.log
    )
    return [Files(STATE, STATE, number, rows, round(size))]


def _scaled(found: Figures, trial: Generation, stem: str, shards: list[FileEntry]) -> Files:
    """Scale a table of the trial: data grows with the rows, footers with the number of row groups."""
    folder, _, name = stem.partition("/")
    kind = stem if folder == "sequences" else folder
    rows, size = sum(f.rows or 0 for f in shards), sum(f.bytes for f in shards)
    if found.read.whole:
        return Files(kind, stem, len(shards), rows, size)
    wanted, count = _expected(found, folder, name, rows, len(shards))
    wider = _id_bytes(found.item_count) / _id_bytes(trial.manifest.counts.items.kept)
    data, groups = 0.0, 0
    for shard in shards:
        with trial.open_shard(shard.path) as file:
            meta = file.metadata
        groups += max(1, meta.num_row_groups)
        for g, c in np.ndindex(meta.num_row_groups, meta.num_columns):
            chunk = meta.row_group(g).column(c)
            ids = folder == "sequences" and "item_index" in chunk.path_in_schema
            data += chunk.total_compressed_size * (wider if ids else 1.0)
            size -= chunk.total_compressed_size
    full = WIDE_ROW_GROUP if folder in ("items", "sequences") else ROW_GROUP
    footers = count * max(1, -(-wanted // count // full)) * size / groups
    per_row = data / rows if rows else REJECT_BYTES
    return Files(kind, stem, count, wanted, round(per_row * wanted + footers))


def _expected(found: Figures, folder: str, name: str, rows: int, shards: int) -> tuple[int, int]:
    """Rows and number of shards of a table of the whole build; `rows` and `shards` are those of the trial."""
    spec, items = found.job.spec, found.item_count
    if folder == "items":
        return items, spec.output.item_shards
    if folder == "sequences":
        return found.sequences[name].value, spec.output.sequence_shards
    if name == ITEM_VOCABULARY:
        return items, vocabulary_shards(items, spec.items.catalogue_vocabulary.shards)
    if folder == "vocabularies":
        feature = next(f for f in found.features if f.stem == name)
        return feature.ids.value, feature.shards
    if folder == ITEM_COUNTS:
        return round(float(-np.expm1(-found.train_counts).sum())), shards
    if (folder, name) == (ITEM_TIMES, FIRST_INTERACTION):
        return round(float(-np.expm1(-found.counted_items).sum())), shards
    if folder == ITEM_TIMES:
        return items, spec.output.item_shards
    return (sum(found.rejects.values()) if folder == "rejects" else rows), shards


def _id_bytes(count: int) -> int:
    """Compressed bytes of a row group of random ids below `count`."""
    ids = np.random.default_rng(0).integers(0, max(2, count), ROW_GROUP)
    return int(pa.compress(ids.tobytes(), "zstd").size)
