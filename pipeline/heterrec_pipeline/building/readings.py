"""The rows of the input that a build reads, for its progress."""

from heterrec_pipeline.fitting.quantizers import passes
from heterrec_pipeline.job import INTERACTIONS, Job, TableJob


def expected_readings(job: Job) -> dict[str, tuple[int, int]]:
    """By table, its approximate number of rows (0 if unknown), and how often a build reads them."""
    rows = {name: estimate.count for name, estimate in job.sizes.rows.items()}
    expected = {
        t.name: (rows.get(t.name, 0), _readings(job.to_fit(t), rows.get(t.name, 0)))
        for t in job.tables
    }
    log = 2 if job.spec.denormalised else 1
    return expected | {INTERACTIONS: (rows.get(INTERACTIONS, 0), log)}


def _readings(table: TableJob, rows: int) -> int:
    """Readings for the keys, to fit the values of a table, reductions, and each pass of dimensions, and to encode."""
    fits = bool(table.value_features) + sum(
        len(list(passes(f, rows))) + (f.reduce is not None) for f in table.embeddings
    )
    return 2 + fits
