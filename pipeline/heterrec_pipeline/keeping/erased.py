"""Find and delete the generations that hold texts which must not be kept any longer."""

import csv
import re
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from heterrec_pipeline.checking.check import find_erasures
from heterrec_pipeline.files import storage
from heterrec_pipeline.items.aggregate import ITEM
from heterrec_pipeline.job import INTERACTIONS, ITEMS, LOG_ITEMS, USERS
from heterrec_pipeline.keeping.generations import Listed
from heterrec_pipeline.keeping.remove import GONE, PINNED, remove
from heterrec_pipeline.keeping.retention import Purged, Wait, prepare
from heterrec_pipeline.keys.read import KEY
from heterrec_pipeline.reading.digests import (
    Digested,
    digest_texts,
    digested,
    reading_of,
    reading_slug,
)
from heterrec_pipeline.reading.erased import ErasedList, erased
from heterrec_schemas.errors import CallError, GenerationError
from heterrec_schemas.feature_spec import FeatureSpec
from heterrec_schemas.generation import Generation, open_generation
from heterrec_schemas.leases import SWEEP_AFTER
from heterrec_schemas.manifest import GENERATIONS, STATE, FileEntry, table_stem
from heterrec_schemas.values import clean_text

_INTEGER = re.compile(r"0|-?[1-9][0-9]{0,18}")
"""The texts of integer keys: neither 007 nor 1_000."""
_PIECES = re.compile(r"""[\s,;|"'\[\]{}:\t=<>()/]+""")
"""What separates the words of a rejected line."""


@dataclass(frozen=True)
class ErasedKeys:
    """The texts that must not be kept, cleaned.

    Attributes:
        users: keys of users.
        items: keys of items.
        values: values by the name of their vocabulary.
    """

    users: set[str] = field(default_factory=set)
    items: set[str] = field(default_factory=set)
    values: dict[str, set[str]] = field(default_factory=dict)

    @property
    def all(self) -> set[str]:
        """Every text."""
        return self.users | self.items | set().union(*self.values.values())


def read_erased_keys(spec: FeatureSpec, base: str) -> ErasedKeys:
    """The keys that a spec's `erase` lists.

    Args:
        spec: the feature spec.
        base: the folder that its relative paths start from.

    Raises:
        CallError: the spec erases nothing.
        HeterrecError: a source is absent, lacks its key, or cannot be read.
    """
    erase = spec.erase
    if not (erase.users or erase.items or erase.values):
        raise CallError("the spec lists nothing under erase", todo="Declare erase in the spec.")

    def texts(listed: ErasedList | None) -> set[str]:
        return set() if listed is None else set(erased(listed).texts)

    found = find_erasures(spec, base)
    return ErasedKeys(
        users=texts(found.users),
        items=texts(found.items),
        values={name: texts(listed) for name, listed in found.values.items()},
    )


def purge_erased(
    output: str,
    keys: ErasedKeys,
    *,
    pinned: bool = False,
    dry_run: bool = False,
    after: timedelta = SWEEP_AFTER,
    wait: Wait = time.sleep,
) -> Purged:
    """Delete every generation that holds one of the keys, whatever its age and lineage.

    The latest one and leased ones are refused, and pinned ones unless `pinned` is set; so are damaged ones, which cannot be
    searched. Unfinished ones of living builders are not searched.

    Args:
        output: the folder for generations.
        keys: the texts.
        pinned: delete pinned generations too.
        dry_run: write and delete nothing.
        after: time without a heartbeat after which a builder or reader that cannot be seen is dead.
        wait: waits for some seconds.

    Raises:
        CallError: there is no such output.
        RunError: the store does not respond, or a generation cannot be deleted.
    """
    swept, found, _ = prepare(output, dry_run=dry_run, after=after, wait=wait)
    result = Purged(found.output, dry_run, swept)
    for one in reversed(found.listed):
        if not one.finished:
            result.kept.insert(0, (one, "unfinished, not searched"))
            continue
        try:
            where = _where(found.output, one, keys)
        except GenerationError as error:
            result.refused.insert(0, (one, f"cannot be searched: {error.message}"))
            result.kept.insert(0, result.refused[0])
            continue
        if where is None:
            result.kept.insert(0, (one, "holds none of the keys"))
            continue
        protection = ", ".join(s for s in one.states if not (pinned and s == PINNED)) or None
        if protection is None and not dry_run:
            protection = remove(found.output, one.id, pinned=pinned)
        if protection == GONE:
            continue
        if protection is None:
            result.deleted.append((one, where))
        else:
            result.refused.insert(0, (one, f"{protection}; {where}"))
            result.kept.insert(0, result.refused[0])
    return result


