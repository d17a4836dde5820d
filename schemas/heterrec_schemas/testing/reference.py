"""A brute-force reference of the contract: the content of the generation of a spec and an input.

Plain dicts, lists and loops, without code of the pipeline or of this package: an independent oracle.
`reference` is the entry and reads from top to bottom: erasure (reference_erase.py), hashes (reference_hashes.py), items,
users (reference_rows.py), interactions (reference_log.py, reference_sequences.py). Cells become tokens in
reference_features.py; reference_values.py reads raw tables.
"""

import math
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from heterrec_schemas.testing.reference_erase import (
    read_erased,
    with_erased_values,
    without_erased,
)
from heterrec_schemas.testing.reference_features import (
    ReferenceFeature,
    Vocabulary,
    encode,
    number_values,
    present_text,
    read_cell,
)
from heterrec_schemas.testing.reference_hashes import read_hashes
from heterrec_schemas.testing.reference_log import (
    Event,
    Log,
    read_events,
    read_time,
    without_dropped,
)
from heterrec_schemas.testing.reference_reductions import Reduction
from heterrec_schemas.testing.reference_rows import (
    KeptRows,
    Reject,
    Rejects,
    key_is_integral,
    one_row_per_key,
    require_columns,
)
from heterrec_schemas.testing.reference_sequences import build_sequences
from heterrec_schemas.testing.reference_values import (
    RawTable,
    RefusedError,
    Row,
    raw_text,
    read_table,
    shown,
    text_of,
)
from heterrec_schemas.testing.reference_vocabularies import with_imported_values


@dataclass
class ReferenceSide:
    """The items, or the users: kept keys, and their features."""

    counts: dict[str, int] = field(default_factory=dict)
    keys: list[str] = field(default_factory=list)
    integral: bool = False
    features: dict[str, ReferenceFeature] = field(default_factory=dict)
    available_from: dict[str, int] = field(default_factory=dict)
    """Key -> time in ms since when the item is listed."""


@dataclass
class Reference:
    """Everything that a generation must hold."""

    vocabularies: dict[str, list[list[tuple[int, Any, int]]]] = field(default_factory=dict)
    """`item`, `<feature>` or `user_<feature>` -> shards -> rows of (id, value, count)."""
    boundaries: dict[str, list[float]] = field(default_factory=dict)
    quantizers: dict[str, dict[tuple[int, int], float]] = field(default_factory=dict)
    """Name -> (dim, edge_index) -> edge."""
    codebooks: dict[str, list[list[list[float]]]] = field(default_factory=dict)
    """Name -> the centroids of each codebook."""
    reductions: dict[str, Reduction] = field(default_factory=dict)
    items: list[Row] = field(default_factory=list)
    """In the order of item_index, of all shards."""
    retired: list[Row] = field(default_factory=list)
    """Items that have left the catalogue, like `items`."""
    sequences: dict[str, list[list[Row]]] = field(default_factory=dict)
    """Split -> shards -> rows."""
    item_counts: list[tuple[int, int]] = field(default_factory=list)
    first_interactions: list[tuple[int, int]] = field(default_factory=list)
    """item_index and time of its first kept interaction, of a temporal split; ascending."""
    available_from: list[tuple[int, int]] = field(default_factory=list)
    """item_index and time since when the item is listed, of those that have one; ascending."""
    counts: dict[str, Any] = field(default_factory=dict)
    cuts: dict[str, int] = field(default_factory=dict)
    rejects: Counter[Reject] = field(default_factory=Counter)
    reject_places: Counter[tuple[str, str, int, str]] = field(default_factory=Counter)
    """source, file, row, reason of rejected rows, for reasons that concern one row alone."""
    features: dict[tuple[str, str], ReferenceFeature] = field(default_factory=dict)
    """(side, name) -> the feature."""
    integral: dict[str, bool] = field(default_factory=dict)
    """Vocabulary name, or user_id -> whether its values are int64."""


