"""Describe a generation, an item or a user, as plain dicts that JSON can hold."""

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pyarrow as pa

from heterrec_schemas.errors import CallError, UnknownItemError, suggest
from heterrec_schemas.feature_spec import CategoricalFeature
from heterrec_schemas.generation.decode import bucket_words, decode_cells
from heterrec_schemas.generation.reader import Generation
from heterrec_schemas.hashing import stable_hash
from heterrec_schemas.manifest import SPLITS, FeatureEntry, table_stem
from heterrec_schemas.tokens import FIRST_FREE, ITEM_VOCABULARY
from heterrec_schemas.user_ids import id_in_generation, which_id
from heterrec_schemas.values import clean_text

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_CANDIDATES = 1_000
"""Number of keys that a misspelt key is compared with."""
_EXAMPLES = 3
"""Number of keys that a message quotes."""


def overview(generation: Generation) -> dict[str, Any]:
    """The features, tables, counts, cuts and rejects of a generation; only footers are read."""
    manifest = generation.manifest
    return {
        "root": generation.root,
        **manifest.model_dump(
            mode="json",
            include={
                "format_version",
                "generation",
                "parent",
                "lineage",
                "drift",
                "created",
                "name",
                "user_ids",
                "spec_sha256",
                "content_sha256",
                "item_vocabulary_size",
                "libraries",
                "inputs",
            },
        ),
        "features": [_feature(generation, entry) for entry in manifest.features],
        "tables": _tables(generation),
        "counts": manifest.counts.model_dump(mode="json", exclude_none=True),
        "cuts": {name: {"ms": ms, "utc": utc_text(ms)} for name, ms in manifest.cuts.items()},
        "rejects": {str(reason): count for reason, count in manifest.rejects.items()},
    }


def item_in_words(generation: Generation, item_id: str) -> dict[str, Any]:
    """One item, in the catalogue or retired, with decoded tokens.

    Args:
        generation: an open generation.
        item_id: the key as text, whatever its type in the tables.

    Raises:
        UnknownItemError: the catalogue has no such item; similar keys are suggested.
    """
    shards = generation.vocabulary_shards(ITEM_VOCABULARY)
    key = _key(item_id, _type_of(generation, shards[0], "value"))
    known = generation.rows(shards, "value", [] if key is None else [key])
    if not len(known):
        known_ids = generation.read(shards, ["value"])["value"]
        raise UnknownItemError(
            f"there is no item {item_id!r} in the catalogue", todo=_near_key(item_id, known_ids)
        )
    entry = known.to_pylist()[0]
    trained = [f.path for f in generation.files("item_counts")]
    counts = generation.rows(trained, "item_index", [entry["id"]])["train_count"].to_pylist()
    found: dict[str, Any] = {
        "item_id": entry["value"],
        "item_index": entry["id"],
        "status": entry["status"],
        "train_count": sum(counts),
        "shard": None,
        "features": {},
    }
    for path in generation.known_item_shards():
        row = generation.rows([path], "item_index", [entry["id"]])
        if len(row):
            found["shard"] = path
            found["features"] = {
                f.name: decode_cells(generation, f.name, row[f.name].to_pylist())[0]
                for f in generation.spec.items.features
            }
            break
    return found


def user_in_words(generation: Generation, user_id: str, *, stored: bool = False) -> dict[str, Any]:
    """The sequences of one user, oldest interaction first, in every split that has the user.

    Only the user's own shard of each split is read.

    Args:
        generation: an open generation.
        user_id: the key as text, whatever its type in the tables. Of a generation with hashed user ids, the id in the input
            if the environment has the key, else the hashed id.
        stored: whether `user_id` is as in the tables, where it may be hashed, whatever the environment has.

    Raises:
        CallError: there is no such user; similar keys are suggested. The key in the environment is not the generation's.
    """
    key = generation.manifest.user_key
    user_id = user_id if stored else id_in_generation(user_id, key)
    rows = {split: _rows_of_user(generation, split, user_id) for split in SPLITS}
    if not any(map(len, rows.values())):
        least = generation.spec.sequences.min_length
        known = generation.sequences("latest", ["user_id"])["user_id"]
        short = f"Users with fewer than {least} interactions are left out." if least > 1 else ""
        of_hashes = which_id(key) if key else _near_key(user_id, known)
        raise CallError(
            f"there is no user {user_id!r}", todo=" ".join(filter(None, [of_hashes, short]))
        )
    first = next(table for table in rows.values() if len(table))
    items = items_in_words(generation, _indices_in(rows.values()))
    return {
        "user_id": first["user_id"][0].as_py(),
        "features": {
            f.name: decode_cells(
                generation, f.name, first[f"user_{f.name}"].to_pylist()[:1], side="user"
            )[0]
            for f in generation.spec.user_features
        },
        "splits": {
            split: [_sequence(generation, row, items) for row in table.to_pylist()]
            for split, table in rows.items()
            if len(table)
        },
    }


def utc_text(milliseconds: int) -> str:
    """A time in milliseconds since 1970 as ISO 8601 in UTC."""
    moment = _EPOCH + timedelta(milliseconds=milliseconds)
    digits = "milliseconds" if milliseconds % 1000 else "seconds"
    return moment.replace(tzinfo=None).isoformat(timespec=digits) + "Z"


def _feature(generation: Generation, entry: FeatureEntry) -> dict[str, Any]:
    counts = generation.manifest.counts
    table = counts.items if entry.side == "item" else counts.users
    rows = table.kept if table else 0
    return {
        **entry.model_dump(mode="json", exclude_none=True),
        "missing_share": entry.missing / rows if rows else None,
        "oov_share": entry.oov / rows if rows else None,
    }


