import json
from pathlib import Path

import pytest
from chains import add, generation_id, point, put_lease

from heterrec_pipeline.keeping import pin, survey
from heterrec_schemas.errors import CallError


def test_every_state_is_listed_newest_first(source: Path, output: Path) -> None:
    for number, parent in ((1, None), (2, 1), (3, 2), (4, None)):
        add(source, output, number, parent)
    unfinished, damaged = generation_id(5), generation_id(6)
    (output / "generations" / unfinished / "items").mkdir(parents=True)
    add(source, output, 6)
    (output / "generations" / damaged / "manifest.json").write_text("{")
    (output / "generations" / "backup").mkdir()
    (output / "generations" / generation_id(7)).symlink_to(source)
    point(output, generation_id(3))
    pin(str(output), generation_id(3), "the model of May")
    put_lease(output, generation_id(2))
    put_lease(output, generation_id(1), pid=2**80)

    found = survey(str(output))
    states = {int(one.id[9:18]): ", ".join(one.states) for one in found.listed}
    assert list(states) == [6, 5, 4, 3, 2, 1]
    assert states == {
        6: "damaged",
        5: "unfinished",
        4: "",
        3: "latest, pinned",
        2: "leased",
        1: "",
    }
    body = found.as_json()
    assert body["latest"] == generation_id(3)
    third = body["generations"][3]
    manifest = json.loads((source / "manifest.json").read_text())
    assert third["parent"] == generation_id(2)
    assert third["lineage"] == [generation_id(1), generation_id(2)]
    assert third["content"] == manifest["content_sha256"]
    assert third["items"] == manifest["counts"]["items"]["kept"]
    assert third["rows"] == manifest["counts"]["interactions"]["kept"]
    assert third["bytes"] == sum(f["bytes"] for f in manifest["files"])
    assert (third["retired"], third["drift"]) == (0, None)
    assert third["pin"]["reason"] == "the model of May"
    assert "is not JSON" in body["generations"][0]["damage"]
    assert body["generations"][1]["content"] is None
    assert body["generations"][1]["created"] == "2026-01-01T00:00:00.005+00:00"
    assert json.loads(json.dumps(body)) == body


def test_a_folder_without_generations_is_refused(source: Path, output: Path) -> None:
    with pytest.raises(CallError, match="there is no folder"):
        survey(str(output / "absent"))
    with pytest.raises(CallError, match="holds no generations"):
        survey(str(output))
    with pytest.raises(CallError, match="is a generation"):
        survey(str(source))