def reference(
    spec: Row, input_dir: Path, parent: Reference | None = None, refit: Collection[str] = ()
) -> Reference:
    """The generation of a spec (its YAML, loaded) over a folder of input.

    Args:
        spec: the spec.
        input_dir: the input.
        parent: the generation that is refreshed, if any.
        refit: features that are fitted anew, by the names of their files (user features after `user_`).

    Raises:
        RefusedError: the contract allows no generation of this input.
    """
    out = Reference()
    hashes = read_hashes(spec)
    rejects = Rejects(hashes)
    table = read_table(spec["interactions"]["source"], input_dir)
    require_columns(table, _log_columns(spec))
    erased = read_erased(spec, input_dir)
    spec = with_erased_values(spec, erased)
    spec = with_imported_values(spec, input_dir, parent.features if parent else ())
    dead = {spec["interactions"]["user"]: erased.users, spec["interactions"]["item"]: erased.items}
    table, erased_rows = without_erased(table, dead)
    table, dropped_rows = without_dropped(spec["interactions"], table)
    missing_keys = spec["interactions"].get("missing_values", [])
    table = hashes.without_ids(table, spec["interactions"]["user"], missing_keys)
    catalogue = spec["items"].get("catalogue_vocabulary", {})
    buckets = catalogue.get("oov_buckets", 0)

    frozen = _frozen(parent, refit)
    log = read_events(spec["interactions"], table)
    rejects.source("interactions", table)
    if spec["items"]["source"] == "interactions":
        items = denormalised_items(spec["items"], table, log, rejects, frozen)
    else:
        items = table_side(
            spec["items"], "items", "duplicate_item", input_dir, rejects, erased.items, frozen
        )
    if not items.keys:
        raise RefusedError("no item is left")
    items.integral &= parent is None or parent.integral["item"]
    vocabulary = number_values(
        dict.fromkeys(items.keys, 1),
        integral=items.integral,
        parent=None if parent is None else parent.vocabularies["item"],
        erased=erased.items,
        oov_buckets=buckets,
        shards=catalogue.get("shards"),
    )
    out.vocabularies["item"] = vocabulary
    for index, value, _ in sorted(row for shard in vocabulary for row in shard if row[2]):
        tokens = {name: f.tokens[str(value)] for name, f in items.features.items()}
        out.items.append({"item_index": index, "item_id": value, **tokens})
    keep = "drop" if spec["items"]["source"] == "interactions" else "keep"
    if parent is not None and spec["items"].get("retired", keep) == "keep":
        out.retired = _retired_rows(parent, vocabulary, items, refit)

    users = None
    if "source" in spec.get("users", {}):
        users = table_side(
            spec["users"], "users", "duplicate_user", input_dir, rejects, erased.users, frozen
        )
    index_of = {str(row["item_id"]): row["item_index"] for row in out.items}
    out.available_from = sorted((index_of[k], t) for k, t in items.available_from.items())
    catalogue = set(index_of.values())
    index_of |= {str(row["item_id"]): row["item_index"] for row in out.retired}
    build_sequences(spec, log, index_of, out, catalogue)
    out.counts["interactions"]["read"] += erased_rows + dropped_rows
    out.counts["interactions"] |= {"erased": erased_rows, "filtered": dropped_rows}
    _add_columns(spec, out, items, users)

    for event in log.rejected:
        if event.row not in table.short:
            rejects.add("interactions", event.row, event.column, event.reason, event.value)
    gone = sum(not count and value is not None for rows in vocabulary for _, value, count in rows)
    out.counts["items"] = items.counts | {"retired": gone}
    if users is not None:
        out.counts["users"] = users.counts
    for side, name, prefix in ((items, "item", ""), (users, "user", "user_")):
        for feature, encoded in (side.features if side else {}).items():
            out.features[name, feature] = encoded
            if encoded.vocabulary is not None:
                out.vocabularies[prefix + feature] = encoded.vocabulary
                out.integral[prefix + feature] = encoded.integral
            if encoded.edges is not None:
                out.boundaries[prefix + feature] = encoded.edges
            if encoded.quantizer is not None:
                out.quantizers[prefix + feature] = encoded.quantizer
            if encoded.books is not None:
                out.codebooks[prefix + feature] = encoded.books
            if encoded.reduction is not None:
                out.reductions[prefix + feature] = encoded.reduction
    out.integral |= {"item": items.integral, "user_id": log.integral_user}
    out.rejects, out.reject_places = rejects.entries, rejects.places
    rejects.check(spec.get("limits", {}).get("max_reject_ratio", 0.01))
    return out