def _where(output: str, one: Listed, keys: ErasedKeys) -> str | None:
    """The tables of a generation that hold one of the keys, in words; None if there are none.

    Raises:
        GenerationError: it is damaged.
    """
    root = storage.join(output, GENERATIONS, one.id)
    tables = sorted(set(tables_with(open_generation(root, verify="sizes"), keys)))
    return f"found in {', '.join(tables)}" if tables else None


def tables_with(generation: Generation, keys: ErasedKeys) -> Iterator[str]:
    """The tables of a generation that hold one of the keys; some of them repeatedly.

    Raises:
        CorruptGenerationError: a table cannot be read.
        GenerationError: its user ids are hashed by a key that the environment lacks.
    """
    keys = _as_written(generation, keys)
    for name, texts in {"item": keys.items, **keys.values}.items():
        table = f"vocabularies/{name}"
        shards = [f for f in generation.files("vocabularies") if table_stem(f.path) == table]
        if _in_column(generation, shards, "value", texts):
            yield table
    for folder, column, texts in (
        ("sequences", "user_id", keys.users),
        ("items", "item_id", keys.items),
        ("retired", "item_id", keys.items),
    ):
        if _in_column(generation, generation.files(folder), column, texts):
            yield folder
    if _in_rejects(generation, keys):
        yield "rejects"
    if _in_state(generation, keys):
        yield STATE


def _as_written(generation: Generation, keys: ErasedKeys) -> ErasedKeys:
    """The keys as a generation has them: of users, their hashes if it has these."""
    key = generation.manifest.user_key
    if key is None or not keys.users:
        return keys
    try:
        hashes = key.hashes
    except CallError as error:
        raise GenerationError(f"its user ids are hashed: {error.message}") from None
    return replace(keys, users={hashes.user(text) for text in keys.users})


def _in_column(
    generation: Generation, files: list[FileEntry], column: str, texts: set[str]
) -> bool:
    """Whether a column of some shards holds one of the texts."""
    return bool(texts) and any(
        _among(group[column], texts)
        for file in files
        for group in generation.row_groups(file.path, [column])
    )


def _among(column: pa.ChunkedArray, texts: set[str]) -> bool:
    """Whether a column of texts or integers holds one of the texts."""
    chosen: Collection[object] = texts
    if pa.types.is_integer(column.type):
        whole = (int(text) for text in texts if _INTEGER.fullmatch(text))
        chosen = [number for number in whole if -(2**63) <= number < 2**63]
    values = pa.array(list(chosen), pa.int64() if chosen is not texts else pa.string())
    return bool(pc.any(pc.is_in(column, value_set=values.cast(column.type, safe=False))).as_py())


def _in_rejects(generation: Generation, keys: ErasedKeys) -> bool:
    """Whether a rejected cell, or a word of a rejected line, is one of the keys of its column."""
    columns = _columns(generation.spec, keys)
    rejects = pl.DataFrame(pl.from_arrow(generation.rejects()))
    rows = rejects.select("source", "column", "value").iter_rows()
    return any(_is_key(columns, keys, *row) for row in rows)


