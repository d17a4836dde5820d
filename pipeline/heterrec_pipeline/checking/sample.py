"""Reads a sample of every table as a build does, and counts the rows that a build would reject."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import polars as pl
import pyarrow as pa

from heterrec_pipeline.checking.evidence import NULL_WORDS, Evidence
from heterrec_pipeline.features import categorical, embedding, numeric
from heterrec_pipeline.features.cells import BadCell, cell_text
from heterrec_pipeline.files.rejects import (
    FULL,
    SAMPLES,
    RejectedCell,
    RejectValues,
    reject_in_words,
)
from heterrec_pipeline.interactions.read import log_columns, parse_rows
from heterrec_pipeline.interactions.times import AVAILABLE_FROM, optional_times
from heterrec_pipeline.job import INTERACTIONS, ErasingFeature, Erasures, TableJob, log_gate
from heterrec_pipeline.reading.batches import ReadBatch, one_chunk
from heterrec_pipeline.reading.erased import Gate, Met, read_live
from heterrec_pipeline.reading.files import InputFile, split_file
from heterrec_pipeline.reading.read import ROW, bad_text_cells, file_of, located, short_rows
from heterrec_schemas.errors import HeterrecError
from heterrec_schemas.feature_spec import (
    CategoricalFeature,
    Feature,
    FeatureSpec,
    Limits,
    NumericFeature,
)
from heterrec_schemas.rejects import Reason
from heterrec_schemas.user_ids import UserKey

SAMPLE_ROWS = 20_000
"""Number of rows sampled per table, at least and usually at most."""
LEFT_OUT_ROWS = 2_000_000
"""Maximum number of erased and filtered rows that are read of a table in search of other ones."""
KEY_ROWS = 2_000_000
"""Maximum number of rows of a feature table whose keys are compared with those of the log."""


class Tables(Protocol):
    """The tables of a build, as the checks and the job have them."""

    @property
    def items(self) -> TableJob:
        """The item table."""

    @property
    def joins(self) -> tuple[TableJob, ...]:
        """The tables joined to the items."""

    @property
    def users(self) -> TableJob | None:
        """The user table, if declared."""

    @property
    def log(self) -> tuple[InputFile, ...]:
        """The files of the log."""

    @property
    def erasures(self) -> Erasures:
        """The lists of what is erased."""

    @property
    def user_key(self) -> UserKey | None:
        """The key of the hashes of user ids, if they are hashed."""


@dataclass
class Sample:
    """A sample of a table.

    Attributes:
        table: the table's name.
        files, bytes: number of files of the table, and their size.
        rows: number of rows sampled, without erased ones.
        erased: number of erased rows that were read with them, and count for nothing else.
        filtered: number of rows that the spec leaves out, likewise.
        whole: whether these are all rows of the table.
        limits: the limits of rejects.
        told: what is told of rejected cells.
        rejected: number of them that a build would reject, wholly or in a cell.
        counted: the same by the limit that the rejects count against; a row may count against several.
        unusable: number of them that a build rejects whatever the other rows are: malformed ones, those without a key, and
            in the log those that fail a check. By the limit that they count against.
        bad_keys: keys with a bad cell, by limit. At least one row of each is rejected: the one that is kept, or the others as
            duplicates.
        reasons: number of rejects by reason.
        examples: texts of the first rejects by reason.
        values: the value of the first of them.
        columns: its column; empty for a whole row.
        null_words: number of keys by text, of those that usually mean a missing value.
        missing: share of missing values by feature.
        met: the keys and values that are erased of these rows.
        evidence: what the first `SAMPLE_ROWS` rows hold.
    """

    table: str
    files: int
    bytes: int
    limits: Limits = field(default_factory=Limits)
    told: RejectValues = FULL
    rows: int = 0
    erased: int = 0
    filtered: int = 0
    whole: bool = False
    rejected: int = 0
    counted: Counter[str] = field(default_factory=Counter)
    unusable: Counter[str] = field(default_factory=Counter)
    bad_keys: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    reasons: Counter[Reason] = field(default_factory=Counter)
    examples: dict[Reason, list[str]] = field(default_factory=dict)
    values: dict[Reason, str | None] = field(default_factory=dict)
    columns: dict[Reason, str] = field(default_factory=dict)
    null_words: Counter[str] = field(default_factory=Counter)
    missing: dict[str, float] = field(default_factory=dict)
    met: Met = field(default_factory=dict)
    evidence: Evidence = field(default_factory=lambda: Evidence(SAMPLE_ROWS))

    def certain(self, limit: str) -> int:
        """Minimum number of the table's rows with a reject that counts against a limit."""
        return self.unusable[limit] + len(self.bad_keys[limit])

    def dominant(self, limit: str) -> tuple[Reason, int]:
        """The most frequent reason among the rejects that count against a limit, and their number."""
        counted = {r: n for r, n in self.reasons.items() if self.limits.limit_of(r) == limit}
        return min(counted.items(), key=lambda found: (-found[1], found[0]))

    def rows_by_limit(self, bad: Iterable[RejectedCell]) -> Counter[str]:
        """Number of rows among some rejects by the limit that these count against."""
        return Counter(n for _, n in {(row, self.limits.limit_of(why)) for row, _, why, _ in bad})

    def count_left_out(self, batch: ReadBatch) -> None:
        """Count the rows that were left out of a batch."""
        self.erased += batch.erased
        self.filtered += batch.filtered

    def add(self, file: str, rows: int, bad: list[RejectedCell]) -> None:
        """Count a batch."""
        self.rows += rows
        self.rejected += len({b[0] for b in bad})
        self.counted += self.rows_by_limit(bad)
        for row, column, reason, value in self.told.told(bad):
            self.reasons[reason] += 1
            self.values.setdefault(reason, value)
            self.columns.setdefault(reason, column)
            examples = self.examples.setdefault(reason, [])
            if len(examples) < SAMPLES:
                words = reject_in_words(file, row, column, value, told=self.told.values != "none")
                examples.append(words)

    def add_keys(self, keys: pl.Series) -> None:
        """Count the keys of a batch that look like missing values."""
        found = keys.filter(keys.str.to_lowercase().is_in(NULL_WORDS))
        self.null_words.update(found.to_list())


