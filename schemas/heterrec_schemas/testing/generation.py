"""Write a whole small generation without the pipeline, so that its readers can be tested alone."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from heterrec_schemas.feature_spec import FeatureSpec, parse_spec, spec_sha256
from heterrec_schemas.hashing import stable_hash
from heterrec_schemas.manifest import (
    LATEST_NAME,
    MANIFEST_NAME,
    SPLITS,
    Counts,
    FeatureEntry,
    FileEntry,
    Manifest,
    RowCounts,
    content_sha256,
)
from heterrec_schemas.publish_schemas import schema_files
from heterrec_schemas.tables import (
    ITEM_COUNTS_SCHEMA,
    REJECTS_SCHEMA,
    ROW_GROUP,
    WIDE_ROW_GROUP,
    items_schema,
    sequences_schema,
    shard_name,
    with_metadata,
)
from heterrec_schemas.testing.encode import Encoded, encode, vocabulary_tables
from heterrec_schemas.testing.sequences import Row, Sequenced, sequence, sequence_columns
from heterrec_schemas.testing.shop import Settings, Shop, shop, spec_text
from heterrec_schemas.tokens import ITEM_VOCABULARY, number_vocabulary, vocabulary_shards
from heterrec_schemas.values import value_text


def small_generation(
    folder: str | Path,
    seed: int = 0,
    *,
    settings: Settings | None = None,
    goods: Shop | None = None,
) -> Path:
    """Write a generation of a shop into an output folder, and publish it.

    Args:
        folder: the output folder, made if absent; an earlier generation of the seed is replaced.
        seed: of the shop; part of the generation's id.
        settings: what the spec says; the formats decide which keys are integers (CSV is text).
        goods: another shop than `shop(seed)`.

    Returns:
        The generation's own folder; `folder` can be opened as well.
    """
    chosen, rows = settings or Settings(), goods or shop(seed)
    text = spec_text(rows, chosen)
    writer = _Writer(Path(folder), f"20240101T000000000Z-{seed % 2**32:08x}")
    manifest = _Build(parse_spec(text), rows, chosen).write(writer, text)
    writer.publish(manifest)
    return writer.root


class _Writer:
    """Writes files and remembers what the manifest will say about them."""

    def __init__(self, output: Path, generation: str) -> None:
        self.output, self.generation = output, generation
        self.root = output / "generations" / generation
        self.files: list[FileEntry] = []

    def table(self, path: str, table: pa.Table, row_group: int = ROW_GROUP) -> None:
        target = self._target(path)
        pq.write_table(table, target, compression="zstd", row_group_size=row_group)
        self._remember(path, len(table))

    def text(self, path: str, text: str) -> None:
        self._target(path).write_text(text, encoding="utf-8")
        self._remember(path, None)

    def publish(self, manifest: Manifest) -> None:
        self._target(MANIFEST_NAME).write_text(manifest.to_json(), encoding="utf-8")
        latest = json.dumps({"generation": self.generation})
        (self.output / LATEST_NAME).write_text(latest, encoding="utf-8")

    def _target(self, path: str) -> Path:
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        return target

    def _remember(self, path: str, rows: int | None) -> None:
        data = (self.root / path).read_bytes()
        digest = hashlib.sha256(data).hexdigest()
        self.files.append(FileEntry(path=path, rows=rows, bytes=len(data), sha256=digest))


class _Build:
    """One generation in the making: the catalogue, then the users, then the sequences."""

    def __init__(self, spec: FeatureSpec, goods: Shop, settings: Settings) -> None:
        self.spec, self.goods, self.settings = spec, goods, settings
        self.vocabulary = self._number_items()
        self.item_keys: list[str] = self.vocabulary["value"].to_list()
        self.index = dict(zip(self.item_keys, self.vocabulary["id"], strict=True))
        self.items = self._encode_items()
        self.user_keys = _keys(goods.users["user_id"])
        self.users = [
            encode(
                feature,
                goods.users[feature.column].to_pylist(),
                side="user",
                integral=self.whole("users", feature.column),
            )
            for feature in spec.user_features
        ]

    def write(self, writer: _Writer, spec: str) -> Manifest:
        """Write everything but the manifest, which is returned."""
        sequenced = sequence(self.spec, self.goods.interactions, self.index)
        writer.text("spec.yaml", spec)
        for name, text in schema_files().items():
            writer.text(f"schema/{name}", text)
        self._write_features(writer)
        self._write_items(writer)
        for split in SPLITS:
            self._write_split(writer, split, sequenced.splits[split])
        _write_rest(writer, sequenced)
        return self._manifest(writer, sequenced, spec)

    def whole(self, table: str, column: str) -> bool:
        """Whether a column is read as integers; CSV cells are text, whatever the raw table held."""
        kind = self.goods.tables()[table].schema.field(column).type
        as_text = self.settings.format_of(table).startswith("csv")
        return bool(pa.types.is_integer(kind)) and not as_text

    def _number_items(self) -> pl.DataFrame:
        keys, layout = _keys(self.goods.items["item_id"]), self.spec.items.catalogue_vocabulary
        return number_vocabulary(
            pl.DataFrame({"value": keys, "count": np.ones(len(keys), np.int64)}),
            integral=self.whole("items", "item_id"),
            oov_buckets=layout.oov_buckets,
            shards=layout.shards,
        )

    def _encode_items(self) -> list[Encoded]:
        cells: dict[str, dict[str, Any]] = {key: {} for key in self.item_keys}
        for table in (self.goods.items, self.goods.details):
            for row in table.to_pylist() if table is not None else ():
                cells[value_text(row["item_id"]) or ""] |= row
        return [
            encode(
                feature,
                [cells[key].get(feature.column) for key in self.item_keys],
                side="item",
                integral=False,
            )
            for feature in self.spec.items.features
        ]

    def entries(self, side: str) -> list[FeatureEntry]:
        """The manifest's lines of one side, `item` or `user`."""
        return [encoded.entry for encoded in (self.items if side == "item" else self.users)]

    def _write_features(self, writer: _Writer) -> None:
        whole = self.whole("items", "item_id")
        layout = self.spec.items.catalogue_vocabulary
        tables = vocabulary_tables(
            self.vocabulary,
            shards=vocabulary_shards(len(self.vocabulary), layout.shards),
            integral=whole,
            feature=ITEM_VOCABULARY,
            kind=ITEM_VOCABULARY,
            oov_buckets=layout.oov_buckets,
        )
        files: dict[str, Any] = {f"vocabularies/{ITEM_VOCABULARY}": tables}
        for encoded in (*self.items, *self.users):
            files |= encoded.files
        for stem, table in files.items():
            if not isinstance(table, list):
                writer.table(f"{stem}.parquet", table)
                continue
            for shard, part in enumerate(table):
                writer.table(shard_name(stem, shard, len(table)), part)

    def _write_items(self, writer: _Writer) -> None:
        whole = self.whole("items", "item_id")
        schema = items_schema(self.spec, integral=whole, entries=self.entries("item"))
        columns = {
            "item_index": list(self.index.values()),
            "item_id": _typed(self.item_keys, whole),
        }
        columns |= {encoded.entry.name: encoded.tokens for encoded in self.items}
        table, shards = pa.table(columns, schema=schema), self.spec.output.item_shards
        for shard in range(shards):
            start, stop = (n * len(table) // shards for n in (shard, shard + 1))
            name = shard_name("items/items", shard, shards)
            writer.table(name, table.slice(start, stop - start), WIDE_ROW_GROUP)

    def _write_split(self, writer: _Writer, split: str, rows: list[Row]) -> None:
        whole, shards = self.whole("interactions", "user_id"), self.spec.output.sequence_shards
        flattened = self.spec.output.layout == "flattened"
        entries = self.entries("item") * flattened + self.entries("user")
        schema = sequences_schema(self.spec, split, integral=whole, entries=entries)
        for shard in range(shards):
            inside = [row for row in rows if stable_hash(row.user) % shards == shard]
            columns = {"user_id": _typed([row.user for row in inside], whole)}
            columns |= sequence_columns(self.spec, split, inside)
            columns |= self._flattened(inside)
            for encoded in self.users:
                tokens = dict(zip(self.user_keys, encoded.tokens, strict=True))
                columns[f"user_{encoded.entry.name}"] = [
                    tokens.get(row.user, encoded.absent) for row in inside
                ]
            name = shard_name(f"sequences/{split}", shard, shards)
            writer.table(name, pa.table(columns, schema=schema), WIDE_ROW_GROUP)

    def _flattened(self, rows: list[Row]) -> dict[str, list[Any]]:
        """The tokens of every item of a history; an item without a row has missing ones."""
        if self.spec.output.layout == "referenced":
            return {}
        return {
            f"item_{encoded.entry.name}": [
                [_lookup(self.index, encoded, event.item) for event in row.history] for row in rows
            ]
            for encoded in self.items
        }

    def _manifest(self, writer: _Writer, sequenced: Sequenced, spec: str) -> Manifest:
        counts = Counts(
            items=RowCounts(read=len(self.item_keys), kept=len(self.item_keys), rejected=0),
            users=RowCounts(read=len(self.user_keys), kept=len(self.user_keys), rejected=0),
            interactions=sequenced.counts,
            sequences={split: len(rows) for split, rows in sequenced.splits.items()},
        )
        return Manifest(
            generation=writer.generation,
            created="2024-01-01T00:00:00.000Z",
            name=self.spec.name,
            spec_sha256=spec_sha256(spec),
            content_sha256=content_sha256(writer.files),
            files=sorted(writer.files, key=lambda f: f.path),
            features=self.entries("item") + self.entries("user"),
            item_vocabulary_size=max(self.index.values()) + 1,
            counts=counts,
            rejects={},
            cuts=sequenced.cuts,
            inputs=[],
            libraries={"pyarrow": pa.__version__},
        )


def _write_rest(writer: _Writer, sequenced: Sequenced) -> None:
    counted = sequenced.train_counts
    schema = with_metadata(ITEM_COUNTS_SCHEMA, "item_counts")
    table = pa.table([list(counted), list(counted.values())], schema=schema)
    writer.table(shard_name("item_counts/item_counts", 0, 1), table)
    empty = with_metadata(REJECTS_SCHEMA, "rejects").empty_table()
    writer.table(shard_name("rejects/rejects", 0, 1), empty)
    writer.text("statistics.json", "{}\n")


def _keys(column: pa.ChunkedArray) -> list[str]:
    return [value_text(key) or "" for key in column.to_pylist()]


def _typed(keys: list[str], whole: bool) -> list[Any]:
    return [int(key) for key in keys] if whole else list(keys)


def _lookup(index: Mapping[str, int], encoded: Encoded, item: str) -> Any:
    first = min(index.values())
    return encoded.tokens[index[item] - first] if item in index else encoded.absent
