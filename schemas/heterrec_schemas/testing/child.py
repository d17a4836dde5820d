"""Write a child of a small generation, so that readers of refreshed generations can be tested without the pipeline.

The tables of the parent (leave_one_out, referenced) are changed row by row. Readers cannot tell the child from a refresh, but
it is not computed from an input.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from heterrec_schemas.feature_spec import parse_spec, spec_sha256
from heterrec_schemas.generation import Generation, open_generation
from heterrec_schemas.hashing import stable_hash
from heterrec_schemas.manifest import (
    LATEST_NAME,
    MANIFEST_NAME,
    SPLITS,
    FeatureEntry,
    Manifest,
    content_sha256,
)
from heterrec_schemas.tables import (
    ACTIVE,
    ERASED,
    ITEM_COUNTS_SCHEMA,
    RETIRED,
    items_schema,
    vocabulary_schema,
    with_metadata,
)
from heterrec_schemas.testing.generation import Tables, file_entry, made, shards_of
from heterrec_schemas.tokens import FIRST_FREE, ITEM_VOCABULARY, MISSING

Row = dict[str, Any]
COLOURS = ["red", "blue"]
"""Values of a feature that begins in a child."""


@dataclass(frozen=True, kw_only=True)
class Changes:
    """How a child differs from its parent; items are named by their ids.

    Attributes:
        new: items that come, each with the row of another item and in every history with that item.
        retire: items that leave the catalogue and keep a row in `retired/`.
        erase: items that are erased.
        admit: values of vocabularies that get an id; the items in their bucket move to it. Users keep their tokens.
        erase_values: values of vocabularies that are erased.
        refit: numeric features of items whose edges change.
        begin: name of a categorical item feature that begins, with the values of COLOURS; None for none.
        behaviours: further values of the behaviour.
        features: the item features in another order; None keeps the order.
    """

    new: Mapping[str, str] = field(default_factory=dict)
    retire: Sequence[str] = ()
    erase: Sequence[str] = ()
    admit: Mapping[str, Sequence[str | int]] = field(default_factory=dict)
    erase_values: Mapping[str, Sequence[str]] = field(default_factory=dict)
    refit: Sequence[str] = ()
    begin: str | None = None
    behaviours: Sequence[str] = ()
    features: Sequence[str] | None = None


def child_generation(parent: str | Path, changes: Changes | None = None) -> Path:
    """Write a child of a generation beside it, and publish it.

    Args:
        parent: an output folder on a local disk, or a generation's own folder.
        changes: how the child differs; the default changes nothing.

    Returns:
        The child's own folder.
    """
    child = _Child(open_generation(parent), changes or Changes())
    child.change()
    return child.write()


class _Child:
    """The content of a child, as lists of rows."""

    def __init__(self, parent: Generation, changes: Changes) -> None:
        self.parent, self.changes = parent, changes
        day = len(parent.manifest.lineage) + 2
        self.id = f"202401{day:02d}T000000000Z-{parent.manifest.generation[-8:]}"
        self.spec: Row = yaml.safe_load(Path(parent.locate("spec.yaml")).read_text("utf-8"))
        self.entries = [
            entry.model_copy(
                update={
                    "begun": entry.begun or parent.manifest.generation,
                    "fitted": entry.fitted or parent.manifest.generation,
                }
            )
            for entry in parent.manifest.features
        ]
        self.items: list[Row] = parent.items().to_pylist()
        retired = parent.retired_shards()
        self.retired: list[Row] = parent.read(retired).to_pylist() if retired else []
        self.vocabularies = {
            name: [parent.read([path]).to_pylist() for path in parent.vocabulary_shards(name)]
            for name in (ITEM_VOCABULARY, *parent.spec.vocabularies)
        }
        self.boundaries = {name: parent.boundaries(name).tolist() for name in changes.refit}
        self.sequences: dict[str, list[list[Row]]] = {
            split: [parent.read([path]).to_pylist() for path in parent.sequence_shards(split)]
            for split in SPLITS
        }

    def change(self) -> None:
        """Make all changes."""
        changes = self.changes
        if changes.behaviours:
            self.spec["interactions"]["behaviour"]["values"] += changes.behaviours
        self._change_items()  # first: retired items keep the parent's tokens
        for name, values in changes.erase_values.items():
            self._erase_values(name, values)
        for name, admitted in changes.admit.items():
            self._admit(name, admitted)
        for name in changes.refit:
            self._refit(name)
        if changes.begin is not None:
            self._begin(changes.begin)
        if changes.features is not None:
            declared = {f["name"]: f for f in self.spec["items"]["features"]}
            self.spec["items"]["features"] = [declared[name] for name in changes.features]

    def write(self) -> Path:
        """Write and publish the child."""
        root = Path(self.parent.root).parent / self.id
        text = yaml.safe_dump(self.spec, sort_keys=False)
        made(root / "spec.yaml").write_text(text, encoding="utf-8")
        files = [file_entry(root, "spec.yaml", None)]
        for stem, table in self._tables().items():
            pq.write_table(table, made(root / f"{stem}.parquet"), compression="zstd")
            files.append(file_entry(root, f"{stem}.parquet", len(table)))
        before = self.parent.manifest
        counts = before.counts.model_dump()
        counts["items"] |= {"read": len(self.items), "kept": len(self.items), "rejected": 0}
        counts["items"]["retired"] = len(self.retired)
        counts["sequences"] = {s: sum(map(len, parts)) for s, parts in self.sequences.items()}
        own = {"generation": before.generation, "content_sha256": before.content_sha256}
        manifest = Manifest.model_validate(
            {
                **before.model_dump(),
                "generation": self.id,
                "parent": before.generation,
                "lineage": [*(known.model_dump() for known in before.lineage), own],
                "drift": "pass",
                "spec_sha256": spec_sha256(text),
                "content_sha256": content_sha256(files),
                "files": sorted(files, key=lambda f: f.path),
                "features": [entry.model_dump() for entry in self.entries],
                "item_vocabulary_size": self._next_id(ITEM_VOCABULARY),
                "counts": counts,
                "manifest_sha256": None,
            }
        )
        (root / MANIFEST_NAME).write_text(manifest.to_json(), encoding="utf-8")
        latest = root.parents[1] / LATEST_NAME
        latest.write_text(json.dumps({"generation": self.id}), encoding="utf-8")
        return root

    # --- changes

    def _change_items(self) -> None:
        changes = self.changes
        index = {str(row["item_id"]): row["item_index"] for row in self.items}
        rows = {str(row["item_id"]): row for row in self.items}
        leaving = {*changes.retire, *changes.erase}
        self.retired += [rows[name] for name in changes.retire]
        self.retired.sort(key=lambda row: int(row["item_index"]))
        self.items = [row for row in self.items if str(row["item_id"]) not in leaving]
        for name, like in changes.new.items():
            number = self._append(ITEM_VOCABULARY, name)
            self.items.append({**rows[like], "item_index": number, "item_id": name})
            for row in self._histories():
                _add_event(row, index[like], number)
        for row in self._rows(ITEM_VOCABULARY):
            if str(row["value"]) in leaving:
                row |= {"count": 0, "status": RETIRED}
                if row["value"] in changes.erase:
                    row |= {"value": None, "status": ERASED}
        erased = {index[name] for name in changes.erase}
        retired = {index[name] for name in changes.retire}
        for row in self._histories():
            _drop(row, "", erased)
            _drop(row, "target_", erased | retired)
        for split, parts in self.sequences.items():
            for part in parts:
                part[:] = [
                    row
                    for row in part
                    if len(row["item_index"]) >= (2 if split == "train" else 1)
                    and row.get("target_item_index", True)
                ]

    def _admit(self, name: str, values: Sequence[str | int]) -> None:
        of_users = name.startswith("user_")
        buckets = getattr(self.parent.feature(name), "oov_buckets", 0)
        for value in values:
            number = self._append(name, value)
            if not of_users:
                bucket = FIRST_FREE + stable_hash(str(value)) % buckets if buckets else MISSING
                self._move(name, {bucket: number})
        side = "user" if of_users else "item"
        self._entry(name.removeprefix("user_"), {"vocabulary_size": self._next_id(name)}, side)

    def _erase_values(self, name: str, values: Sequence[str]) -> None:
        for row in self._rows(name):
            if str(row["value"]) in values:
                self._move(name, {row["id"]: MISSING})
                row |= {"value": None, "count": 0, "status": ERASED}

    def _refit(self, name: str) -> None:
        edges = self.boundaries[name]
        self.boundaries[name] = [edge + 1 for edge in edges]
        bins = len(edges) + 1
        self._move(name, {FIRST_FREE + b: FIRST_FREE + (b + 1) % bins for b in range(bins)})
        for row in self.retired:
            row[name] = MISSING
        self._entry(name, {"fitted": self.id, "boundary_version": 2})

    def _begin(self, name: str) -> None:
        feature = {"name": name, "kind": "categorical", "column": name}
        self.spec["items"]["features"].append(feature)
        rows = [
            {"id": FIRST_FREE + k, "value": value, "count": 1, "status": ACTIVE}
            for k, value in enumerate(COLOURS)
        ]
        self.vocabularies[name] = [rows]
        for row in self.items:
            row[name] = FIRST_FREE + row["item_index"] % len(COLOURS)
        for row in self.retired:
            row[name] = MISSING
        size = self._next_id(name)
        entry = {"name": name, "kind": "categorical", "side": "item", "vocabulary_size": size}
        entry |= {"missing": 0, "oov": 0, "begun": self.id, "fitted": self.id}
        self.entries.append(FeatureEntry.model_validate(entry))

    def _append(self, name: str, value: str | int) -> int:
        """Give a value the next id."""
        number, shards = self._next_id(name), self.vocabularies[name]
        row = {"id": number, "value": value, "count": 1, "status": ACTIVE}
        shards[stable_hash(str(value)) % len(shards)].append(row)
        return number

    def _next_id(self, name: str) -> int:
        return 1 + max(int(row["id"]) for row in self._rows(name))

    def _rows(self, name: str) -> list[Row]:
        return [row for shard in self.vocabularies[name] for row in shard]

    def _entry(self, name: str, update: Row, side: str = "item") -> None:
        self.entries = [
            entry.model_copy(update=update) if (entry.side, entry.name) == (side, name) else entry
            for entry in self.entries
        ]

    def _move(self, name: str, new: Mapping[int, int]) -> None:
        """Change tokens of an item feature, given by their old ones; in a list, missing tokens are left out."""
        for row in self.items:
            cell = row[name]
            if isinstance(cell, list):
                moved = dict.fromkeys(new.get(token, token) for token in cell)
                row[name] = [token for token in moved if token != MISSING] or [MISSING]
            else:
                row[name] = new.get(cell, cell)

    def _histories(self) -> Iterator[Row]:
        """The rows of all splits."""
        return (row for parts in self.sequences.values() for part in parts for row in part)

    # --- tables

    def _tables(self) -> Tables:
        spec = parse_spec(yaml.safe_dump(self.spec, sort_keys=False))
        parent = self.parent
        tables: Tables = {}
        changed = ("items/", "retired/", "sequences/", "vocabularies/", "item_counts/")
        for entry in parent.manifest.files:
            stem = entry.path.removesuffix(".parquet")
            name = stem.removeprefix("boundaries/")
            if entry.path.endswith(".parquet") and not entry.path.startswith(changed):
                table = parent.read([entry.path])
                if name in self.boundaries:
                    edges = pa.array(self.boundaries[name], pa.float64())
                    table = pa.table([edges], schema=table.schema)
                tables[stem] = table
        declared = {entry.name: entry for entry in self.entries if entry.side == "item"}
        items = [declared[feature.name] for feature in spec.items.features]
        integral = pa.types.is_integer(parent.items(["item_id"])["item_id"].type)
        schema = items_schema(spec, integral=integral, entries=items)
        for folder, rows in (("items", self.items), ("retired", self.retired)):
            cuts = [
                len(rows) * k // spec.output.item_shards for k in range(spec.output.item_shards + 1)
            ]
            parts = [rows[start:stop] for start, stop in pairwise(cuts)]
            tables |= shards_of(f"{folder}/items", parts, schema) if rows else {}
        for name, shards in self.vocabularies.items():
            tables |= shards_of(f"vocabularies/{name}", shards, self._vocabulary_schema(name))
        for split, parts in self.sequences.items():
            path = parent.sequence_shards(split)[0]
            tables |= shards_of(f"sequences/{split}", parts, parent.read([path]).schema)
        counted = Counter(
            item for part in self.sequences["train"] for row in part for item in row["item_index"]
        )
        rows = [
            dict(zip(ITEM_COUNTS_SCHEMA.names, pair, strict=True))
            for pair in sorted(counted.items())
        ]
        schema = with_metadata(ITEM_COUNTS_SCHEMA, "item_counts")
        return tables | shards_of("item_counts/item_counts", [rows], schema)

    def _vocabulary_schema(self, name: str) -> pa.Schema:
        if name == self.changes.begin:
            return vocabulary_schema(integral=False, feature=name)
        schema = self.parent.read(self.parent.vocabulary_shards(name)[:1]).schema
        at = schema.get_field_index("value")
        return schema.set(at, schema.field(at).with_nullable(True))


def _add_event(row: Row, like: int, new: int) -> None:
    """Append an interaction with a new item to a history with the item that it is like."""
    if like in row["item_index"]:
        for name in ("item_index", "timestamp_ms", "behaviour"):
            if name in row:
                row[name] = [*row[name], new if name == "item_index" else row[name][-1]]


def _drop(row: Row, prefix: str, items: set[int]) -> None:
    """Remove the interactions with some items."""
    events = row.get(f"{prefix}item_index", [])
    for name in ("item_index", "timestamp_ms", "behaviour"):
        if f"{prefix}{name}" in row:
            cells = zip(row[f"{prefix}{name}"], events, strict=True)
            row[f"{prefix}{name}"] = [cell for cell, item in cells if item not in items]
