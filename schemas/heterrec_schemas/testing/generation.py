"""Write a whole small generation without the pipeline, so that its readers can be tested alone."""

import hashlib
import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from heterrec_schemas.codebooks import codebooks_schema
from heterrec_schemas.feature_spec import FeatureSpec, Temporal, parse_spec, spec_sha256
from heterrec_schemas.manifest import (
    LATEST_NAME,
    MANIFEST_NAME,
    FeatureEntry,
    FileEntry,
    Manifest,
    content_sha256,
)
from heterrec_schemas.publish_schemas import published_files
from heterrec_schemas.reductions import SUFFIX, reduction_schema
from heterrec_schemas.rejects import REJECTS_SCHEMA
from heterrec_schemas.tables import (
    AVAILABLE_FROM_SCHEMA,
    BOUNDARIES_SCHEMA,
    FIRST_INTERACTION_SCHEMA,
    ITEM_COUNTS_SCHEMA,
    ITEM_TIMES,
    QUANTIZERS_SCHEMA,
    ROW_GROUP,
    WIDE_ROW_GROUP,
    items_schema,
    sequences_schema,
    shard_name,
    vocabulary_schema,
    with_metadata,
)
from heterrec_schemas.testing.files import write_shop
from heterrec_schemas.testing.reference import Reference, reference
from heterrec_schemas.testing.shop import Settings, Shop, shop, spec_text
from heterrec_schemas.tokens import ITEM_VOCABULARY, feature_stem

Tables = dict[str, pa.Table]
"""Path without `.parquet` to table."""


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
        settings: of the spec; the formats decide which keys are integers (CSV is text).
        goods: another shop than `shop(seed)`.

    Returns:
        The generation's own folder; `folder` can be opened as well.

    Raises:
        RefusedError: the contract allows no generation of the shop.
    """
    chosen, rows = settings or Settings(), goods or shop(seed)
    text = spec_text(rows, chosen)
    with TemporaryDirectory() as source:
        write_shop(source, rows, chosen)
        found = reference(yaml.safe_load(text), Path(source))
    generation = f"20240101T000000000Z-{seed % 2**32:08x}"
    root = Path(folder) / "generations" / generation
    write_generation(root, text, found)
    (Path(folder) / LATEST_NAME).write_text(json.dumps({"generation": generation}), "utf-8")
    return root


def write_generation(root: Path, text: str, found: Reference) -> Manifest:
    """Write the files and the manifest of a generation.

    Args:
        root: the generation's own folder; its name is the generation's id.
        text: the spec.
        found: the content.
    """
    spec = parse_spec(text)
    entries = [
        feature.entry(side, encoded.fitted_size, encoded.missing, encoded.oov)
        for side, features in (("item", spec.items.features), ("user", spec.user_features))
        for feature in features
        for encoded in [found.features[side, feature.name]]
    ]
    texts = {"spec.yaml": text, "statistics.json": "{}\n"}
    texts |= {f"schema/{name}": schema for name, schema in published_files().items()}
    files = []
    for path, content in texts.items():
        made(root / path).write_text(content, encoding="utf-8")
        files.append(file_entry(root, path, None))
    for stem, table in _tables(spec, found, entries).items():
        path = f"{stem}.parquet"
        rows = WIDE_ROW_GROUP if stem.startswith(("items/", "sequences/")) else ROW_GROUP
        pq.write_table(table, made(root / path), compression="zstd", row_group_size=rows)
        files.append(file_entry(root, path, len(table)))
    reasons: dict[str, int] = {}
    for (_, _, reason, _), count in found.rejects.items():
        reasons[reason] = reasons.get(reason, 0) + count
    manifest = Manifest.model_validate(
        {
            "generation": root.name,
            "created": "2024-01-01T00:00:00.000Z",
            "name": spec.name,
            "spec_sha256": spec_sha256(text),
            "content_sha256": content_sha256(files),
            "files": sorted(files, key=lambda f: f.path),
            "features": entries,
            "item_vocabulary_size": found.items[-1]["item_index"] + 1,
            "counts": found.counts,
            "rejects": reasons,
            "cuts": found.cuts,
            "inputs": [],
            "libraries": {"pyarrow": pa.__version__},
        }
    )
    (root / MANIFEST_NAME).write_text(manifest.to_json(), encoding="utf-8")
    return manifest


def made(path: Path) -> Path:
    """A path whose folder exists."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def file_entry(root: Path, path: str, rows: int | None) -> FileEntry:
    """The manifest's entry of a file of a generation."""
    data = (root / path).read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    return FileEntry(path=path, rows=rows, bytes=len(data), sha256=digest)


