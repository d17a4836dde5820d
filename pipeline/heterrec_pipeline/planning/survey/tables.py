"""A feature table: its keys, its features, and the tokens of some of its rows."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import polars as pl
import pyarrow as pa

from heterrec_pipeline.files.parts import load
from heterrec_pipeline.job import TableJob
from heterrec_pipeline.keys.read import key_text
from heterrec_pipeline.keys.row_filter import KEY
from heterrec_pipeline.planning.one_table import (
    ID,
    LOSERS,
    KeyIndex,
    KeyRules,
    choose_rows,
    number_keys,
    read_repeated,
)
from heterrec_pipeline.planning.sampling.blocks import SAMPLE_BYTES, Reach, batches, reach
from heterrec_pipeline.planning.sampling.estimates import Estimate, Fraction, Tally, distinct
from heterrec_pipeline.planning.sampling.rows import Rows
from heterrec_pipeline.planning.survey.features import FeatureSurvey, survey
from heterrec_pipeline.reading.read import one_chunk, read_split
from heterrec_pipeline.wiring.reports import COUNTS
from heterrec_schemas.hashing import hash_texts
from heterrec_schemas.rejects import Reason
from heterrec_schemas.tables import WIDE_ROW_GROUP
from heterrec_schemas.values import Seen

WINDOWS = 8
"""Of a large table the tokens of so many row groups, spread over all ids, are made."""


@dataclass
class Keys:
    """The keys of a table.

    Attributes:
        part: what of the key column was read.
        read: how many rows the table has.
        keyless: how many of the `seen` rows have no key.
        unusable: entries in `rejects/` of the rows seen, by reason.
        kept: how many distinct keys there are.
        repeated: how many of the rows read have a key that another row has already.
        index: key, id, shard of the keys found, sorted by id; where not all keys were read, ids lie as far apart as those
            of all would.
        integral: whether the keys are whole numbers.
        losers: rows that are left out because another row of their key is kept.
    """

    part: Fraction
    read: Estimate
    seen: int
    keyless: int
    unusable: Counter[Reason]
    kept: Estimate
    repeated: int
    index: pa.Table
    integral: bool
    losers: pa.Table = field(default_factory=LOSERS.empty_table)

    @property
    def whole(self) -> bool:
        """Whether every key is known."""
        return self.part.whole


@dataclass
class TableSurvey:
    """What is known of one feature table.

    Attributes:
        table: the table.
        keys: its keys.
        part: what of its feature columns was read.
        copies, duplicates: rows that equal a kept one, and rows that differ from it.
        features: in the spec's order.
        tokens: ID, KEY and a token column a feature, of all rows or of some runs of ids (`chosen_runs`), by id.
        rows: the rows as they were read.
    """

    table: TableJob
    keys: Keys
    part: Fraction
    copies: Estimate
    duplicates: Estimate
    features: list[FeatureSurvey]
    tokens: pa.Table
    rows: Rows

    @property
    def rejects(self) -> Counter[Reason]:
        """Expected entries in `rejects/` by reason."""
        scaled: Counter[Reason] = Counter()
        share = self.keys.read.value / self.keys.seen if self.keys.seen else 1.0
        for reason, count in self.keys.unusable.items():
            scaled[reason] += round(count * share)
        for found in self.features:
            whole = self.keys.kept.value / found.rows if found.rows else 0.0
            for reason, count in found.reasons.items():
                scaled[reason] += round(count * whole)
        if self.duplicates.value:
            scaled[self.table.duplicate] += self.duplicates.value
        return scaled


def read_keys(table: TableJob, got: Reach, rules: KeyRules) -> Keys:
    """Read the key column of some blocks."""
    texts: list[pl.Series] = []
    tally, unusable, seen = Tally(), Counter[Reason](), Seen.NOTHING
    count = missing = 0
    for block in got.blocks:
        for piece in batches(block, [table.key]):
            here = []
            for batch in piece:
                text, kinds = key_text(
                    one_chunk(batch.table, table.key), table.key, block.split.file.name
                )
                seen |= kinds
                count += len(text) + len(batch.bad)
                unusable.update(b.reason for b in (*batch.bad, *batch.short))
                short = {b.row for b in batch.short}
                missing += text.null_count() + len(batch.bad)
                keyless = batch.rows[text.is_null().to_numpy()].tolist()
                unusable[Reason.MISSING_KEY] += sum(row not in short for row in keyless)
                here.append(text.drop_nulls())
            if here:
                texts += here
                tally.add(hash_texts(pl.concat(here)).to_numpy())
    part = got.part(count)
    whole = pa.table({"key": pl.concat(texts).to_arrow() if texts else pa.array([], pa.string())})
    index, _ = number_keys([whole], seen.integral, rules)
    kept = distinct(*tally.incidence(), part)
    repeated = len(whole) - len(index)
    return Keys(
        part,
        got.row_count(count),
        count,
        missing,
        +unusable,
        kept,
        repeated,
        index if part.whole else stretched(index, kept.value),
        seen.integral,
    )


def stretched(index: pa.Table, kept: int) -> pa.Table:
    """The ids of some keys as far apart as those of all will be."""
    ids = index["id"].to_numpy()
    if len(ids) == 0:
        return index
    first = int(ids[0])
    wide = first + (ids - first) * max(kept, len(ids)) // len(ids)
    return index.set_column(index.schema.get_field_index("id"), "id", pa.array(wide))


def survey_table(
    table: TableJob,
    *,
    rules: KeyRules,
    universe: Keys | None = None,
    budget: int | None = SAMPLE_BYTES,
) -> TableSurvey:
    """Read a table's keys, then its features.

    Args:
        table: the table, out of files.
        rules: how its keys get ids.
        universe: the keys of the items, for a joined table: other rows do not count.
        budget: how many bytes may be read of the keys, and of the features.
    """
    key_reach = reach(table.files, [table.key], budget)
    got = reach(table.files, table.columns, budget)
    if not key_reach.whole:
        key_reach = got
    keys = read_keys(table, key_reach, rules)
    copies = duplicates = Estimate.exactly(0)
    if keys.repeated:
        copies, duplicates = resolve(table, keys, got)
    index = keys.index
    if universe is not None and universe.whole:
        index = universe.index
        inside = pl.Series(keys.index["key"]).is_in(pl.Series(index["key"]).implode())
        share = float(inside.mean() or 0.0)  # type: ignore[arg-type]
        counts = (keys.kept.low, keys.kept.value, keys.kept.high)
        keys.kept = (
            Estimate.exactly(int(inside.sum()))
            if keys.whole
            else Estimate.between(counts[0] * share, counts[1] * share, counts[2])
        )
    known = KeyIndex(index, keys.losers)
    read = sum(b.limit or b.rows or keys.seen for b in got.blocks)
    part = replace(got, rows=keys.read.value).part(read)
    population = min(read, len(index)) if keys.whole and not universe else read
    rows = Rows(table, part, known, population, got.blocks)
    coverage = min(1.0, keys.kept.value / max(1, universe.kept.value)) if universe else 1.0
    return surveyed(table, keys, rows, copies, duplicates, coverage)


def surveyed(
    table: TableJob,
    keys: Keys,
    rows: Rows,
    copies: Estimate,
    duplicates: Estimate,
    coverage: float = 1.0,
) -> TableSurvey:
    """Fit the features to the rows, and make the tokens of some; `coverage` as in `FeatureSurvey`."""
    features = [survey(f, rows) for f in table.features]
    for feature in features:
        feature.coverage = coverage
    tokens = _tokens(table, rows, features)
    return TableSurvey(table, keys, rows.part, copies, duplicates, features, tokens, rows)


def resolve(table: TableJob, keys: Keys, got: Reach) -> tuple[Estimate, Estimate]:
    """Rows of repeated keys: equal copies, and duplicates that are set aside; also sets the losers.

    Only where the whole table is read anyway are the rows compared; else all of them may be either.
    """
    if not (keys.whole and got.whole):
        scale = 1.0 if keys.whole else keys.read.value / max(1, keys.seen)
        most = round(keys.repeated * scale)
        return Estimate.between(0, most, most), Estimate.between(0, 0, most)
    texts = [
        pl.DataFrame({"key": key_text(one_chunk(b.table, table.key), table.key, s.file.name)[0]})
        for s in got.splits
        for b in read_split(s, [table.key])
    ]
    counted = pl.concat(texts).drop_nulls().group_by("key").len()
    repeated = counted.filter(pl.col("len") > 1).select("key").to_arrow()
    found = [t for s in got.splits for t in read_repeated(table, s, repeated)]
    counts = {"repeated": 0, "duplicate": 0}
    for output in choose_rows(table, (0, found)):
        if isinstance(output, pa.Table):
            keys.losers = output
        elif output.tag == COUNTS:
            counts[output.value[0].rpartition(".")[2]] = output.value[1]
    return Estimate.exactly(counts["repeated"]), Estimate.exactly(counts["duplicate"])


def _tokens(table: TableJob, rows: Rows, features: Sequence[FeatureSurvey]) -> pa.Table:
    """ID, KEY and a token column a feature: of all rows, or of some runs of ids; sorted by id where there is one."""
    names = [ID, KEY, *(f.feature.name for f in features)]
    ids = load(rows.known.index)["id"].to_numpy()
    runs = chosen_runs(len(ids))
    low = np.array([ids[a] for a, _ in runs], dtype=np.int64)
    high = np.array([ids[b - 1] for _, b in runs], dtype=np.int64)
    made = []
    for _, batch in rows.blocks([f.column for f in table.features]):
        for part in batch:
            columns_of = [f.tokens(one_chunk(part, f.feature.column)) for f in features]
            its = part[ID].to_numpy()
            at = np.searchsorted(low, its, side="right") - 1
            keep = pa.array((at >= 0) & (its <= high[np.maximum(at, 0)]))
            both = pa.table([part[ID], part[KEY].cast(pa.string()), *columns_of], names=names)
            made.append(both.filter(keep))
    if not made:
        kinds = [pa.int64(), pa.string(), *(f.token_type for f in table.features)]
        return pa.table([pa.array([], kind) for kind in kinds], names=names)
    whole = pa.concat_tables(made).combine_chunks()
    return whole.take(pa.array(np.argsort(whole[ID].to_numpy(), kind="stable")))


def chosen_runs(count: int) -> list[tuple[int, int]]:
    """Ranges of positions: all of them, or some whole row groups spread over them."""
    groups = -(-count // WIDE_ROW_GROUP)
    some = groups if groups <= WINDOWS else WINDOWS
    firsts = [k * groups // some * WIDE_ROW_GROUP for k in range(some)]
    return [(a, min(count, a + WIDE_ROW_GROUP)) for a in firsts]