Undecided = Callable[[Sample], bool]


def enough(sample: Sample) -> bool:
    """The `Undecided` that never asks for more than `SAMPLE_ROWS`."""
    return False


def sample_tables(
    spec: FeatureSpec,
    tables: Tables,
    problems: list[HeterrecError],
    undecided: Undecided = enough,
) -> list[Sample]:
    """Sample every table: its first `SAMPLE_ROWS` rows, and further ones as long as `undecided` asks for them.

    Args:
        spec: the spec.
        tables: the tables.
        problems: takes the errors of tables that cannot be read.
        undecided: called with a sample of at least `SAMPLE_ROWS` rows.
    """
    samples = []
    gate = log_gate(spec, tables.erasures, tables.items, tables.user_key)
    told = RejectValues(spec.rejects.values, tables.user_key)
    for table in (tables.items, *tables.joins, tables.users):
        if table is None or not (table.files or table.features):
            continue
        # Items of a denormalised log are sampled from the log.
        files = table.files or tables.log
        sample = Sample(table.name, len(files), sum(f.bytes for f in files), spec.limits, told)
        try:
            _sample_features(table, files, table.gate if table.files else gate, sample, undecided)
        except HeterrecError as error:
            problems.append(error)
        samples.append(sample)
    size = sum(f.bytes for f in tables.log)
    log = Sample(INTERACTIONS, len(tables.log), size, spec.limits, told)
    try:
        for rows, malformed in sampled_batches(tables.log, log_columns(spec), gate, log, undecided):
            frame, odd, _ = parse_rows(spec, rows)
            for keys in ("user", "item", "event"):
                if keys in frame.columns:
                    log.add_keys(frame[keys])
            parsed = {name: frame[name] for name in ("user", "item", "time")}
            log.evidence.add(rows, [spec.interactions.timestamp.column], **parsed)
            bad = malformed + _malformed_first(odd, rows)
            log.unusable += log.rows_by_limit(bad)
            log.add(file_of(rows), len(rows) + len(malformed), bad)
    except HeterrecError as error:
        problems.append(error)
    return [*samples, log]


def all_keys(table: TableJob) -> tuple[pl.Series, bool]:
    """The texts of the keys in the first `KEY_ROWS` rows of a feature table, and whether these are all rows."""
    sample, found = Sample(table.name, 0, 0), [pl.Series([], dtype=pl.String)]
    for rows, _ in sampled_batches(
        table.files, [table.key], table.gate, sample, lambda s: s.rows < KEY_ROWS
    ):
        sample.rows += len(rows)
        found.append(table.key_text(one_chunk(rows, table.key), file_of(rows))[0])
    return pl.concat(found), sample.whole


def sampled_batches(
    files: tuple[InputFile, ...],
    columns: list[str],
    gate: Gate,
    sample: Sample,
    undecided: Undecided,
) -> Iterator[tuple[pa.Table, list[RejectedCell]]]:
    """Located tables and malformed rows; the caller adds them to the sample before it asks for more.

    Args:
        files: the files of the table.
        columns: the columns to read.
        gate: what is erased.
        sample: takes the number and the keys of erased rows, and whether these were all rows.
        undecided: as in `sample_tables`.
    """
    seen = 0
    for file in files:
        for split in split_file(file):
            for rest in read_live(split, columns, gate, sample.met):
                if not (rest.rows.size or rest.bad):
                    sample.count_left_out(rest)
                    if sample.erased + sample.filtered > LEFT_OUT_ROWS:
                        return
                while rest.rows.size or rest.bad:
                    if seen >= SAMPLE_ROWS and not undecided(sample):
                        return
                    batch, rest = _cut(rest, SAMPLE_ROWS - seen if seen < SAMPLE_ROWS else None)
                    sample.count_left_out(batch)
                    seen += len(batch.rows)
                    yield (
                        located(batch, split),
                        [(b.row, b.column, b.reason, b.text) for b in batch.bad],
                    )
                if sample.erased + sample.filtered > LEFT_OUT_ROWS:
                    return
    sample.whole = True


