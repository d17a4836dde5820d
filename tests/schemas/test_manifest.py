import hashlib
import json
from typing import Any

import pytest
from pydantic import ValidationError

from heterrec_schemas import Generation
from heterrec_schemas.manifest import (
    CONTENT_FOLDERS,
    FileEntry,
    Manifest,
    content_sha256,
    manifest_sha256,
)


def entry(path: str, sha256: str) -> FileEntry:
    return FileEntry(path=path, rows=1, bytes=1, sha256=sha256)


def test_a_manifest_comes_back_from_its_json(generation: Generation) -> None:
    text = generation.manifest.to_json()
    assert Manifest.model_validate_json(text) == generation.manifest
    assert text.endswith("}\n")


def test_absent_numbers_are_null_rather_than_left_out(generation: Generation) -> None:
    data = json.loads(generation.manifest.to_json())
    assert data["parent"] is None
    assert data["format_version"] == 1
    spec = next(f for f in data["files"] if f["path"] == "spec.yaml")
    assert spec["rows"] is None


def changed(generation: Generation, values: dict[str, Any]) -> dict[str, Any]:
    return {**generation.manifest.model_dump(mode="json"), **values}


@pytest.mark.parametrize(
    "values",
    [
        {"format_version": 2},
        {"rejects": {"bad_luck": 1}},
        {"item_vocabulary_size": -1},
        {"files": [{"path": "x"}]},
        {"generation": None},
    ],
)
def test_what_is_no_manifest_is_refused(generation: Generation, values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(values))):
        Manifest.model_validate(changed(generation, values))


def test_unknown_keys_are_passed_over(generation: Generation) -> None:
    values = changed(generation, {"colour": "red"})
    values["files"][0]["colour"] = "red"
    assert Manifest.model_validate(values) == generation.manifest


def test_the_manifest_carries_its_own_hash(generation: Generation) -> None:
    data = json.loads(generation.manifest.to_json())
    claimed = data.pop("manifest_sha256")
    text = json.dumps(data, sort_keys=True, separators=(",", ":"))
    assert claimed == hashlib.sha256(text.encode()).hexdigest()
    assert claimed == manifest_sha256(data) == manifest_sha256({**data, "manifest_sha256": "x"})


def test_known_reasons_are_counted(generation: Generation) -> None:
    manifest = Manifest.model_validate(changed(generation, {"rejects": {"non_finite": 2}}))
    assert json.loads(manifest.to_json())["rejects"] == {"non_finite": 2}


def test_the_content_hash_is_over_sorted_lines_of_data_files() -> None:
    lines = "boundaries/p.parquet bb\nitems/i.parquet aa\n"
    files = [
        entry("items/i.parquet", "aa"),
        entry("rejects/r.parquet", "cc"),
        entry("spec.yaml", "dd"),
        entry("boundaries/p.parquet", "bb"),
    ]
    assert content_sha256(files) == hashlib.sha256(lines.encode()).hexdigest()
    assert content_sha256(reversed(files)) == content_sha256(files)


@pytest.mark.parametrize("folder", CONTENT_FOLDERS)
def test_every_data_folder_counts(folder: str) -> None:
    assert content_sha256([entry(f"{folder}/x", "aa")]) != content_sha256([])
