"""The bulk job of the model with bundle, users and output in object stores."""

import sys
from pathlib import Path
from typing import Any

import pytest
from emulators import Emulator

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "model"))

from made_bundle import clustered, made_bundle, made_histories

from heterrec_model.bulk.run import recommend_all
from heterrec_schemas import stores
from heterrec_schemas.errors import CallError


def test_everything_in_a_store_equals_local_files(
    store: Emulator, folder: str, tmp_path: Path
) -> None:
    users = made_histories(60, 100)
    bundle = made_bundle(tmp_path / "bundle", clustered(100, 8, 1), clustered(9, 8, 2), users=users)
    (tmp_path / "users.txt").write_text("u1\nu2\nnobody\n")
    remote = stores.store_of(folder)
    for file in [*bundle.folder.iterdir(), tmp_path / "users.txt"]:
        inside = "bundle/" if file.parent == bundle.folder else ""
        with remote.create(f"{folder}/{inside}{file.name}") as out:
            out.write(file.read_bytes())
    options: dict[str, Any] = {
        "workers": 1,
        "shards": 2,
        "recommender": "made_bundle:open_stub",
        "k": 5,
    }
    there = recommend_all(f"{folder}/bundle", f"{folder}/out", f"{folder}/users.txt", **options)
    again = recommend_all(f"{folder}/bundle", f"{folder}/out", f"{folder}/users.txt", **options)
    assert (there.written, again.written, again.kept) == (2, 0, 2)
    here = recommend_all(bundle.folder, tmp_path / "out", tmp_path / "users.txt", **options)
    assert there.manifest == here.manifest
    assert here.manifest is not None
    for name in ("job.json", "manifest.json", *(file.path for file in here.manifest.files)):
        assert remote.content(f"{folder}/out/{name}") == (tmp_path / "out" / name).read_bytes()
    with pytest.raises(CallError, match="another bulk job: k 5 there, 6 now"):
        recommend_all(bundle.folder, f"{folder}/out", tmp_path / "users.txt", **options | {"k": 6})
    with pytest.raises(CallError, match="there is no"):
        recommend_all(f"{folder}/none", f"{folder}/out2", **options)
