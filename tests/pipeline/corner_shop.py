"""A small handwritten shop, the command line as a process, and checks after a failed build."""

import copy
import csv
import gzip
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from warm_command import PROGRESS as PROGRESS
from warm_command import Finished as Finished
from warm_command import Running as Running
from warm_command import environment as environment
from warm_command import warm_commands

COMMAND = [sys.executable, "-m", "heterrec_pipeline"]
START = 1_700_000_000
"""First time of the log, in seconds: 2023-11-14T22:13:20Z."""
ITEMS = 20
USERS = 10
Rows = list[list[str]]

SPEC: dict[str, Any] = {
    "version": 1,
    "name": "corner-shop",
    "items": {
        "source": {"path": "items.csv"},
        "key": "item_id",
        "joins": [{"source": {"path": "vectors.parquet"}, "key": "item_id"}],
        "features": [
            {"name": "brand", "kind": "categorical", "column": "brand"},
            {"name": "price", "kind": "numeric", "column": "price", "bins": 4},
            {
                "name": "look",
                "kind": "embedding",
                "column": "vector",
                "dim": 4,
                "groups": 2,
                "quantiles": 2,
            },
        ],
    },
    "interactions": {
        "source": {"path": "log.csv"},
        "user": "user_id",
        "item": "item_id",
        "timestamp": {"column": "time", "unit": "s"},
        "behaviour": {"column": "event", "values": ["view", "buy"]},
        "order": "event_id",
    },
    "users": {
        "source": {"path": "users.csv"},
        "key": "user_id",
        "features": [{"name": "age", "kind": "numeric", "column": "age", "bins": 3}],
    },
    "sequences": {"max_length": 8},
    "split": {"method": "leave_one_out"},
    "output": {"sequence_shards": 2},
    "limits": {"max_reject_ratio": 0.01},
}


def heterrec(*arguments: object, cwd: Path | None = None, **env: str) -> Finished:
    """Run the command line to its end, in a new interpreter if variables are given, which may matter to imports."""
    if not env:
        return warm_commands()(*arguments, cwd=cwd)
    done = subprocess.run(
        [*COMMAND, *map(str, arguments)],
        capture_output=True,
        stdin=subprocess.DEVNULL,
        timeout=300,
        cwd=cwd,
        env=environment(**env),
        encoding="utf-8",
    )
    return Finished(done.returncode, done.stdout, done.stderr)


def start(*arguments: object) -> Running:
    """Start the command line."""
    return warm_commands().start(*arguments)


