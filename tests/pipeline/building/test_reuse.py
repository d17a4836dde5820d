"""Digests are used again only if the spec reads the files in the same way."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pieces import job_of, spec_of, table_job

from heterrec_pipeline.building.reuse import with_readings
from heterrec_pipeline.reading.files import NOT_IN_ROWS, InputFile
from heterrec_schemas.feature_spec import Source

BEHAVIOUR = {"column": "what", "values": ["view"]}
FILE = InputFile("/a.parquet", "a.parquet", 1, "parquet", source=Source(path="a.parquet"))
OTHER: dict[str, Any] = {
    "path": "*.parquet",
    "format": "parquet",
    "version": 1,
    "keys": "ids.csv",
    "append_only": True,
    "empty_files": "skip",
    "delimiter": ";",
    "header": False,
    "names": ["user"],
    "quote": None,
    "escape": "\\",
    "encoding": "latin-1",
    "export_to": "gs://bucket/exports",
    "null_values": ["NA"],
    "decimal": ",",
    "unnest": "items",
    "columns": {"twice": "2 * price"},
    "where": "price > 1",
}
"""Another value than the default of every key of a source."""


def readings(
    folder: Path, missing: tuple[str, ...] = (), file: InputFile | None = None, **log: Any
) -> tuple[str, str]:
    """The digests' hashes for the items and the log."""
    spec = spec_of(interactions={"behaviour": BEHAVIOUR} | log)
    files = () if file is None else (file,)
    items = table_job(missing_values=missing, files=files)
    made = with_readings(job_of(spec, folder, items=items, log=files))
    assert made.items.reading is not None
    assert made.reading is not None
    return made.items.reading.sha256, made.reading.sha256


@pytest.mark.parametrize(
    "change",
    [
        {"missing_user": "drop"},
        {"unlisted_behaviours": "drop"},
        {"event_id": "id"},
        {"missing_values": ["-1"]},
    ],
    ids=str,
)
def test_a_policy_of_the_log_changes_how_it_is_read(tmp_path: Path, change: Any) -> None:
    items, log = readings(tmp_path)
    assert readings(tmp_path, **change)[0] == items
    assert readings(tmp_path, **change)[1] != log


def test_missing_keys_change_how_a_table_is_read(tmp_path: Path) -> None:
    items, log = readings(tmp_path)
    assert readings(tmp_path, ("-1",))[0] != items
    assert readings(tmp_path, ("-1",))[1] == log


@pytest.mark.parametrize("key", Source.model_fields)
def test_each_key_of_a_source_changes_how_its_files_are_read_or_is_an_exception(
    tmp_path: Path, key: str
) -> None:
    assert FILE.source is not None
    other = FILE.source.model_copy(update={key: OTHER[key]})
    before, now = (readings(tmp_path, file=replace(FILE, source=s)) for s in (FILE.source, other))
    assert [a != b for a, b in zip(before, now, strict=True)] == [key not in NOT_IN_ROWS] * 2


def test_another_file_of_keys_is_another_reading(tmp_path: Path) -> None:
    keys = InputFile("/in/ids.csv", "ids.csv", 9, "csv", "monday")
    found = readings(tmp_path, file=replace(FILE, keys=keys))
    elsewhere = replace(keys, path="gs://bucket/in/ids.csv")
    assert readings(tmp_path, file=replace(FILE, keys=elsewhere)) == found
    for other in (replace(keys, bytes=8), replace(keys, version="tuesday")):
        assert readings(tmp_path, file=replace(FILE, keys=other)) != found


def test_dates_among_times_change_how_a_table_is_read(tmp_path: Path) -> None:
    """A date is read as a time once another file of the source has times."""
    plain = readings(tmp_path, file=FILE)
    dated = readings(tmp_path, file=replace(FILE, dates_as_times=("day",)))
    assert plain == readings(tmp_path, file=replace(FILE, required=("user",)))
    assert all(a != b for a, b in zip(plain, dated, strict=True))
