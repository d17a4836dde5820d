"""The contract as JSON: the schemas of the spec, the manifest and `drift.json`, and the fields of every table.

`python -m heterrec_schemas.publish_schemas [FOLDER]` writes the committed files of the folder
`json`, or those of another folder; a generation has a copy in its folder `schema`.
"""

import json
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
from pydantic import BaseModel

from heterrec_schemas.codebooks import codebooks_schema
from heterrec_schemas.drift import DriftReport
from heterrec_schemas.feature_spec import FeatureSpec, parse_spec
from heterrec_schemas.manifest import FORMAT_VERSION, SPLITS, Manifest
from heterrec_schemas.reductions import reduction_schema
from heterrec_schemas.rejects import REJECTS_SCHEMA
from heterrec_schemas.tables import (
    AVAILABLE_FROM_SCHEMA,
    BOUNDARIES_SCHEMA,
    FIRST_INTERACTION_SCHEMA,
    ITEM_COUNTS_SCHEMA,
    QUANTIZERS_SCHEMA,
    items_schema,
    sequences_schema,
    vocabulary_schema,
)

FOLDER = Path(__file__).parent / "json"
DIALECT = "https://json-schema.org/draft/2020-12/schema"

# One feature of every token type; names and sizes are replaced in the published fields.
_TEMPLATE = """
version: 1
name: template
items:
  source: {path: items.parquet}
  key: item_id
  features: &features
    - {name: categorical, kind: categorical, column: c}
    - {name: multivalued, kind: categorical, column: m, multivalued: true}
    - {name: numeric, kind: numeric, column: n, bins: 2}
    - {name: embedding, kind: embedding, column: e, dim: 2, groups: 2, quantiles: 2}
interactions:
  source: {path: log.parquet}
  user: user_id
  item: item_id
  timestamp: {column: timestamp, unit: s}
  behaviour: {column: event_type, values: [view]}
users:
  source: {path: users.parquet}
  key: user_id
  features: *features
sequences: {max_length: 2, train_windows: all}
split: {method: leave_one_out}
output: {layout: flattened}
"""
_KEY = "int64 or string"
_WHEN = {
    "behaviour": "interactions.behaviour is declared",
    "target_behaviour": "interactions.behaviour is declared",
    "window": "sequences.train_windows is all",
    "first_ms": "split.method is temporal",
    "available_from_ms": "items.available_from is declared",
}


@cache
def schema_files() -> dict[str, str]:
    """The published files: name to JSON text with sorted keys."""
    return {
        "arrow.json": _text(arrow_fields()),
        "drift.schema.json": _text(_json_schema(DriftReport, "HeterRec drift report")),
        "feature_spec.schema.json": _text(_json_schema(FeatureSpec, "HeterRec feature spec")),
        "manifest.schema.json": _text(_json_schema(Manifest, "HeterRec manifest")),
    }


def published_files() -> dict[str, str]:
    """The committed files, which a test keeps equal to `schema_files`: making them takes 0.3 s."""
    return {path.name: path.read_text(encoding="utf-8") for path in sorted(FOLDER.glob("*.json"))}


def arrow_fields() -> dict[str, Any]:
    """The fields of every table: name, type, whether null is allowed, and when the field exists.

    Each token type has one field, named `<feature>`.
    """
    spec = parse_spec(_TEMPLATE)
    tables = {
        "vocabularies": vocabulary_schema(integral=False),
        "boundaries": BOUNDARIES_SCHEMA,
        "quantizers": QUANTIZERS_SCHEMA,
        "quantizers (pq, rq)": codebooks_schema(2),
        "quantizers (reduce)": reduction_schema(2),
        "items": items_schema(spec, integral=False),
        **{f"sequences/{s}": sequences_schema(spec, s, integral=False) for s in SPLITS},
        "item_counts": ITEM_COUNTS_SCHEMA,
        "item_times/first_interaction": FIRST_INTERACTION_SCHEMA,
        "item_times/available_from": AVAILABLE_FROM_SCHEMA,
        "rejects": REJECTS_SCHEMA,
    }
    kinds = [feature.name for feature in spec.items.features]
    return {
        "format_version": FORMAT_VERSION,
        "tables": {
            name: [_field(field, kinds) for field in schema] for name, schema in tables.items()
        },
    }


def write_schemas(folder: Path = FOLDER) -> list[Path]:
    """Write the published files into a folder, which is made if absent; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, text in schema_files().items():
        paths.append(folder / name)
        paths[-1].write_text(text, encoding="utf-8")
    return paths


def _field(field: pa.Field, kinds: list[str]) -> dict[str, Any]:
    # The type of a list includes the name of its inner field, which does not matter.
    kind = str(field.type).replace("element: ", "").replace("item: ", "")
    described: dict[str, Any] = {"name": field.name, "type": kind, "nullable": field.nullable}
    prefix, _, last = field.name.rpartition("_")
    if last in kinds and prefix in ("", "item", "user"):
        described["name"] = f"{prefix}_<feature>".lstrip("_")
        described["type"] = kind.replace("[2]", "[groups]")
        described["when"] = f"the feature is {last}"
        if prefix == "item":
            described["when"] += ", and output.layout is flattened"
    elif field.name == "centroid":
        described["type"] = kind.replace("[2]", "[dimensions of a codebook]")
    elif field.name in _WHEN:
        described["when"] = _WHEN[field.name]
    elif field.name in ("item_id", "user_id", "value") and field.type == pa.string():
        if not field.nullable:
            described["type"] = _KEY
    return described


def _json_schema(model: type[BaseModel], title: str) -> dict[str, Any]:
    return {**model.model_json_schema(), "$schema": DIALECT, "title": title}


def _text(data: dict[str, Any]) -> str:
    return json.dumps(data, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    for path in write_schemas(*map(Path, sys.argv[1:2])):
        print(path)