@dataclass
class Shop:
    """The shop's folder: input/, spec.yaml, output/.

    Attributes:
        folder: where all of it stands.
        spec: the feature spec as data; `write_spec` writes it.
        output: where generations go.
    """

    folder: Path
    spec: dict[str, Any] = field(default_factory=lambda: copy.deepcopy(SPEC))
    output: Path = field(init=False)

    def __post_init__(self) -> None:
        self.output = self.folder / "output"

    @property
    def input(self) -> Path:
        return self.folder / "input"

    @property
    def spec_path(self) -> Path:
        return self.folder / "spec.yaml"

    def feature(self, name: str) -> dict[str, Any]:
        """A feature of the spec, to change."""
        users = self.spec["users"]["features"] if "users" in self.spec else []
        return next(f for f in [*self.spec["items"]["features"], *users] if f["name"] == name)

    # --- writing ---------------------------------------------------------------------------

    def write(self) -> None:
        """Write every table and the spec."""
        self.input.mkdir(parents=True, exist_ok=True)
        ids = [f"i{k:02d}" for k in range(ITEMS)]
        brands = [["Kiwi", "Lime", "Plum"][k % 3] for k in range(ITEMS)]
        self.put("items.csv", [["item_id", "brand", "price"]])
        self.add("items.csv", [[ids[k], brands[k], f"{k}.5"] for k in range(ITEMS)])
        self.put_vectors(ids, [[k / 8, -k / 4, k % 5, 1.0] for k in range(ITEMS)])
        self.put("users.csv", [["user_id", "age"], *([f"u{k}", f"{20 + k}"] for k in range(USERS))])
        self.put("log.csv", [["user_id", "item_id", "time", "event", "event_id"]])
        for user in range(USERS):
            for k in range(20):
                item, moment = (user * 7 + k * 3) % ITEMS, START + k * 3600 + user
                event = "buy" if k % 4 == 0 else "view"
                row = [f"u{user}", f"i{item:02d}", str(moment), event, str(user * 20 + k)]
                self.add("log.csv", [row])
        self.write_spec()

    def write_spec(self) -> None:
        text = yaml.safe_dump(self.spec, sort_keys=False, allow_unicode=True)
        self.spec_path.write_text(text, encoding="utf-8")

    def put(self, name: str, rows: Rows) -> None:
        """Rewrite a CSV file."""
        (self.input / name).write_text(_csv(rows), encoding="utf-8")

    def add(self, name: str, rows: Rows) -> None:
        """Append rows to a CSV file."""
        with (self.input / name).open("a", encoding="utf-8") as file:
            file.write(_csv(rows))

    def rows(self, name: str) -> Rows:
        """The rows of a CSV file, its header first."""
        with (self.input / name).open(encoding="utf-8", newline="") as file:
            return list(csv.reader(file))

    def put_vectors(self, ids: list[Any], vectors: list[Any], kind: Any = None) -> None:
        """Write the joined table of vectors."""
        columns = {"item_id": ids, "vector": pa.array(vectors, kind or pa.list_(pa.float32()))}
        pq.write_table(pa.table(columns), self.input / "vectors.parquet")

    def vectors(self) -> tuple[list[Any], list[Any]]:
        table = pq.read_table(self.input / "vectors.parquet")
        return table["item_id"].to_pylist(), table["vector"].to_pylist()

    def as_jsonl(self, table: str, suffix: str = "jsonl", **types: Callable[[str], Any]) -> Path:
        """Turn a CSV table of the spec into JSON lines; `types` parse the columns that are not text."""
        names, *rows = self.rows(f"{_FILES[table]}.csv")
        lines = [
            json.dumps({n: types.get(n, str)(c) for n, c in zip(names, row, strict=True)})
            for row in rows
        ]
        return self.replace(table, suffix, "".join(f"{line}\n" for line in lines).encode())

    def replace(self, table: str, suffix: str, data: bytes) -> Path:
        """Give the file of a table another suffix; compressed if it ends in .gz."""
        path = self.input / f"{_FILES[table]}.{suffix}"
        path.write_bytes(gzip.compress(data, mtime=0) if suffix.endswith(".gz") else data)
        self.spec[table]["source"]["path"] = path.name
        return path

    def data(self, table: str) -> bytes:
        """The CSV file of a table."""
        return (self.input / f"{_FILES[table]}.csv").read_bytes()

    # --- running ---------------------------------------------------------------------------

    def arguments(self) -> list[str]:
        """The options of `build`."""
        return ["--spec", str(self.spec_path), *self.reading(), "--output", str(self.output)]

    def reading(self) -> list[str]:
        return ["--input", str(self.input)]

    def build(self, *more: object) -> Finished:
        """Write the spec and build."""
        self.write_spec()
        return heterrec("build", *self.arguments(), *more)

    def validate(self, *more: object) -> Finished:
        """Write the spec and validate."""
        self.write_spec()
        return heterrec("validate", "--spec", self.spec_path, *self.reading(), *more)

    def copy(self, folder: Path) -> "Shop":
        shutil.copytree(self.folder, folder)
        return Shop(folder, copy.deepcopy(self.spec))

    # --- looking ---------------------------------------------------------------------------

    def generations(self) -> list[str]:
        """The ids of the folders below generations/, finished or not."""
        folder = self.output / "generations"
        return sorted(os.listdir(folder)) if folder.is_dir() else []

    def latest(self) -> str:
        """The generation that latest.json names."""
        return str(json.loads((self.output / "latest.json").read_text())["generation"])

    def state(self) -> dict[str, str]:
        """Every file of the output by its hash."""
        return {
            str(p.relative_to(self.output)): hashlib.sha256(p.read_bytes()).hexdigest()
            for p in sorted(self.output.rglob("*"))
            if p.is_file()
        }

    def rejects(self) -> list[tuple[Any, ...]]:
        """The rows of the latest generation's rejects/, sorted: source, file, row, column, reason, value."""
        folder = self.output / "generations" / self.latest() / "rejects"
        table = pq.read_table(next(folder.iterdir()))
        return sorted(tuple(r.values()) for r in table.to_pylist())

    def manifest(self) -> dict[str, Any]:
        """The latest generation's manifest."""
        path = self.output / "generations" / self.latest() / "manifest.json"
        found: dict[str, Any] = json.loads(path.read_text())
        return found


_FILES = {"items": "items", "interactions": "log", "users": "users"}


def _csv(rows: Rows) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