def _cut(batch: ReadBatch, count: int | None) -> tuple[ReadBatch, ReadBatch]:
    """The first rows of a batch with the bad and short ones among them, and the rest; all rows if `count` is None."""
    if count is None or len(batch.rows) <= count:
        nothing = batch._replace(
            table=batch.table.slice(0, 0),
            rows=batch.rows[:0],
            bad=[],
            short=[],
            erased=0,
            filtered=0,
        )
        return batch, nothing
    last = np.sort(batch.rows)[count - 1]
    # Where in the batch the rows were that are left out, is not known.
    erased, filtered = (n * count // len(batch.rows) for n in (batch.erased, batch.filtered))
    first = _part(batch, lambda rows: rows <= last)._replace(erased=erased, filtered=filtered)
    rest = _part(batch, lambda rows: rows > last)
    return first, rest._replace(erased=batch.erased - erased, filtered=batch.filtered - filtered)


def _part(batch: ReadBatch, among: Callable[[Any], Any]) -> ReadBatch:
    """The rows of a batch whose numbers are among some."""
    keep = among(batch.rows)
    bad, short = ([b for b in rows if among(b.row)] for rows in (batch.bad, batch.short))
    table = batch.table.filter(pa.array(keep))
    return batch._replace(table=table, rows=batch.rows[keep], bad=bad, short=short)


def _malformed_first(bad: list[RejectedCell], rows: pa.Table) -> list[RejectedCell]:
    """The bad rows as a build lists them: a row with too few fields is listed once, as malformed."""
    short = short_rows(rows)
    listed = [(row, "", Reason.MALFORMED_ROW, text) for row, text in short.items()]
    return [*listed, *(b for b in bad if b[0] not in short)]


def _sample_features(
    table: TableJob,
    files: tuple[InputFile, ...],
    gate: Gate,
    sample: Sample,
    undecided: Undecided,
) -> None:
    missing: Counter[str] = Counter()
    kept = 0
    short_keys: set[str] = set()
    # Rows made from the log lack those that are erased of the log.
    for rows, malformed in sampled_batches(files, table.columns, gate, sample, undecided):
        name = file_of(rows)
        keyless: list[RejectedCell] = []
        text, _ = table.key_text(one_chunk(rows, table.key), name)
        if table.files:
            sample.add_keys(text)
        categories = [f.column for f in table.features if isinstance(f, CategoricalFeature)]
        sample.evidence.add(rows, categories, key=text)
        numbers = rows[ROW].to_numpy()
        bad_text = bad_text_cells(rows, table.columns)
        spoiled = {row for row, column, _, _ in bad_text if column == table.key}
        for k in text.is_null().arg_true().to_list():
            raw = cell_text(rows[table.key][k].as_py())
            if numbers[k] not in spoiled:
                keyless.append((int(numbers[k]), table.key, Reason.MISSING_KEY, raw))
        unusable = malformed + _malformed_first(keyless, rows)
        unusable += [b for b in bad_text if b[1] == table.key]
        if table.files:  # else they are rows of the log, which has a sample of its own
            sample.unusable += sample.rows_by_limit(unusable)
        bad = list(unusable)
        if short := list(short_rows(rows)):
            short_keys.update(text.filter(np.isin(numbers, short)).drop_nulls())
        bad += [b for b in bad_text if b[1] != table.key]
        for feature in table.features:
            values = one_chunk(rows, feature.column)
            valued, cells = present(feature, values)
            if isinstance(feature, ErasingFeature):
                gone = categorical.erased_texts(feature, values)
                sample.met.setdefault(feature.erased.name, set()).update(gone)
            missing[feature.name] += len(rows) - valued
            bad += [(int(numbers[c.position]), feature.column, c.reason, c.value) for c in cells]
            if table.files and not table.joined:  # rows without an item are not rejected
                limit = sample.limits.limit_of(table.duplicate)
                found = [c.position for c in cells if sample.limits.limit_of(c.reason) == limit]
                sample.bad_keys[limit].update(text.gather(found).drop_nulls())
        if table.available_from is not None:
            column = table.available_from.column
            _, cells = optional_times(one_chunk(rows, column), table.available_from, AVAILABLE_FROM)
            bad += [(int(numbers[c.position]), column, c.reason, c.value) for c in cells]
        for keys in sample.bad_keys.values():
            keys -= short_keys
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