def _frozen(
    parent: Reference | None, refit: Collection[str]
) -> dict[tuple[str, str], ReferenceFeature]:
    """(side, name) -> the parent's feature, of those that keep their ids and edges."""
    named = {"item": "", "user": "user_"}
    features = parent.features if parent else {}
    return {key: f for key, f in features.items() if named[key[0]] + key[1] not in refit}


def _retired_rows(
    parent: Reference, vocabulary: Vocabulary, items: ReferenceSide, refit: Collection[str]
) -> list[Row]:
    """The parent's rows of items that are retired now; refitted and new features are missing."""
    ids = {number: value for shard in vocabulary for number, value, count in shard if not count}
    rows = []
    for row in sorted([*parent.items, *parent.retired], key=lambda r: int(r["item_index"])):
        if (value := ids.get(row["item_index"])) is None:
            continue
        tokens = {
            name: row[name] if name in row and name not in refit else f.absent
            for name, f in items.features.items()
        }
        rows.append({"item_index": row["item_index"], "item_id": value, **tokens})
    return rows


# --- a table of items or users ---------------------------------------------------------------


def table_side(
    spec: Row,
    source: str,
    duplicate: str,
    input_dir: Path,
    rejects: Rejects,
    erased: set[str],
    frozen: dict[tuple[str, str], ReferenceFeature],
) -> ReferenceSide:
    """Items (with joined tables) or users from a table of their own."""
    tables = [(source, spec["key"], read_table(spec["source"], input_dir))]
    missing_keys = [owner.get("missing_values", []) for owner in (spec, *spec.get("joins", []))]
    for k, join in enumerate(spec.get("joins", [])):
        tables.append((f"items.joins[{k}]", join["key"], read_table(join["source"], input_dir)))
    homes = _find_homes(spec, [table for _, _, table in tables])
    cut = [without_erased(table, {key: erased}) for _, key, table in tables]
    tables = [(name, key, left) for (name, key, _), (left, _) in zip(tables, cut, strict=True)]
    if source == "users":
        left = rejects.hashes.without_ids(tables[0][2], spec["key"], missing_keys[0])
        tables[0] = (source, spec["key"], left)
    side = ReferenceSide(integral=key_is_integral(tables[0][2], tables[0][1]))

    kept_of: list[KeptRows] = []
    for k, (name, key, table) in enumerate(tables):
        listed = spec.get("available_from") if k == 0 else None
        require_columns(table, [key, *([listed["column"]] if listed else [])])
        key_is_integral(table, key)
        columns = {
            f["column"]: f["kind"] == "embedding"
            for f, home in zip(spec.get("features", []), homes, strict=True)
            if home == k
        }
        columns |= {listed["column"]: False} if listed else {}
        reason = duplicate if k == 0 else "duplicate_row"
        kept_of.append(one_row_per_key(name, table, key, columns, reason, rejects, missing_keys[k]))
    side.keys = list(kept_of[0].rows)
    side.counts = {
        "read": kept_of[0].read + cut[0][1],
        "kept": len(side.keys),
        "rejected": kept_of[0].rejected,
        "repeated": kept_of[0].repeated,
        "erased": cut[0][1],
        "filtered": 0,
    }

    if listed := spec.get("available_from"):
        for key, (position, row) in kept_of[0].rows.items():
            cell = row.get(listed["column"])
            if text_of(cell) is None:
                continue
            time, why = read_time(listed, cell)
            if time is None:
                rejects.add(source, position, listed["column"], why, shown(cell))
            else:
                side.available_from[key] = time
    for feature, home in zip(spec.get("features", []), homes, strict=True):
        values: dict[str, Any] = {}
        for key in side.keys:
            position, row = kept_of[home].rows.get(key, (-1, {}))
            cell = row.get(feature["column"])
            values[key], bad, value = read_cell(feature, cell)
            if bad:
                rejects.add(tables[home][0], position, feature["column"], bad, value)
        raw_column = tables[home][2].column(feature["column"])
        parent = frozen.get(("user" if source == "users" else "item", feature["name"]))
        side.features[feature["name"]] = encode(feature, values, raw_column, parent)
    return side


