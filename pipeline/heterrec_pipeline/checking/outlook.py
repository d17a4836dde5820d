"""What a build would find in vocabularies that exist, and a refresh in its parent: known and new values, changed files."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import polars as pl
import pyarrow.parquet as pq

from heterrec_pipeline.checking.changes import call_name, features_of
from heterrec_pipeline.checking.seen_values import SeenValues
from heterrec_pipeline.files import storage
from heterrec_pipeline.job import ITEMS
from heterrec_pipeline.parent import KnownVocabulary, Parent
from heterrec_pipeline.reading.files import InputFile
from heterrec_pipeline.reading.fingerprints import unchanged_files
from heterrec_pipeline.reading.imported import ImportedVocabulary, imported_rows
from heterrec_schemas.feature_spec import CategoricalFeature, FeatureSpec
from heterrec_schemas.generation import open_folder, read_manifest
from heterrec_schemas.hashing import hash_texts
from heterrec_schemas.tables import ACTIVE


@dataclass(frozen=True)
class VocabularyOutlook:
    """A vocabulary of the parent, or of another system, against the input.

    Attributes:
        name: `item`, a feature, or `user_<feature>`.
        rows: its rows, retired and erased ones included.
        known: values of the rows that were read which it has; None if none was read.
        new: those that it lacks, also beyond `room`; if the whole table was read, those of at least `min_count` items
            (users).
        retired: its active values that no row has; None unless the whole table was read.
        room: number of values that `max_size` still admits; None without a limit.
    """

    name: str
    rows: int
    known: int | None
    new: int | None
    retired: int | None
    room: int | None


@dataclass(frozen=True)
class BaseOutlook:
    """What a refresh would find.

    Attributes:
        generation: the parent.
        vocabularies: its vocabularies that the spec still names.
        changed_files: names of input files that the parent has not read, or with another content.
        changed_bytes: their bytes.
        files: number of all input files.
    """

    generation: str
    vocabularies: list[VocabularyOutlook]
    changed_files: list[str]
    changed_bytes: int
    files: int

    @property
    def complete(self) -> bool:
        """Whether all retired values were found."""
        return all(v.retired is not None for v in self.vocabularies)

    def as_json(self) -> dict[str, Any]:
        """The outlook for scripts."""
        return asdict(self)


def outlook(
    parent: Parent,
    spec: FeatureSpec,
    files: Sequence[InputFile],
    seen: Mapping[str, SeenValues],
) -> BaseOutlook:
    """Compare the input of a refresh with its parent.

    Reads the parent's vocabularies, and local input files whose name and size are as the parent has them, for their hashes.

    Args:
        parent: the parent.
        spec: the spec of the refresh.
        files: its input files.
        seen: the values of the input, or of a sample of it, by vocabulary.
    """
    inputs = read_manifest(open_folder(parent.root)).inputs
    same = unchanged_files(files, inputs)
    changed = [f for f in files if f.path not in same]
    return BaseOutlook(
        generation=parent.generation,
        vocabularies=list(_vocabularies(parent, spec, seen)),
        changed_files=[f.name for f in changed],
        changed_bytes=sum(f.bytes for f in changed),
        files=len(files),
    )


def _vocabularies(
    parent: Parent, spec: FeatureSpec, seen: Mapping[str, SeenValues]
) -> Iterator[VocabularyOutlook]:
    features: Mapping[str, Any] = features_of(spec)
    for name, known in parent.vocabularies.items():
        feature = features.get(name)
        if name == ITEMS:
            least, limit = 1, None
        elif isinstance(feature, CategoricalFeature):
            least, limit = feature.min_count, feature.max_size
        else:
            continue
        yield VocabularyOutlook(
            name=known.stem,
            rows=known.rows,
            **_compared(_inherited(parent, known), seen.get(name), least),
            room=None if limit is None else max(0, limit - known.rows),
        )


def imported_outlook(
    spec: FeatureSpec,
    imported: Mapping[str, ImportedVocabulary],
    seen: Mapping[str, SeenValues],
) -> Iterator[VocabularyOutlook]:
    """Compare the input with vocabularies of other systems.

    Args:
        spec: the spec.
        imported: the vocabularies by `item/<feature>` or `user/<feature>`.
        seen: the values of the input, or of a sample of it, by vocabulary.
    """
    features: Mapping[str, Any] = features_of(spec)
    for name, vocabulary in imported.items():
        least, limit = features[name].min_count, features[name].max_size
        rows = imported_rows(vocabulary).with_columns(status=pl.lit(ACTIVE))
        yield VocabularyOutlook(
            name=call_name(name),
            rows=vocabulary.rows,
            **_compared([rows], seen.get(name), least),
            room=None if limit is None else max(0, limit - vocabulary.rows),
        )


def _inherited(parent: Parent, known: KnownVocabulary) -> Iterator[pl.DataFrame]:
    """The rows of a vocabulary of the parent, one of its files at a time."""
    for path in known.paths:
        with storage.open_arrow(parent.path(path)) as handle:
            yield pl.DataFrame(pl.from_arrow(pq.read_table(handle, columns=["value", "status"])))


def _compared(
    vocabulary: Iterable[pl.DataFrame], seen: SeenValues | None, least: int
) -> dict[str, int | None]:
    """How many values a vocabulary, rows of value and status, has, lacks and loses."""
    if seen is None:
        return {"known": None, "new": None, "retired": None}
    counts = seen.counts()
    values = counts["value"].implode()
    # A value that is rare in a part of a table need not be rare.
    frequent = counts.filter(pl.col("count") >= (least if seen.whole else 1))["value"]
    met = lost = old = 0
    for rows in vocabulary:
        hashes = hash_texts(rows["value"].cast(pl.String))
        found = hashes.is_in(values).fill_null(False)
        met += int(found.sum())
        lost += int((~found & (rows["status"] == ACTIVE)).sum())
        old += int(frequent.is_in(hashes.implode()).sum())
    return {
        "known": met,
        "new": len(frequent) - old,
        "retired": lost if seen.whole else None,
    }


def unmet_vocabularies(imported: Iterable[VocabularyOutlook]) -> Iterator[str]:
    """The warnings about vocabularies of other systems that have none of the values that were read."""
    for vocabulary in imported:
        if vocabulary.known == 0 and vocabulary.new:
            yield unmet(vocabulary.name, vocabulary.rows)


def unmet(name: str, rows: int) -> str:
    """The warning about a vocabulary of another system without a value of the data."""
    return (
        f"feature {name!r}: none of the {rows:,} values of its vocabulary file occurs in the rows that were read. Is it the "
        "file of another column, or are its values spelt otherwise?"
    )
