"""`items.available_from`: times since when items are listed, in a table of their own."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from heterrec_pipeline.building.config import BuildConfig
from heterrec_pipeline.building.run import build
from heterrec_pipeline.checking.check import check_tables
from heterrec_schemas import open_generation
from heterrec_schemas.errors import SpecError
from heterrec_schemas.feature_spec import parse_spec

DAY = 86_400_000
LOG = "user,item,time\n" + "".join(f"u{n % 3},i{n % 5},{n}\n" for n in range(60))
SPEC: dict[str, Any] = {
    "version": 1,
    "name": "listed",
    "items": {
        "source": {"path": "items*"},
        "key": "item",
        "features": [{"name": "brand", "kind": "categorical", "column": "brand"}],
    },
    "interactions": {
        "source": {"path": "log.csv"},
        "user": "user",
        "item": "item",
        "timestamp": {"column": "time", "unit": "day"},
    },
    "sequences": {"max_length": 5},
    "split": {"method": "temporal", "validation_at": 0.6, "test_at": 0.8},
    "output": {"item_shards": 2},
    "limits": {"max_reject_ratio": 0.9},
}


def spec_with(listed: dict[str, Any] | None, **limits: Any) -> str:
    spec = json.loads(json.dumps(SPEC))
    if listed is not None:
        spec["items"]["available_from"] = listed
    spec["limits"] |= limits
    return yaml.safe_dump(spec)


def built(folder: Path, items: str | pa.Table, listed: dict[str, Any] | None, **limits: Any) -> Any:
    """The generation of an item table (JSON lines, or Parquet)."""
    folder.mkdir(exist_ok=True)
    (folder / "log.csv").write_text(LOG)
    if isinstance(items, str):
        (folder / "items.jsonl").write_text(items)
    else:
        pq.write_table(items, folder / "items.parquet")
    text = spec_with(listed, **limits)
    build(BuildConfig(parse_spec(text), text, str(folder), str(folder / "out")))
    return open_generation(folder / "out", verify="hashes")


def listed_ids(generation: Any) -> dict[str, int]:
    """The times by item id; checks the order and the shards."""
    ids = {r["item_index"]: r["item_id"] for r in generation.items().to_pylist()}
    assert len([f for f in generation.files("item_times") if "available_from" in f.path]) == 2
    rows = generation.available_from().to_pylist()
    assert [r["item_index"] for r in rows] == sorted(r["item_index"] for r in rows)
    return {ids[r["item_index"]]: r["available_from_ms"] for r in rows}


@pytest.mark.parametrize("limits", [{}, {"broadcast_values": 0}])
def test_times_are_recorded_and_bad_cells_rejected(tmp_path: Path, limits: dict[str, Any]) -> None:
    """Also where items are placed by bucket. Neither a missing nor a bad time costs the item."""
    cells = [
        '"2023-01-02"',
        '" 1970-01-03T00:00:00+01:00 "',
        "null",
        '""',
        '"soon"',
        '"1969-12-31"',
    ]
    rows = (f'{{"item": "i{n}", "brand": "b", "since": {c}}}\n' for n, c in enumerate(cells))
    found = built(tmp_path, "".join(rows), {"column": "since", "unit": "iso"}, **limits)
    assert listed_ids(found) == {"i0": 19359 * DAY, "i1": 2 * DAY - 3_600_000}
    assert found.manifest.counts.items.kept == 6
    rejects = [(r["column"], r["reason"], r["value"]) for r in found.rejects().to_pylist()]
    assert sorted(rejects) == [
        ("since", "time_out_of_range", "1969-12-31"),
        ("since", "time_unreadable", "soon"),
    ]


def test_a_timestamp_column_needs_no_unit_and_changes_no_other_table(tmp_path: Path) -> None:
    times = pa.array([5000, None, 86_400_000, 0, 1], pa.timestamp("ms", "+05:30"))
    table = pa.table({"item": [f"i{n}" for n in range(5)], "brand": ["b"] * 5, "since": times})
    found = built(tmp_path / "with", table, {"column": "since"})
    assert listed_ids(found) == {"i0": 5000, "i2": DAY, "i3": 0, "i4": 1}
    without = built(tmp_path / "without", table, None)
    assert without.available_from() is None
    assert without.manifest.content_sha256 == found.manifest.content_sha256
    first = dict(zip(*found.first_interactions().to_pydict().values(), strict=True))
    assert sorted(first.values()) == [n * DAY for n in range(5)]


def test_rows_that_differ_in_their_time_alone_are_different(tmp_path: Path) -> None:
    """Which of them counts does not depend on their order."""
    lines = [f'{{"item": "i{n}", "brand": "b", "since": {n}}}\n' for n in range(5)]
    more = [f'{{"item": "i0", "brand": "b", "since": {n}}}\n' for n in (7, 8, 8)]
    orders = (lines + more, more[::-1] + lines)
    found = [
        built(tmp_path / str(n), "".join(rows), {"column": "since", "unit": "day"})
        for n, rows in enumerate(orders)
    ]
    assert listed_ids(found[0]) == listed_ids(found[1])
    for generation in found:
        counts = generation.manifest.counts.items
        assert (counts.read, counts.kept, counts.rejected, counts.repeated) == (7, 5, 2, 1)


@pytest.mark.parametrize(
    ("listed", "words"),
    [
        ({"column": "snice"}, "items: there is no column 'snice'. Did you mean 'since'"),
        ({"column": "since"}, "items.available_from: column 'since' with neither unit nor format"),
        ({"column": "brands", "unit": "s"}, "items.available_from: column 'brands' with unit: s"),
    ],
)
def test_columns_that_are_no_times_are_refused(
    tmp_path: Path, listed: dict[str, Any], words: str
) -> None:
    (tmp_path / "log.csv").write_text(LOG)
    (tmp_path / "items.jsonl").write_text(
        '{"item": "i0", "brand": "b", "since": 1, "brands": ["x"]}\n'
    )
    (problem,) = check_tables(parse_spec(spec_with(listed)), str(tmp_path)).problems
    assert words in problem.message


def test_items_of_the_log_have_no_such_column() -> None:
    spec = json.loads(json.dumps(SPEC))
    spec["items"] |= {"source": "interactions", "available_from": {"column": "since"}}
    with pytest.raises(SpecError, match="available_from needs a table of items"):
        parse_spec(yaml.safe_dump(spec))
