"""What a refresh would find in its parent: known and new values, room under `max_size`, files that have changed."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import polars as pl
import pyarrow.parquet as pq

from heterrec_pipeline.checking.changes import features_of
from heterrec_pipeline.files import storage
from heterrec_pipeline.job import ITEMS
from heterrec_pipeline.parent import KnownVocabulary, Parent
from heterrec_pipeline.reading.files import InputFile
from heterrec_schemas.feature_spec import CategoricalFeature, FeatureSpec
from heterrec_schemas.generation import Generation
from heterrec_schemas.manifest import Manifest
from heterrec_schemas.tables import ACTIVE


@dataclass(frozen=True)
class VocabularyOutlook:
    """A vocabulary of a refresh.

    Attributes:
        name: `item`, a feature, or `user_<feature>`.
        rows: rows in the parent, retired and erased ones included.
        room: number of values that `max_size` still admits; None without a limit.
        known: values of the part of the input that was read which the parent has; None if none was read.
        new: those that it lacks and that occur often enough there; None if none was read.
        retired: active values of the parent that the input lacks; None unless all of it was read.
    """

    name: str
    rows: int
    room: int | None
    known: int | None = None
    new: int | None = None
    retired: int | None = None


@dataclass(frozen=True)
class BaseOutlook:
    """What a refresh would find.

    Attributes:
        generation: the parent.
        vocabularies: its vocabularies that the spec still names.
        changed_files: names of input files that the parent has not read, or in another size.
        changed_bytes: their bytes.
        files: number of all input files.
    """

    generation: str
    vocabularies: list[VocabularyOutlook]
    changed_files: list[str]
    changed_bytes: int
    files: int

    def as_json(self) -> dict[str, Any]:
        """The outlook for scripts."""
        return asdict(self)


def outlook(
    parent: Parent,
    manifest: Manifest,
    spec: FeatureSpec,
    files: Sequence[InputFile],
    sampled: Generation | None = None,
    *,
    whole: bool = False,
) -> BaseOutlook:
    """Compare the input of a refresh with its parent.

    Args:
        parent: the parent.
        manifest: its manifest.
        spec: the spec of the refresh.
        files: its input files.
        sampled: a build of a part of the input; None if nothing was built.
        whole: whether that is a build of the whole input.
    """
    read = {(entry.path, entry.bytes) for entry in manifest.inputs}
    changed = [f for f in files if (f.name, f.bytes) not in read]
    return BaseOutlook(
        generation=parent.generation,
        vocabularies=list(_vocabularies(parent, spec, sampled, whole=whole)),
        changed_files=[f.name for f in changed],
        changed_bytes=sum(f.bytes for f in changed),
        files=len(files),
    )


def _vocabularies(
    parent: Parent, spec: FeatureSpec, sampled: Generation | None, *, whole: bool
) -> Iterator[VocabularyOutlook]:
    features: Mapping[str, Any] = features_of(spec)
    for name, known in parent.vocabularies.items():
        feature = features.get(name)
        if name != ITEMS and not isinstance(feature, CategoricalFeature):
            continue
        limit = feature.max_size if isinstance(feature, CategoricalFeature) else None
        room = None if limit is None else max(0, limit - known.rows)
        counts = {} if sampled is None else _compared(parent, known, sampled, whole=whole)
        yield VocabularyOutlook(known.stem, known.rows, room, **counts)


def _compared(
    parent: Parent, known: KnownVocabulary, sampled: Generation, *, whole: bool
) -> dict[str, int | None]:
    """How many values of a build the parent has and lacks; one of its files is in memory at a time."""
    values = pl.Series(sampled.vocabulary(known.stem)["value"]).cast(pl.String)
    met = active = active_met = 0
    for path in known.paths:
        with storage.open_arrow(parent.path(path)) as handle:
            rows = pl.DataFrame(pl.from_arrow(pq.read_table(handle, columns=["value", "status"])))
        seen = rows["value"].cast(pl.String).is_in(values.implode()).fill_null(False)
        is_active = rows["status"] == ACTIVE
        met += int(seen.sum())
        active += int(is_active.sum())
        active_met += int((seen & is_active).sum())
    return {
        "known": met,
        "new": len(values) - met,
        "retired": active - active_met if whole else None,
    }