def _find_homes(spec: Row, tables: list[RawTable]) -> list[int]:
    """The position of the table of each feature's column: the first that has it."""
    homes = []
    for feature in spec.get("features", []):
        found = [k for k, table in enumerate(tables) if table.has(feature["column"])]
        if not found:
            raise RefusedError(f"no table has the column {feature['column']!r}")
        homes.append(found[0])
    return homes


# --- items out of the log --------------------------------------------------------------------


def denormalised_items(
    spec: Row,
    table: RawTable,
    log: Log,
    rejects: Rejects,
    frozen: dict[tuple[str, str], ReferenceFeature],
) -> ReferenceSide:
    """Items from the log: from every row with a readable item and time."""
    seen: dict[str, list[Event]] = {}
    for event in log.readable_items:
        seen.setdefault(event.item, []).append(event)
    side = ReferenceSide(keys=list(seen), integral=key_is_integral(table, spec["key"]))
    nothing = dict.fromkeys(("rejected", "repeated", "erased", "filtered"), 0)
    side.counts = {"read": len(seen), "kept": len(seen)} | nothing
    for feature in spec.get("features", []):
        require_columns(table, [feature["column"]])
        values = {key: _aggregate(feature, events, rejects) for key, events in seen.items()}
        raw_column = table.column(feature["column"])
        parent = frozen.get(("item", feature["name"]))
        side.features[feature["name"]] = encode(feature, values, raw_column, parent)
    return side


def _aggregate(feature: Row, events: list[Event], rejects: Rejects) -> Any:
    """The single value of an item, from all its rows."""
    vector = feature["kind"] == "embedding"
    found = []
    for event in events:
        cell = event.raw.get(feature["column"])
        value, bad, bad_value = read_cell(feature, cell)
        if bad:
            rejects.add("interactions", event.row, feature["column"], bad, bad_value)
        scalar = not isinstance(cell, list | dict)
        text = present_text(feature, cell) if scalar else None
        if not scalar:
            text = raw_text(cell, vector=vector) if cell else None
        if text is not None:
            found.append((event.time, event.order_key, text.encode("utf-8"), value))
    empty = read_cell(feature, None)[0]
    how = feature.get("aggregate", "latest")
    if how == "latest":
        if not found:
            return empty
        time = max(f[0] for f in found)
        order = max(f[1] for f in found if f[0] == time)
        return min((f[2:] for f in found if f[:2] == (time, order)), key=lambda f: f[0])[1]
    numbers = sorted(f[3] for f in found if not math.isnan(f[3]))
    if not numbers:
        return empty
    if how == "mean":
        return math.fsum(numbers) / len(numbers) + 0.0
    return (numbers[(len(numbers) - 1) // 2] + numbers[len(numbers) // 2]) / 2 + 0.0


# --- columns of other tables in the sequences ------------------------------------------------


def _log_columns(spec: Row) -> list[str]:
    log = spec["interactions"]
    columns = [log["user"], log["item"], log["timestamp"]["column"]]
    if "behaviour" in log:
        columns.append(log["behaviour"]["column"])
    if "order" in log:
        columns.append(log["order"])
    return columns


def _add_columns(
    spec: Row, out: Reference, items: ReferenceSide, users: ReferenceSide | None
) -> None:
    """user_<feature> and, in the flattened layout, item_<feature>."""
    row_of = {row["item_index"]: row for row in [*out.items, *out.retired]}
    flattened = spec.get("output", {}).get("layout", "referenced") == "flattened"
    for shards in out.sequences.values():
        for row in [row for shard in shards for row in shard]:
            if flattened:
                for name, f in items.features.items():
                    row[f"item_{name}"] = [
                        row_of[i][name] if i in row_of else f.absent for i in row["item_index"]
                    ]
            for name, f in (users.features if users else {}).items():
                row[f"user_{name}"] = f.tokens.get(str(row["user_id"]), f.absent)
