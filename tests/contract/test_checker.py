"""The reference and the independent checker agree: a generation written from the one passes the other.

No build takes part. The checker does not model everything, so `tamed` removes the rest from its inputs.
"""

import re
import subprocess
import sys
import tempfile
import unicodedata
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml
from hypothesis import assume, given
from profiles import EXAMPLES, profile
from strategies import Dataset, Table, datasets, write_input

from heterrec_schemas.testing.generation import write_generation
from heterrec_schemas.testing.reference import reference
from heterrec_schemas.testing.reference_values import RefusedError


def run_checker(shared: Path, spec: Path, source: Path, generation: Path) -> str:
    """One line per failed check; empty when none fails."""
    words = [sys.executable, str(shared / "check_generation.py"), "--spec", str(spec)]
    words += ["--input", str(source), "--generation", str(generation)]
    run = subprocess.run(words, capture_output=True, text=True, timeout=600)
    failed = [line for line in run.stdout.splitlines() if line.startswith("FAIL")]
    return "" if run.returncode == 0 else "\n".join(failed) or run.stderr


def needs_checker(shared: Path) -> None:
    if not (shared / "check_generation.py").exists():
        pytest.skip("needs the checker ../shared/check_generation.py, which is absent")


@pytest.mark.slow
@pytest.mark.real_data
@profile(8)
@given(dataset=datasets(formats=("parquet",)))
def test_checker_accepts_the_reference(shared: Path, dataset: Dataset) -> None:
    needs_checker(shared)
    assume(is_modelled(dataset))
    dataset = tamed(dataset)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_input(folder / "input", dataset)
        (folder / "spec.yaml").write_text(dataset.spec_text, encoding="utf-8")
        spec = yaml.safe_load(dataset.spec_text)
        found = None
        try:
            found = reference(spec, folder / "input")
        except RefusedError:
            assume(False)
        assume(found.counts["interactions"]["kept"] > 0)
        write_generation(folder / "generation", dataset.spec_text, found)
        failed = run_checker(shared, folder / "spec.yaml", folder / "input", folder / "generation")
        assert not failed, failed


@pytest.mark.slow
@pytest.mark.real_data
@pytest.mark.parametrize("name", ["movielens_latest_small", "amazon_beauty_temporal"])
def test_checker_accepts_the_reference_on_real_data(
    name: str, shared: Path, tmp_path: Path
) -> None:
    """The second data set takes half a minute: `make check` leaves it to a soak."""
    needs_checker(shared)
    if name == "amazon_beauty_temporal" and not EXAMPLES:
        pytest.skip("set HETERREC_EXAMPLES to include it")
    path = shared / "specs" / f"{name}.yaml"
    data = shared / "data" / name.removesuffix("_temporal")
    text = path.read_text(encoding="utf-8")
    write_generation(tmp_path, text, reference(yaml.safe_load(text), data))
    failed = run_checker(shared, path, data, tmp_path)
    assert not failed, failed


# --- what the checker does not model ---------------------------------------------------------


def is_modelled(dataset: Dataset) -> bool:
    """The checker reads ISO times of several forms, and categories that are dates or times, in another way."""
    timestamp = dataset.spec["interactions"]["timestamp"]
    if timestamp.get("unit") == "iso":
        return False
    for table in dataset.tables:
        for name, kind in table.columns.items():
            if name.startswith("col ") and (pa.types.is_timestamp(kind) or pa.types.is_date(kind)):
                return False
    return True


def tamed(dataset: Dataset) -> Dataset:
    """One row per key, readable times, no null paths, clean missing_values and none of lists.

    Nothing is erased, hashed, or imported from vocabularies of other systems.
    """
    spec = dataset.spec
    for name in ("erase", "rejects"):
        spec.pop(name, None)
    spec.get("users", {}).pop("hash_key", None)
    if not spec.get("users"):
        spec.pop("users", None)
    log = spec["interactions"]
    for owner in (log, spec["items"], spec.get("users", {}), *spec["items"].get("joins", [])):
        owner.pop("missing_values", None)
    for name in ("missing_user", "unlisted_behaviours", "event_id"):
        log.pop(name, None)
    keys = {"items": spec["items"].get("key"), "users": spec.get("users", {}).get("key")}
    keys |= {f"side{k}": join["key"] for k, join in enumerate(spec["items"].get("joins", []))}
    tables = []
    for table in dataset.tables:
        if table.name == "log":
            rows = [r for r in table.rows if r[log["timestamp"]["column"]] not in (None, "")]
            tables.append(Table("log", "parquet", table.columns, [*filter(_timely, rows)]))
        elif table.name in keys:
            rows = list({_text(r[keys[table.name]]): r for r in table.rows}.values())
            nested = [c for c, t in table.columns.items() if _is_nested(t)]
            rows = [r | {c: [p or [] for p in r[c] or []] for c in nested} for r in rows]
            tables.append(Table(table.name, "parquet", table.columns, rows))
    for feature in spec.get("users", {}).get("features", []):
        feature.pop("vocabulary", None)
    for feature in spec["items"].get("features", []):
        feature.pop("vocabulary", None)
        if "missing_values" in feature:
            feature["missing_values"] = [_text(v) for v in feature["missing_values"]]
        if feature.get("multivalued"):
            feature.pop("missing_values", None)
    return Dataset(spec, tables)


def _text(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return unicodedata.normalize("NFC", str(value)).strip()


def _is_nested(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) and pa.types.is_list(kind.value_type))


def _timely(row: dict[str, Any]) -> bool:
    """Whether a time can be read."""
    time = row["when"]
    if isinstance(time, str):
        return bool(re.fullmatch(r"\s*(\d{10}(\.0)?|\d\d/\d\d/\d{4} [\d:]+)\s*", time))
    return not isinstance(time, int) or (time > 0 and time != 2**31 - 1)
