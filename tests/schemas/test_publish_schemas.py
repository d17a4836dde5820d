import json
import subprocess
import sys
from pathlib import Path

import pytest

from heterrec_schemas import Generation
from heterrec_schemas.manifest import SPLITS
from heterrec_schemas.publish_schemas import FOLDER, arrow_fields, schema_files, write_schemas


@pytest.mark.parametrize("name", schema_files())
def test_the_committed_files_are_up_to_date(name: str) -> None:
    committed = (FOLDER / name).read_text(encoding="utf-8")
    assert committed == schema_files()[name], "run python -m heterrec_schemas.publish_schemas"


def test_no_other_file_is_committed() -> None:
    assert {p.name for p in FOLDER.iterdir()} == set(schema_files())


def test_keys_are_sorted(tmp_path: Path) -> None:
    for path in write_schemas(tmp_path / "new"):
        text = path.read_text(encoding="utf-8")
        assert text == json.dumps(json.loads(text), indent=1, sort_keys=True) + "\n"


def test_schemas_name_their_dialect_and_subject() -> None:
    spec = json.loads(schema_files()["feature_spec.schema.json"])
    assert spec["$schema"].startswith("https://json-schema.org/")
    assert spec["title"] == "HeterRec feature spec"
    assert spec["additionalProperties"] is False
    assert "CategoricalFeature" in spec["$defs"]
    manifest = json.loads(schema_files()["manifest.schema.json"])
    assert "content_sha256" in manifest["required"]


def test_texts_may_be_written_as_numbers() -> None:
    spec = json.loads(schema_files()["feature_spec.schema.json"])
    parts = spec["$defs"]
    owners = ("Items", "Users", "Join", "Interactions", "CategoricalFeature", "NumericFeature")
    cells = [parts[owner]["properties"]["missing_values"]["items"] for owner in owners]
    cells.append(parts["Source"]["properties"]["null_values"]["items"])
    cells.append(parts["Behaviour"]["properties"]["values"]["items"])
    cells.append(spec["properties"]["parameters"]["additionalProperties"])
    assert all(cell == {"anyOf": [{"type": "string"}, {"type": "number"}]} for cell in cells)


def test_every_table_is_described() -> None:
    tables = arrow_fields()["tables"]
    assert set(tables) == {
        "vocabularies",
        "boundaries",
        "quantizers",
        "quantizers (pq, rq)",
        "quantizers (reduce)",
        "items",
        "item_counts",
        "item_times/first_interaction",
        "item_times/available_from",
        "rejects",
        *(f"sequences/{split}" for split in SPLITS),
    }
    assert tables["items"][1] == {
        "name": "item_id",
        "type": "int64 or string",
        "nullable": False,
    }
    assert tables["items"][-1] == {
        "name": "<feature>",
        "type": "fixed_size_list<int32>[groups]",
        "nullable": False,
        "when": "the feature is embedding",
    }
    window = next(f for f in tables["sequences/train"] if f["name"] == "window")
    assert window["when"] == "sequences.train_windows is all"
    assert tables["rejects"][-1]["nullable"] is True


def test_what_is_described_is_what_stands_in_a_generation(rich_generation: Generation) -> None:
    tables = arrow_fields()["tables"]
    spec = rich_generation.spec
    features = {f"item_{f.name}" for f in spec.items.features}
    features |= {f"user_{f.name}" for f in spec.user_features}
    for split in SPLITS:
        described = {f["name"] for f in tables[f"sequences/{split}"]}
        for name in rich_generation.sequences(split).column_names:
            general = f"{name[:4]}_<feature>" if name in features else name
            assert general in described


def test_the_module_writes_the_files(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-m", "heterrec_schemas.publish_schemas", tmp_path],
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout.splitlines() == [str(tmp_path / name) for name in schema_files()]
    assert sorted(path.name for path in tmp_path.iterdir()) == list(schema_files())
