"""The rows of a study: RESULTS/<study>/rows.csv, one row per run, split and protocol.

Rows are sorted and the file is replaced atomically, so a new row is one new line of a diff. Several processes may add rows.
"""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from heterrec_model.evaluation.metrics import PARTS, metric_names
from heterrec_model.runs.atomic_files import locked_folder, write_text
from heterrec_schemas.errors import CallError

ROWS = "rows.csv"
USERS = "users"
KEYS = ("study", "data", "model", "seed", "split", "protocol")
"""The columns that identify a row."""
HEAD = (
    *KEYS,
    "filter_seen",
    "candidates",
    "content_sha256",
    "settings_sha256",
    "users",
    "users_sha256",
    "targets",
    "ranked_items",
    "cold_items",
)
TAIL = (
    "parameters",
    "parameters_without_tables",
    "steps",
    "epochs",
    "best_step",
    "train_seconds",
    "train_cpu_seconds",
    "evaluation_seconds",
    "open_gates",
    "lacks",
    "date",
    "commit",
    "heterrec",
    "torch",
    "device",
    "threads",
    "command",
)
DIGEST = 16
"""Number of hexadecimal digits of the digests of settings and users."""
Row = dict[str, str]
"""Text by column; an absent value is empty."""


@dataclass(frozen=True)
class Protocol:
    """How a split is evaluated: whether seen items are left out, and which items are ranked."""

    filter_seen: bool
    candidates: str

    @property
    def name(self) -> str:
        """`seen-kept` or `seen-filtered`, with `-all` if the whole catalogue is ranked."""
        seen = "seen-filtered" if self.filter_seen else "seen-kept"
        return seen if self.candidates == "known" else f"{seen}-{self.candidates}"

    @property
    def words(self) -> str:
        """The protocol in words."""
        seen = f"seen items {'left out' if self.filter_seen else 'kept'}"
        return seen if self.candidates == "known" else f"{seen}, the whole catalogue is ranked"


def run_name(model: str, seed: int | None) -> str:
    """Name of a run in paths: `model-seed`, or the counting baseline alone."""
    model = model.replace(":", ".")
    return model if seed is None else f"{model}-{seed}"


@dataclass(frozen=True)
class RowKey:
    """What identifies a row of a study; the seed of a counting baseline is None."""

    data: str
    model: str
    seed: int | None
    split: str
    protocol: Protocol

    @property
    def users_file(self) -> str:
        """Path of the metrics per user, in the folder of the study's results."""
        return f"{USERS}/{self.data}/{run_name(self.model, self.seed)}-{self.split}-{self.protocol.name}.parquet"

    @property
    def texts(self) -> tuple[str, ...]:
        """The values of `KEYS` but the study."""
        seed = "" if self.seed is None else str(self.seed)
        return (self.data, self.model, seed, self.split, self.protocol.name)


class Rows:
    """The rows of a study.

    Args:
        results: folder of all results.
        study: name of the study.

    Attributes:
        folder: `results/study`.
    """

    def __init__(self, results: str | Path, study: str) -> None:
        self.folder, self.study = Path(results) / study, study
        self._path = self.folder / ROWS

    def read(self) -> dict[tuple[str, ...], Row]:
        """The rows by `RowKey.texts`; none if the file does not exist.

        Raises:
            CallError: the file is not one of a study.
        """
        try:
            text = self._path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return {}
        reader = csv.DictReader(io.StringIO(text, newline=""))
        missing = [name for name in HEAD if name not in (reader.fieldnames or ())]
        rows = list(reader)
        broken = any(None in row or None in row.values() for row in rows)
        if missing or broken:
            raise CallError(
                f"{self._path} has not the rows of a study",
                got=f"no column {missing[0]}" if missing else "lines of another length",
                todo="Restore the file, or use another --results.",
            )
        return {tuple(row[name] for name in KEYS[1:]): row for row in rows}

    def get(self, key: RowKey) -> Row | None:
        """A row."""
        return self.read().get(key.texts)

    def add(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Add rows, or replace those with equal keys.

        Raises:
            RunError: the file cannot be written.
        """
        with locked_folder(self.folder):
            known = self.read()
            for row in rows:
                texts = {name: _text(value) for name, value in row.items()}
                known[tuple(texts[name] for name in KEYS[1:])] = texts
            columns = _columns(known.values())
            out = io.StringIO(newline="")
            writer = csv.DictWriter(out, columns, restval="", lineterminator="\n")
            writer.writeheader()
            writer.writerows(known[key] for key in sorted(known, key=_order))
            write_text(self._path, out.getvalue())


def metric_columns(ks: Sequence[int]) -> list[str]:
    """The columns of the metrics and counts: of all targets, then of each part."""
    names = metric_names(ks)
    parts = [part for part in PARTS if part != "all"]
    return [*names, *(f"{p}_{n}" for p in parts for n in ("users", "targets", *names))]


def number(row: Mapping[str, str], column: str) -> float | None:
    """A number of a row; None if it is absent."""
    text = row.get(column, "")
    return float(text) if text else None


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.6f}"
    return str(value)


def _order(key: tuple[str, ...]) -> tuple[Any, ...]:
    data, model, seed, split, protocol = key
    return (data, model, int(seed or -1), split, protocol)


def _columns(rows: Iterable[Row]) -> list[str]:
    """All columns of the rows: the metrics in the order of the parts and ks, unknown columns at the end."""
    found = dict.fromkeys(name for row in rows for name in row)
    ks = sorted({int(name.rpartition("@")[2]) for name in found if "@" in name})
    wanted = [*HEAD, *metric_columns(ks), *TAIL]
    return [*wanted, *(name for name in found if name not in set(wanted))]