def _tables(generation: Generation) -> list[dict[str, Any]]:
    """Shards by table: `items/items`, `sequences/train`, ...; three lists have one entry per shard."""
    tables: dict[str, dict[str, Any]] = {}
    for entry in sorted(generation.manifest.files, key=lambda f: f.path):
        if entry.rows is None:
            continue
        name = table_stem(entry.path)
        empty = {"table": name, "rows": [], "bytes": [], "row_groups": []}
        table = tables.setdefault(name, empty)
        table["rows"].append(entry.rows)
        table["bytes"].append(entry.bytes)
        with generation.open_shard(entry.path) as shard:
            table["row_groups"].append(shard.metadata.num_row_groups)
    return list(tables.values())


def _rows_of_user(generation: Generation, split: str, user_id: str) -> pa.Table:
    paths = generation.sequence_shards(split)
    text = clean_text(user_id) or ""
    path = paths[stable_hash(text) % len(paths)]
    key = _key(user_id, _type_of(generation, path, "user_id"))
    return generation.rows([path], "user_id", [] if key is None else [key])


def _indices_in(tables: Iterable[pa.Table]) -> set[int]:
    """item_index of all items in some sequences."""
    return {
        index
        for table in tables
        for column in ("item_index", "target_item_index")
        if column in table.schema.names
        for cell in table[column].to_pylist()
        for index in cell
    }


def items_in_words(generation: Generation, indices: Iterable[int]) -> dict[int, dict[str, Any]]:
    """`item_id` and categorical `features` in words of some items, by item_index; items without a row are left out."""
    names = [f.name for f in generation.spec.items.features if isinstance(f, CategoricalFeature)]
    shards = generation.known_item_shards()
    found = generation.rows(shards, "item_index", set(indices), ["item_index", "item_id", *names])
    items: dict[int, dict[str, Any]] = {
        index: {"item_id": key, "features": {}}
        for index, key in zip(
            found["item_index"].to_pylist(), found["item_id"].to_pylist(), strict=True
        )
    }
    for name in names:
        cells = decode_cells(generation, name, found[name].to_pylist())
        for item, cell in zip(items.values(), cells, strict=True):
            item["features"][name] = cell["words"]
    return items


def name_in_words(item: Mapping[str, Any]) -> str:
    """The id of an item of `items_in_words`, or of an event of `user_in_words`; its item_index if it has no id."""
    return str(item["item_index"] if item["item_id"] is None else item["item_id"])


def features_in_words(item: Mapping[str, Any]) -> str:
    """The features of such an item, as in `brand: Kiwi; price: 3 to 5`, or what stands in their place."""
    known = "; ".join(f"{name}: {text}" for name, text in item["features"].items())
    return str(item.get("words") or known)


def _sequence(
    generation: Generation, row: dict[str, Any], items: dict[int, dict[str, Any]]
) -> dict[str, Any]:
    described = {"window": row["window"]} if "window" in row else {}
    described["history"] = _events(generation, row, "", items)
    if "target_item_index" in row:
        described["targets"] = _events(generation, row, "target_", items)
    return described


def _events(
    generation: Generation, row: dict[str, Any], prefix: str, items: dict[int, dict[str, Any]]
) -> list[dict[str, Any]]:
    spec, events = generation.spec, []
    behaviours = row.get(f"{prefix}behaviour")
    for position, index in enumerate(row[f"{prefix}item_index"]):
        event: dict[str, Any] = {"time": utc_text(row[f"{prefix}timestamp_ms"][position])}
        if behaviours is not None and spec.interactions.behaviour is not None:
            known = spec.interactions.behaviour.values
            event["behaviour"] = known[behaviours[position] - FIRST_FREE]
        event["item_index"] = index
        event |= items.get(index, {"item_id": None, "features": {}})
        if index not in items:
            buckets = spec.items.catalogue_vocabulary.oov_buckets
            outside = FIRST_FREE <= index < spec.first_item_index
            event["words"] = bucket_words(index, buckets) if outside else "(no such item)"
        events.append(event)
    return events


def _type_of(generation: Generation, path: str, column: str) -> pa.DataType:
    with generation.open_shard(path) as shard:
        return shard.schema_arrow.field(column).type


def _key(text: str, kind: pa.DataType) -> int | str | None:
    """A key in the type of the tables; None if it does not fit that type."""
    cleaned = clean_text(text)
    if cleaned is None or pa.types.is_string(kind):
        return cleaned
    # Only the text that is hashed is a key: neither 007 nor 1_000.
    return int(cleaned) if re.fullmatch(r"0|-?[1-9][0-9]{0,18}", cleaned) else None


def _near_key(given: str, keys: pa.ChunkedArray) -> str:
    """A hint of similar keys, or examples, among those with the same beginning: there may be millions."""
    texts = pl.Series(keys).cast(pl.String)
    text = clean_text(given) or ""
    for length in range(len(text), -1, -1):
        alike = texts.filter(texts.str.to_lowercase().str.starts_with(text[:length].lower()))
        if len(alike):
            close = alike.to_frame("t").sort(
                (pl.col("t").str.len_chars().cast(pl.Int64) - len(text)).abs(), "t"
            )
            near = close["t"].head(_CANDIDATES).to_list()
            hint = suggest(text, near)
            shown = ", ".join(map(repr, near[:_EXAMPLES]))
            return hint if hint.startswith("Did") else f"Known ones are such as {shown}."
    return ""
