"""What a refresh would find in its parent: known and new values, room under `max_size`, files that have changed."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import polars as pl
import pyarrow.parquet as pq

from heterrec_pipeline.checking.changes import features_of
from heterrec_pipeline.checking.seen_values import SeenValues
from heterrec_pipeline.files import storage
from heterrec_pipeline.job import ITEMS
from heterrec_pipeline.parent import KnownVocabulary, Parent
from heterrec_pipeline.reading.files import InputFile
from heterrec_pipeline.reading.fingerprints import unchanged_files
from heterrec_schemas.feature_spec import CategoricalFeature, FeatureSpec
from heterrec_schemas.generation import open_folder, read_manifest
from heterrec_schemas.hashing import hash_texts
from heterrec_schemas.tables import ACTIVE


@dataclass(frozen=True)
class VocabularyOutlook:
    """A vocabulary of a refresh.

    Attributes:
        name: `item`, a feature, or `user_<feature>`.
        rows: rows in the parent, retired and erased ones included.
        known: values of the rows that were read which the parent has; None if none was read.
        new: those that it lacks, also beyond `room`; if the whole table was read, those of at least `min_count` items
            (users).
        retired: active values of the parent that no row has; None unless the whole table was read.
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
            **_compared(parent, known, seen.get(name), least),
            room=None if limit is None else max(0, limit - known.rows),
        )


def _compared(
    parent: Parent, known: KnownVocabulary, seen: SeenValues | None, least: int
) -> dict[str, int | None]:
    """How many values the parent has, lacks and loses; one of its files is in memory at a time."""
    if seen is None:
        return {"known": None, "new": None, "retired": None}
    counts = seen.counts()
    values = counts["value"].implode()
    # A value that is rare in a part of a table need not be rare.
    frequent = counts.filter(pl.col("count") >= (least if seen.whole else 1))["value"]
    met = lost = old = 0
    for path in known.paths:
        with storage.open_arrow(parent.path(path)) as handle:
            rows = pl.DataFrame(pl.from_arrow(pq.read_table(handle, columns=["value", "status"])))
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
