"""A small shop in files of any kind, and what a build or `validate` says of it."""

import copy
import io
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from heterrec_pipeline import Validation, build, validate
from heterrec_schemas import Generation, open_generation

START = 1_600_000_000
"""First time of the log, in seconds."""
ITEMS = [f"i{k}" for k in range(6)]
BRANDS = ["acme", "bolt", "cog"] * 2
EVENTS = [
    (f"u{u}", ITEMS[(u + k) % 6], START + 1000 * u + 10 * k) for u in range(4) for k in range(5)
]
"""The log: user, item, time in seconds; four users of five interactions each."""
IDS = [-2, *(2**53 + k for k in range(1, 6))]
"""Items of the text shop, beyond the integers that a double holds."""
HEADER = ("user_id", "item_id", "ts")
SPEC: dict[str, Any] = {
    "version": 1,
    "name": "case",
    "items": {
        "source": {"path": "items.jsonl"},
        "key": "item_id",
        "features": [{"name": "brand", "kind": "categorical", "column": "brand"}],
    },
    "interactions": {
        "source": {"path": "log.csv"},
        "user": "user_id",
        "item": "item_id",
        "timestamp": {"column": "ts", "unit": "s"},
    },
    "sequences": {"max_length": 20},
    "split": {"method": "leave_one_out"},
}


def csv(rows: Any, header: Any = HEADER, between: str = ",", end: str = "\n") -> str:
    """Rows as text, without any quoting."""
    return "".join(between.join(map(str, row)) + end for row in [header, *rows])


def jsonl(rows: Any) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def parquet(table: pa.Table | dict[str, Any], **more: Any) -> bytes:
    """A table as the bytes of a Parquet file."""
    target = io.BytesIO()
    pq.write_table(table if isinstance(table, pa.Table) else pa.table(table), target, **more)
    return target.getvalue()


@dataclass
class Case:
    """The files of a shop, with a plain catalogue and log until `put` replaces them, and its spec."""

    folder: Path
    spec: dict[str, Any] = field(default_factory=lambda: copy.deepcopy(SPEC))

    def __post_init__(self) -> None:
        rows = [{"item_id": i, "brand": b} for i, b in zip(ITEMS, BRANDS, strict=True)]
        self.put("items.jsonl", jsonl(rows))
        self.put("log.csv", csv(EVENTS))

    @property
    def input(self) -> Path:
        return self.folder / "data"

    @property
    def log(self) -> dict[str, Any]:
        """The section `interactions` of the spec."""
        found: dict[str, Any] = self.spec["interactions"]
        return found

    def put(self, name: str, data: str | bytes) -> str:
        """Write a file of the input; returns its name."""
        path = self.input / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data.encode() if isinstance(data, str) else data)
        return name

    def items(self, path: str, data: str | bytes, /, **feature: Any) -> None:
        """Replace the catalogue, and its feature if one is given."""
        self.spec["items"]["source"]["path"] = self.put(path, data)
        if feature:
            self.spec["items"]["features"] = [feature]

    def events(self, name: str, data: str | bytes) -> None:
        """Replace the log."""
        self.log["source"]["path"] = self.put(name, data)

    def join(self, name: str, data: str | bytes, key: str, **features: Any) -> None:
        """Add a joined table with some features; name to settings."""
        table = {"source": {"path": self.put(name, data)}, "key": key}
        self.spec["items"].setdefault("joins", []).append(table)
        self.spec["items"]["features"] += [
            {"name": n, "column": n} | f for n, f in features.items()
        ]

    def validate(self) -> Validation:
        return validate(spec=self.spec, input=self.input)

    def fits(self) -> list[str]:
        """Check that the spec fits the data; returns the warnings."""
        found = self.validate()
        assert found.mistakes == []
        return found.warnings

    def refused(self, *words: str) -> None:
        """Check that the spec is refused with some words."""
        found = self.validate()
        said = "\n".join([*found.mistakes, *found.warnings])
        assert found.problems
        assert [w for w in words if w not in said] == [], said

    def build(self, output: Path) -> Generation:
        spec = self.folder / "spec.yaml"
        spec.write_text(yaml.safe_dump(self.spec, sort_keys=False), "utf-8")
        return open_generation(build(spec=spec, input=self.input, output=output).path)


def values(generation: Generation, feature: str) -> dict[Any, Any]:
    """The value of a categorical feature (a list, if it is multivalued) by item."""
    vocabulary = generation.vocabulary(feature)
    names = dict(zip(vocabulary["id"].to_pylist(), vocabulary["value"].to_pylist(), strict=True))

    def value(tokens: Any) -> Any:
        return [value(t) for t in tokens] if isinstance(tokens, list) else names.get(tokens)

    rows = generation.items(["item_id", feature]).to_pylist()
    return {r["item_id"]: value(r[feature]) for r in rows}


def tokens(generation: Generation, feature: str) -> list[Any]:
    """The tokens of a feature, by item."""
    found: list[Any] = generation.items([feature])[feature].to_pylist()
    return found


def history(generation: Generation, user: object) -> list[tuple[Any, int]]:
    """All interactions of a user: item and time in milliseconds."""
    items = generation.items(["item_index", "item_id"]).to_pydict()
    ids = dict(zip(items["item_index"], items["item_id"], strict=True))
    for row in generation.sequences("latest").to_pylist():
        if row["user_id"] == user:
            pairs = zip(row["item_index"], row["timestamp_ms"], strict=True)
            return [(ids[i], t) for i, t in pairs]
    raise AssertionError(f"no user {user!r}")