def _is_key(
    columns: dict[tuple[str, str], set[str]],
    keys: ErasedKeys,
    source: str,
    column: str,
    value: str | None,
) -> bool:
    """Whether a rejected cell of a column, or a word of a line (without a column), is one of its keys."""
    texts = columns.get((source, column)) if column else keys.all
    return value is not None and bool(texts) and _mentions(value, texts or set())


def _columns(spec: FeatureSpec, keys: ErasedKeys) -> dict[tuple[str, str], set[str]]:
    """The keys to look for by the source and the column of a reject."""
    found: dict[tuple[str, str], set[str]] = {}

    def add(source: str, column: str, texts: set[str]) -> None:
        found.setdefault((source, column), set()).update(texts)

    log = spec.interactions
    add("interactions", log.user, keys.users)
    add("interactions", log.item, keys.items)
    joins = [(f"items.joins[{k}]", join.key) for k, join in enumerate(spec.items.joins)]
    item_tables = [*joins, ("interactions" if spec.denormalised else "items", spec.items.key)]
    for source, column in item_tables:
        if column is not None:
            add(source, column, keys.items)
        for feature in spec.items.features:
            add(source, feature.column, keys.values.get(feature.name, set()))
    if spec.user_table is not None:
        add("users", spec.user_table.key, keys.users)
        for feature in spec.user_features:
            add("users", feature.column, keys.values.get(f"user_{feature.name}", set()))
    return found


def _mentions(value: str, texts: set[str]) -> bool:
    """Whether a rejected text is one of the texts, or contains one as a cell or as a word."""
    cells = [value, *_PIECES.split(value)]
    try:
        cells += next(csv.reader([value]), [])
    except csv.Error:
        pass
    if any(clean_text(cell) in texts for cell in cells):
        return True
    return any(text in value for text in texts if _PIECES.search(text))


def _in_state(generation: Generation, keys: ErasedKeys) -> bool:
    """Whether a digest holds one of the keys; absent digests hold nothing."""
    rejected = _columns(generation.spec, keys)
    by_table = {reading_slug(name): (name, c) for name, c in _digest_columns(generation, keys)}
    for file in generation.files(STATE):
        name, columns = by_table.get(reading_of(file.path), ("", {}))
        path = generation.folder.locate(file.path)
        if not file.path.endswith(".arrow") or not storage.exists(path):
            continue
        try:
            if any(_in_digest(name, columns, batch, rejected, keys) for batch in digested(path)):
                return True
        except pa.ArrowException:  # damaged
            content = storage.read_bytes(path)
            if any(text.encode() in content for text in keys.all):
                return True
    return False


def _digest_columns(
    generation: Generation, keys: ErasedKeys
) -> Iterator[tuple[str, dict[str, set[str]]]]:
    """Of each table, the columns of its digests that hold keys, and what to look for."""
    spec = generation.spec
    values = {f.name: keys.values.get(f.name, set()) for f in spec.items.features}
    yield INTERACTIONS, {"user": keys.users, "item": keys.items}
    yield LOG_ITEMS, {ITEM: keys.items}
    for name in (ITEMS, *(f"{ITEMS}.joins[{k}]" for k in range(len(spec.items.joins)))):
        yield name, {KEY: keys.items} | values
    of_users = {f.name: keys.values.get(f"user_{f.name}", set()) for f in spec.user_features}
    yield USERS, {KEY: keys.users} | of_users


def _in_digest(
    name: str,
    columns: dict[str, set[str]],
    batch: Digested,
    rejected: dict[tuple[str, str], set[str]],
    keys: ErasedKeys,
) -> bool:
    for column, texts in columns.items():
        if texts and column in batch.rows.schema.names:
            words = digest_texts(batch.rows[column])
            if words.is_in(pl.Series(list(texts), dtype=pl.String).implode()).any():
                return True
    source = INTERACTIONS if name == LOG_ITEMS else name
    return any(_is_key(rejected, keys, source, c, text) for _, c, _, text in batch.rejects())
