"""Measurements of a refresh to `drift.json`."""

from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any

from heterrec_pipeline.checking.changes import features_of
from heterrec_pipeline.drift.compare import (
    Before,
    Measured,
    add_values,
    before_by_report,
    before_by_tables,
    feature_drift,
    make_report,
    row_drift,
)
from heterrec_pipeline.drift.gate import Verdict, findings
from heterrec_pipeline.drift.measure import PARENT, PRESENT
from heterrec_pipeline.drift.tally import tally_of, total
from heterrec_pipeline.features.fitted import Fitted
from heterrec_pipeline.files import storage
from heterrec_pipeline.files.parts import TableRef, load
from heterrec_pipeline.files.shards import write_text
from heterrec_pipeline.job import Job
from heterrec_pipeline.wiring.reports import report_file
from heterrec_schemas.drift import (
    DRIFT_NAME,
    DriftReport,
    FeatureDrift,
    Side,
    ValueDrift,
)
from heterrec_schemas.feature_spec import CategoricalFeature


def compare_feature(
    job: Job,
    element: tuple[str, Iterable[TableRef | ValueDrift | None]],
    item_fitted: Mapping[str, Fitted],
    user_fitted: Mapping[str, Fitted],
    counts: Mapping[str, int],
) -> Iterator[FeatureDrift]:
    """All measurements of a feature to its drift."""
    name, pieces = element
    parent, feature = job.parent, features_of(job.spec)[name]
    assert parent is not None
    tallies = {PARENT: list[TableRef](), PRESENT: list[TableRef]()}
    values = []
    for piece in pieces:
        if isinstance(piece, TableRef):
            tallies[piece.table].append(piece)
        elif piece is not None:
            values.append(piece)
    side: Side = "item" if name.startswith("item/") else "user"
    fitted = (item_fitted if side == "item" else user_fitted)[feature.name]
    size = feature.entry(side, fitted.size).vocabulary_size
    rows = table_rows(job, counts)["items" if side == "item" else "users"]
    yield feature_drift(
        side,
        Measured(feature, total(feature, (tally_of(load(t)) for t in tallies[PRESENT])), size),
        _before(job, name, tallies[PARENT]),
        add_values(values) if isinstance(feature, CategoricalFeature) else None,
        fresh=name in job.refit or name not in parent.features,
        limits=job.spec.drift,
        rows=rows,
    )


def _before(job: Job, name: str, tallies: list[TableRef]) -> Before | None:
    """A feature in the parent, by its `drift.json` or else by its tables."""
    parent = job.parent
    assert parent is not None
    if name not in parent.features:
        return None
    if parent.drift is not None:
        return before_by_report(parent_features(parent.path(DRIFT_NAME))[name])
    feature = features_of(parent.spec)[name]
    tokens = total(feature, (tally_of(load(t)) for t in tallies))
    return before_by_tables(Measured(feature, tokens, parent.features[name].vocabulary_size))


@lru_cache(maxsize=1)
def parent_features(path: str) -> dict[str, FeatureDrift]:
    """The features of a `drift.json` by `<side>/<feature>`."""
    report = DriftReport.model_validate_json(storage.read_bytes(path))
    return {f"{f.side}/{f.name}": f for f in report.features}


def table_rows(job: Job, counts: Mapping[str, int]) -> dict[str, tuple[int, int]]:
    """Rows of the parent and of the refresh, as `RowDrift` names them."""
    assert job.parent is not None
    present = {
        "items": counts.get("items.keys", 0),
        "users": counts.get("sequences.latest", 0),
        "interactions": counts.get("interactions.kept", 0),
    }
    before = job.parent.rows._asdict()
    return {name: (before[name], rows) for name, rows in present.items()}


def write_report(
    job: Job, _: Any, features: Iterable[FeatureDrift], counts: Mapping[str, int]
) -> Iterator[Any]:
    """Write `drift.json`; yields a `Verdict`."""
    assert job.parent is not None
    found = {f"{f.side}/{f.name}": f for f in features}
    report = make_report(
        job.parent.generation,
        [found[name] for name in features_of(job.spec)],
        row_drift(table_rows(job, counts)),
        job.spec.drift,
        allow=job.allow_drift,
    )
    yield report_file(write_text(job.root, DRIFT_NAME, report.to_json()))
    yield Verdict(report.status, tuple(findings(report, job.spec.drift, "fail")))
