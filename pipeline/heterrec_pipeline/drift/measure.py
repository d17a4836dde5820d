"""The files of a build, and of the parent of a refresh, to tallies and changes of vocabularies, a file at a time."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from heterrec_pipeline.checking.changes import call_name, features_of
from heterrec_pipeline.drift.compare import value_drift
from heterrec_pipeline.drift.tally import tally
from heterrec_pipeline.files import storage
from heterrec_pipeline.files.parts import TableRef, write_parts
from heterrec_pipeline.files.shards import Written, table_of
from heterrec_pipeline.job import Job
from heterrec_schemas.feature_spec import CategoricalFeature, Feature, FeatureSpec

PARENT, PRESENT, VALUES = "parent", "present", "values"
BATCH_ROWS = 65_536
"""Number of rows whose tokens are counted at a time."""
_TABLES = {"items": "item", "sequences/latest": "user"}
"""The tables whose rows are counted, and the side whose tokens they have."""


class Task(NamedTuple):
    """A file to measure.

    Attributes:
        kind: PARENT or PRESENT to count the tokens of that generation, VALUES to compare a vocabulary file.
        of: whose tokens to count, item or user; or whose vocabulary to compare, `<side>/<feature>`.
        path: the file, under its present name.
        before: the parent's file of the same vocabulary shard; None if the parent has none.
    """

    kind: str
    of: str
    path: str
    before: str | None = None


def parent_tasks(job: Job) -> list[Task]:
    """The files of the parent whose tokens are counted: none if its `drift.json` has the counts."""
    parent = job.parent
    if parent is None or parent.drift is not None:
        return []
    paths = (*(p for p in parent.tokens if table_of(p) in _TABLES), *parent.latest)
    tasks = [Task(PARENT, _TABLES[table_of(p)], parent.path(p)) for p in paths]
    return [task for task in tasks if _columns(parent.spec, task.of)]


def task_of(job: Job, file: Written) -> Iterator[Task]:
    """The task of a file that this build has written, if it is measured."""
    parent, table = job.parent, table_of(file.path)
    if table in _TABLES and _columns(job.spec, _TABLES[table]):
        yield Task(PRESENT, _TABLES[table], file.temporary)
    elif parent is not None and table == "vocabularies":
        stem = file.path.removeprefix("vocabularies/").split("-")[0]
        for name, feature in features_of(job.spec).items():
            if isinstance(feature, CategoricalFeature) and call_name(name) == stem:
                known = name in parent.features
                yield Task(VALUES, name, file.temporary, parent.path(file.path) if known else None)


def _columns(spec: FeatureSpec, side: str) -> dict[str, Feature]:
    return {n: f for n, f in features_of(spec).items() if n.startswith(f"{side}/")}


def measure(job: Job, task: Task) -> Iterator[tuple[str, Any]]:
    """A file to (feature, stored tally) of each of its features, or to (feature, `ValueDrift`)."""
    if task.kind == VALUES:
        before = None if task.before is None else _statuses(task.before)
        yield task.of, value_drift(_statuses(task.path), before)
        return
    present = features_of(job.spec)
    spec = job.parent.spec if job.parent and task.kind == PARENT else job.spec
    # Features that the refresh does not have are of no interest.
    features = {n: f for n, f in _columns(spec, task.of).items() if n in present}
    if not features:
        return
    with storage.open_arrow(task.path) as handle, pq.ParquetFile(handle) as shard:
        tallies = [
            tally(feature, _chunks(shard, call_name(name))).to_table()
            for name, feature in features.items()
        ]
    path = write_parts(job.parts, "tally", tallies)
    for batch, name in enumerate(features):
        yield name, TableRef(0, task.kind, path, batch)


def _chunks(shard: pq.ParquetFile, column: str) -> Iterator[pa.Array]:
    """A column, some rows at a time."""
    for batch in shard.iter_batches(BATCH_ROWS, columns=[column], use_threads=False):
        yield batch.column(0)


def _statuses(path: str) -> pa.Table:
    with storage.open_arrow(path) as handle:
        return pq.read_table(handle, columns=["id", "status"])
