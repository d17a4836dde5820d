"""The values of the vocabularies in the input: which there are, and how many items or users have each."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import polars as pl
import pyarrow as pa

from heterrec_pipeline.checking.sample import Sample, Tables, Undecided, enough, sampled_batches
from heterrec_pipeline.features import categorical
from heterrec_pipeline.job import ITEMS, TableJob, log_gate
from heterrec_pipeline.reading.batches import one_chunk
from heterrec_pipeline.reading.erased import Gate
from heterrec_pipeline.reading.files import InputFile
from heterrec_pipeline.reading.read import ROW, file_of, short_rows
from heterrec_schemas.feature_spec import CategoricalFeature, FeatureSpec
from heterrec_schemas.hashing import hash_texts

_PAIRS = {"key": pl.UInt64, "value": pl.UInt64}
_MERGE_ROWS = 2**20
"""Number of pairs that are collected before equal ones are dropped."""


@dataclass
class SeenValues:
    """The values of a vocabulary in the rows that were read, by hash.

    Attributes:
        whole: whether all rows of the table were read.
        pairs: distinct pairs of `key` and `value`, the hashes of an item (user) and of one of its values.
    """

    whole: bool = True
    pairs: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=_PAIRS))
    _added: list[pl.DataFrame] = field(default_factory=list)

    def add(self, keys: pl.Series, values: pl.Series) -> None:
        """Add pairs of texts; those without a key do not count."""
        pairs = pl.DataFrame({"key": hash_texts(keys), "value": hash_texts(values)})
        self._added.append(pairs.drop_nulls().unique())
        if sum(map(len, self._added)) > max(_MERGE_ROWS, len(self.pairs)):
            self.merge()

    def merge(self) -> None:
        """Take the pairs that were added."""
        self.pairs, self._added = pl.concat([self.pairs, *self._added]).unique(), []

    def counts(self) -> pl.DataFrame:
        """Columns `value` (hash) and `count`, the number of items (users) that have it."""
        return self.pairs.group_by("value").len("count")


def seen_values(
    spec: FeatureSpec, tables: Tables, undecided: Undecided = enough
) -> dict[str, SeenValues]:
    """Read the keys and categorical columns of the rows that `sample_tables` reads.

    A row counts also where a build keeps another one of its key. The rows of a joined table count if their item exists, as
    far as the items were read.

    Args:
        spec: the spec.
        tables: the tables.
        undecided: as in `sample_tables`.

    Returns:
        The values by vocabulary: `items`, `item/<feature>`, `user/<feature>`.

    Raises:
        HeterrecError: a table cannot be read.
    """
    gate = log_gate(spec, tables.erasures, tables.items, tables.user_key)
    found = dict[str, SeenValues]()
    for table in (tables.items, *tables.joins, tables.users):
        if table is None:
            continue
        if table.files:
            found |= _seen_in(table, table.files, table.gate, undecided)
        else:  # the items of a denormalised log
            found |= _seen_in(table, tables.log, gate, undecided)
        if table.joined:
            _keep_items(table, found)
    return found


def _seen_in(
    table: TableJob, files: tuple[InputFile, ...], gate: Gate, undecided: Undecided
) -> dict[str, SeenValues]:
    features = {
        f"{table.side}/{f.name}": f for f in table.features if isinstance(f, CategoricalFeature)
    }
    found = {name: SeenValues() for name in features}
    if table.side == "item" and not table.joined:
        found[ITEMS] = SeenValues()
    columns = list(dict.fromkeys([table.key, *(f.column for f in features.values())]))
    sample = Sample(table.name, len(files), sum(f.bytes for f in files))
    for rows, _ in sampled_batches(files, columns, gate, sample, undecided):
        keys = _keys(rows, table)
        for name, values in found.items():
            if name == ITEMS:
                values.add(keys, keys)
            else:
                feature = features[name]
                cells, _ = categorical.texts(feature, one_chunk(rows, feature.column))
                values.add(keys.gather(cells["row"]), cells["value"])
    for values in found.values():
        values.merge()
        values.whole = sample.whole
    return found


def _keys(rows: pa.Table, table: TableJob) -> pl.Series:
    """The texts of the keys; null in rows that are rejected because of too few fields."""
    keys, _ = table.key_text(one_chunk(rows, table.key), file_of(rows))
    if short := list(short_rows(rows)):
        keys = keys.set(pl.Series(np.isin(rows[ROW].to_numpy(), short)), None)
    return keys


def _keep_items(table: TableJob, found: Mapping[str, SeenValues]) -> None:
    """Drop the values of a joined table's rows without an item, if all items are known."""
    items = found[ITEMS]
    names = {f"{table.side}/{f.name}" for f in table.features}
    for values in (found[n] for n in found.keys() & names):
        if items.whole:
            values.pairs = values.pairs.filter(pl.col("key").is_in(items.pairs["key"].implode()))
        values.whole &= items.whole