def _tables(spec: FeatureSpec, found: Reference, entries: list[FeatureEntry]) -> Tables:
    """All tables of the generation."""
    items = [entry for entry in entries if entry.side == "item"]
    users = [entry for entry in entries if entry.side == "user"]
    schema = items_schema(spec, integral=found.integral["item"], entries=items)
    shards, count = spec.output.item_shards, len(found.items)
    item_parts = [
        found.items[count * k // shards : count * (k + 1) // shards] for k in range(shards)
    ]
    tables = _fitted_tables(spec, found, entries) | shards_of("items/items", item_parts, schema)
    named = items * (spec.output.layout == "flattened") + users
    for split, parts in found.sequences.items():
        integral = found.integral["user_id"]
        schema = sequences_schema(spec, split, integral=integral, entries=named)
        tables |= shards_of(f"sequences/{split}", parts, schema)
    if spec.items.available_from is not None:
        schema = with_metadata(AVAILABLE_FROM_SCHEMA, "available_from")
        times = dict(found.available_from)
        listed = [
            [
                {"item_index": row["item_index"], "available_from_ms": times[row["item_index"]]}
                for row in part
                if row["item_index"] in times
            ]
            for part in item_parts
        ]
        tables |= shards_of(f"{ITEM_TIMES}/available_from", listed, schema)
    counted = [dict(zip(ITEM_COUNTS_SCHEMA.names, row, strict=True)) for row in found.item_counts]
    tables |= shards_of(
        "item_counts/item_counts", [counted], with_metadata(ITEM_COUNTS_SCHEMA, "item_counts")
    )
    if isinstance(spec.split, Temporal):
        schema = with_metadata(FIRST_INTERACTION_SCHEMA, "first_interaction")
        first = [dict(zip(schema.names, row, strict=True)) for row in found.first_interactions]
        tables |= shards_of(f"{ITEM_TIMES}/first_interaction", [first], schema)
    return tables | shards_of("rejects/rejects", [[]], with_metadata(REJECTS_SCHEMA, "rejects"))


def shards_of(stem: str, parts: list[list[dict[str, Any]]], schema: pa.Schema) -> Tables:
    """One table per part, by the path of its shard."""
    names = [shard_name(stem, k, len(parts)).removesuffix(".parquet") for k in range(len(parts))]
    tables = [pa.Table.from_pylist(rows, schema=schema) for rows in parts]
    return dict(zip(names, tables, strict=True))


def _fitted_tables(spec: FeatureSpec, found: Reference, entries: list[FeatureEntry]) -> Tables:
    """Vocabularies, boundaries and quantizers."""
    details: dict[str, dict[str, Any]] = {ITEM_VOCABULARY: {"kind": ITEM_VOCABULARY}}
    buckets = {ITEM_VOCABULARY: spec.items.catalogue_vocabulary.oov_buckets}
    for entry, feature in zip(entries, [*spec.items.features, *spec.user_features], strict=True):
        stem = feature_stem(entry.side, entry.name)
        details[stem], buckets[stem] = entry.details(), getattr(feature, "oov_buckets", 0)
    tables: Tables = {}
    for name, shards in found.vocabularies.items():
        schema = vocabulary_schema(
            found.integral[name],
            feature=name,
            oov_buckets=buckets[name],
            vocabulary_shards=len(shards),
            **details[name],
        )
        parts = [
            [dict(zip(schema.names, (*row, "active"), strict=True)) for row in rows]
            for rows in shards
        ]
        tables |= shards_of(f"vocabularies/{name}", parts, schema)
    for name, edges in found.boundaries.items():
        schema = with_metadata(BOUNDARIES_SCHEMA, "boundaries", feature=name, **details[name])
        tables[f"boundaries/{name}"] = pa.table([pa.array(edges, pa.float64())], schema=schema)
    for name, edge_of in found.quantizers.items():
        schema = with_metadata(QUANTIZERS_SCHEMA, "quantizers", feature=name, **details[name])
        rows = sorted(edge_of, key=lambda place: place[::-1])
        tables[f"quantizers/{name}"] = pa.Table.from_pylist(
            [{"dim": d, "edge_index": k, "edge": edge_of[d, k]} for d, k in rows], schema=schema
        )
    for name, (mean, reach, weights) in found.reductions.items():
        schema = with_metadata(
            reduction_schema(len(weights)), "quantizers", feature=name, **details[name]
        )
        tables[f"quantizers/{name}{SUFFIX}"] = pa.Table.from_pylist(
            [
                {"dim": d, "mean": mean[d], "reach": reach[d], "weights": list(of_d)}
                for d, of_d in enumerate(zip(*weights, strict=True))
            ],
            schema=schema,
        )
    for name, books in found.codebooks.items():
        plain = codebooks_schema(len(books[0][0]))
        schema = with_metadata(plain, "quantizers", feature=name, **details[name])
        tables[f"quantizers/{name}"] = pa.Table.from_pylist(
            [
                {"codebook": number, "code": code, "centroid": centroid}
                for number, book in enumerate(books)
                for code, centroid in enumerate(book)
            ],
            schema=schema,
        )
    return tables
