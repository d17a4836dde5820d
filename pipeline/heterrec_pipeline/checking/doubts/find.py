"""All warnings about samples of the tables."""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from functools import partial

import polars as pl

from heterrec_pipeline.checking.doubts.keys import Side, listed, unmet_keys
from heterrec_pipeline.checking.doubts.lakes import lake_doubts
from heterrec_pipeline.checking.doubts.outcome import LACKING, sampled_training_doubts
from heterrec_pipeline.checking.doubts.times import time_doubts
from heterrec_pipeline.checking.doubts.values import value_doubts
from heterrec_pipeline.checking.sample import Sample, Tables
from heterrec_pipeline.job import INTERACTIONS, ITEMS, TableJob
from heterrec_schemas.feature_spec import FeatureSpec

KeysOf = Callable[[TableJob], tuple[pl.Series, bool]]
"""Reads more keys of a table than its sample has: the texts, and whether these are all."""


def doubts(
    spec: FeatureSpec,
    tables: Tables,
    samples: Sequence[Sample],
    now: datetime,
    keys_of: KeysOf | None = None,
) -> list[str]:
    """The warnings about what is probably lost or misread without an error.

    Args:
        spec: the spec.
        tables: the tables.
        samples: their samples, as `sample_tables` returns them; empty for no warnings.
        now: the present time.
        keys_of: reads the keys of a table whose sample is not the whole table; None to do without.
    """
    by_name = {s.table: s for s in samples}
    if not by_name:
        return []
    log = by_name[INTERACTIONS]
    found = list(time_doubts(spec, log.evidence, now))
    if log.whole:
        found += sampled_training_doubts(log.evidence)
    every = [t for t in (tables.items, *tables.joins, tables.users) if t is not None]
    for table in every:
        if table.name in by_name:
            formats = {f.format for f in table.files or tables.log}
            evidence = by_name[table.name].evidence
            found += value_doubts(table, evidence, formats, quoted=spec.quotes_cells)
    found += _key_doubts(spec, tables, by_name, keys_of)
    sources = {t.name: t.files for t in every} | {e.name: e.files for e in tables.erasures.every}
    for name, files in (sources | {INTERACTIONS: tables.log}).items():
        found += lake_doubts(name, files)
    return list(dict.fromkeys(found))


def key_examples(spec: FeatureSpec, tables: Tables, samples: Sequence[Sample]) -> str:
    """Keys of the log that the sampled items lack, and keys of these; empty without an item table, or if none is quoted."""
    by_name = {s.table: s for s in samples}
    if not tables.items.files or not {ITEMS, INTERACTIONS} <= by_name.keys():
        return ""
    if not spec.quotes_cells:
        return ""
    wanted, known = by_name[INTERACTIONS].evidence.text("item"), by_name[ITEMS].evidence.text("key")
    lacking = wanted.filter(~wanted.is_in(known.implode()))
    if lacking.is_empty():
        return ""
    log = f"{spec.interactions.item!r} has {listed(lacking.unique().sort())}"
    return f"{log}, {tables.items.key!r} of items has {listed(known.drop_nulls().unique().sort())}"


def _key_doubts(
    spec: FeatureSpec, tables: Tables, samples: dict[str, Sample], keys_of: KeysOf | None
) -> Iterator[str]:
    log = spec.interactions
    unmet = partial(unmet_keys, quoted=spec.quotes_cells)

    def side(table: TableJob) -> Side:
        sample = samples[table.name]
        keys, whole = sample.evidence.text("key"), sample.whole
        if not whole and keys_of is not None:
            keys, whole = keys_of(table)
        return Side(f"{table.name}.source", table.key, keys, whole)

    def of_log(name: str, column: str) -> Side:
        sample = samples[INTERACTIONS]
        return Side(f"{INTERACTIONS}.source", column, sample.evidence.text(name), sample.whole)

    users = tables.users
    if users is not None and users.name in samples:
        asking = of_log("user", log.user)
        text = unmet("have a user that the user table lacks", asking, side(users))
        yield from _about(INTERACTIONS, text)
    if not tables.items.files or ITEMS not in samples:
        return
    items = side(tables.items)
    text = unmet(LACKING, of_log("item", log.item), items)
    yield from _about(INTERACTIONS, text)
    for join in (j for j in tables.joins if j.name in samples):
        joined = side(join)
        # A table for more items than the catalogue has, or for some of them, loses nothing.
        text = unmet(LACKING, joined, items)
        if text is not None and unmet("", items, joined) is not None:
            yield from _about(join.name, text)


def _about(table: str, text: str | None) -> Iterator[str]:
    if text is not None:
        yield f"{table}: {text}"
