"""Reads a sample of every table as a build does, and counts the rows that a build would reject."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
import polars as pl
import pyarrow as pa

from heterrec_pipeline.checking.check import Checked
from heterrec_pipeline.features import categorical, embedding, numeric
from heterrec_pipeline.features.cells import BadCell, cell_text
from heterrec_pipeline.interactions.read import log_columns, parse_rows
from heterrec_pipeline.interactions.times import AVAILABLE_FROM, optional_times
from heterrec_pipeline.job import INTERACTIONS, TableJob
from heterrec_pipeline.keys.read import key_text
from heterrec_pipeline.reading.batches import ReadBatch
from heterrec_pipeline.reading.files import InputFile, split_file
from heterrec_pipeline.reading.read import (
    ROW,
    bad_text_cells,
    file_of,
    located,
    one_chunk,
    read_split,
    short_rows,
)
from heterrec_pipeline.wiring.reports import RejectedCell
from heterrec_schemas.errors import HeterrecError
from heterrec_schemas.feature_spec import CategoricalFeature, Feature, FeatureSpec, NumericFeature
from heterrec_schemas.rejects import Reason

SAMPLE_ROWS = 20_000
"""Maximum number of rows sampled per table."""


@dataclass
class Sample:
    """A sample of a table.

    Attributes:
        table: the table's name.
        files, bytes: number of files of the table, and their size.
        rows: number of rows sampled.
        rejected: number of them that a build would reject, wholly or in a cell.
        reasons: number of rejects by reason.
        examples: text of the first reject by reason.
        missing: share of missing values by feature.
    """

    table: str
    files: int
    bytes: int
    rows: int = 0
    rejected: int = 0
    reasons: Counter[Reason] = field(default_factory=Counter)
    examples: dict[Reason, str] = field(default_factory=dict)
    missing: dict[str, float] = field(default_factory=dict)

    def add(self, file: str, rows: int, bad: list[RejectedCell]) -> None:
        """Count a batch."""
        self.rows += rows
        self.rejected += len({b[0] for b in bad})
        for row, column, reason, value in bad:
            self.reasons[reason] += 1
            where = f"{file} row {row}" + (f", column {column!r}" if column else "")
            self.examples.setdefault(reason, f"{where}: got {value!r}")


def sample_tables(
    spec: FeatureSpec, checked: Checked, problems: list[HeterrecError]
) -> list[Sample]:
    """Sample every table; errors of tables that cannot be read are added to `problems`."""
    samples = []
    tables = [t for t in (checked.items, *checked.joins, checked.users) if t is not None]
    for table in tables:
        # Items of a denormalised log are sampled from the log.
        files = table.files or checked.log
        sample = Sample(table.name, len(files), sum(f.bytes for f in files))
        try:
            _sample_features(table, files, sample)
        except HeterrecError as error:
            problems.append(error)
        samples.append(sample)
    log = Sample(INTERACTIONS, len(checked.log), sum(f.bytes for f in checked.log))
    try:
        for rows, malformed in _batches(checked.log, log_columns(spec)):
            _, odd, _ = parse_rows(spec, rows)
            log.add(
                file_of(rows), len(rows) + len(malformed), malformed + _malformed_first(odd, rows)
            )
    except HeterrecError as error:
        problems.append(error)
    return [*samples, log]


def _batches(
    files: tuple[InputFile, ...], columns: list[str]
) -> Iterator[tuple[pa.Table, list[RejectedCell]]]:
    seen = 0
    for file in files:
        for split in islice(split_file(file), 1):
            for whole in read_split(split, columns):
                batch = _head(whole, SAMPLE_ROWS - seen)
                seen += len(batch.rows)
                yield located(batch, split), [(b.row, "", b.reason, b.text) for b in batch.bad]
                if seen >= SAMPLE_ROWS:
                    return


def _head(batch: ReadBatch, count: int) -> ReadBatch:
    """The first rows of a batch, and the bad and short ones among them."""
    if len(batch.rows) <= count:
        return batch
    last = np.sort(batch.rows)[count - 1]
    keep = batch.rows <= last
    bad, short = ([b for b in rows if b.row <= last] for rows in (batch.bad, batch.short))
    table = batch.table.filter(pa.array(keep))
    return batch._replace(table=table, rows=batch.rows[keep], bad=bad, short=short)


def _malformed_first(bad: list[RejectedCell], rows: pa.Table) -> list[RejectedCell]:
    """The bad rows as a build lists them: a row with too few fields is listed once, as malformed."""
    short = short_rows(rows)
    listed = [(row, "", Reason.MALFORMED_ROW, text) for row, text in short.items()]
    return [*listed, *(b for b in bad if b[0] not in short)]


def _sample_features(table: TableJob, files: tuple[InputFile, ...], sample: Sample) -> None:
    missing: Counter[str] = Counter()
    kept = 0
    for rows, malformed in _batches(files, table.columns):
        name = file_of(rows)
        keyless: list[RejectedCell] = []
        text, _ = key_text(one_chunk(rows, table.key), table.key, name)
        numbers = rows[ROW].to_numpy()
        bad_text = bad_text_cells(rows, table.columns)
        spoiled = {row for row, column, _, _ in bad_text if column == table.key}
        for k in text.is_null().arg_true().to_list():
            raw = cell_text(rows[table.key][k].as_py())
            if numbers[k] not in spoiled:
                keyless.append((int(numbers[k]), table.key, Reason.MISSING_KEY, raw))
        bad = malformed + _malformed_first(keyless, rows) + bad_text
        for feature in table.features:
            valued, cells = present(feature, one_chunk(rows, feature.column))
            missing[feature.name] += len(rows) - valued
            bad += [(int(numbers[c.position]), feature.column, c.reason, c.value) for c in cells]
        if table.available_from is not None:
            column = table.available_from.column
            _, cells = optional_times(one_chunk(rows, column), table.available_from, AVAILABLE_FROM)
            bad += [(int(numbers[c.position]), column, c.reason, c.value) for c in cells]
        kept += len(rows)
        sample.add(name, len(rows) + len(malformed), bad)
    sample.missing = {f.name: missing[f.name] / kept if kept else 0.0 for f in table.features}


def present(feature: Feature, column: pa.Array) -> tuple[int, list[BadCell]]:
    """The number of raw cells with a value of a feature, and the unusable cells."""
    if isinstance(feature, CategoricalFeature):
        cells, _ = categorical.texts(feature, column)
        return cells["row"].n_unique(), []
    if isinstance(feature, NumericFeature):
        values, bad = numeric.numbers(feature, column)
        return int((~pl.Series(values).is_nan()).sum()), bad
    positions, _, bad = embedding.vectors(feature, column)
    return len(positions), bad
