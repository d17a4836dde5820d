"""Digests are used again only if the spec reads the files in the same way."""

from pathlib import Path
from typing import Any

import pytest
from pieces import job_of, spec_of, table_job

from heterrec_pipeline.building.reuse import with_readings

BEHAVIOUR = {"column": "what", "values": ["view"]}


def readings(folder: Path, missing: tuple[str, ...] = (), **log: Any) -> tuple[str, str]:
    """The digests' hashes for the items and the log."""
    spec = spec_of(interactions={"behaviour": BEHAVIOUR} | log)
    made = with_readings(job_of(spec, folder, items=table_job(missing_values=missing)))
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
