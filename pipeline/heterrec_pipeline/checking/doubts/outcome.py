"""What the counts of a generation say: unknown items, nothing to train on, nothing to measure a model by."""

from collections.abc import Iterator, Mapping, Sequence

import polars as pl
import pyarrow.parquet as pq

from heterrec_pipeline.checking.changes import call_name
from heterrec_pipeline.checking.doubts.keys import UNMET
from heterrec_pipeline.checking.evidence import Evidence
from heterrec_pipeline.checking.outlook import unmet
from heterrec_pipeline.files import storage
from heterrec_pipeline.job import Job
from heterrec_pipeline.reading.imported import ImportedVocabulary
from heterrec_schemas.feature_spec import FeatureSpec
from heterrec_schemas.manifest import SPLITS, Counts, Manifest, table_stem

NOTHING = "nothing to train on"
LACKING = "have an item that the item table lacks"


def outcome_doubts(job: Job, manifest: Manifest) -> Iterator[str]:
    """The warnings about a generation that are not about its sample already."""
    log = manifest.counts.interactions
    if log.unknown_item > UNMET * log.read and not any(LACKING in text for text in job.doubts):
        examples = f": {job.key_examples}" if job.key_examples else ""
        yield (
            f"interactions: {log.unknown_item / log.read:.1%} of the {log.read:,} rows {LACKING}{examples}"
        )
    yield from training_doubts(job.spec, manifest.counts, job.doubts)
    yield from vocabulary_doubts(job.imported, job.root, manifest)


def vocabulary_doubts(
    imported: Mapping[str, ImportedVocabulary], root: str, manifest: Manifest
) -> Iterator[str]:
    """The warnings about vocabularies of other systems without a value of the data.

    Args:
        imported: the vocabularies by `item/<feature>` or `user/<feature>`.
        root: the folder of the generation.
        manifest: its manifest.
    """
    for name, vocabulary in imported.items():
        stem = call_name(name)
        files = [f.path for f in manifest.files if table_stem(f.path) == f"vocabularies/{stem}"]
        if files and not any(_occurs(storage.join(root, path), vocabulary) for path in files):
            yield unmet(stem, vocabulary.rows)


def _occurs(path: str, vocabulary: ImportedVocabulary) -> bool:
    """Whether the data have a value of a vocabulary of another system, by one of the generation's files."""
    with storage.open_arrow(path) as handle:
        rows = pl.DataFrame(pl.from_arrow(pq.read_table(handle, columns=["id", "count"])))
    return ((rows["id"] < vocabulary.size) & (rows["count"] > 0)).any()


def sampled_training_doubts(evidence: Evidence) -> Iterator[str]:
    """The warning about a log, of which all rows are known, without a user who has two interactions."""
    frame = pl.DataFrame({name: evidence.text(name) for name in ("user", "item", "time")}).unique()
    users = frame["user"].n_unique()
    if len(frame) and users == len(frame):
        yield (
            f"interactions: none of the {users:,} users has two interactions, so there is {NOTHING}. Is "
            "interactions.user the column of users?"
        )


def training_doubts(spec: FeatureSpec, counts: Counts, warned: Sequence[str] = ()) -> Iterator[str]:
    """The warnings about the sequences of a generation, unless `warned`, the warnings of a sample, has one."""
    rows = counts.sequences
    if counts.interactions.kept == 0 or any(NOTHING in text for text in warned):
        return
    listed = ", ".join(f"{split} {rows[split]:,}" for split in SPLITS)
    empty = [split for split in ("validation", "test") if rows[split] == 0]
    if rows["train"] == 0:
        why = _why(spec, "Users need two interactions before their targets.")
        yield f"there is {NOTHING}; sequences: {listed}. {why}"
    elif empty:
        why = _why(spec, "Users need three interactions.")
        yield f"there is nothing in {' and '.join(empty)} to evaluate a model by; sequences: {listed}. {why}"


def _why(spec: FeatureSpec, of_users: str) -> str:
    if spec.split.method == "temporal":
        return (
            f"split.validation_at is {spec.split.validation_at} and split.test_at {spec.split.test_at}; "
            "are the times in the right unit?"
        )
    return of_users
