"""A state.json with the right hashes and a wrong content: the checkpoint before is used, or one message says why not."""

import copy
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from heterrec_model.runs.checkpoints import CheckpointFolder, _body_sha256, read_checkpoint
from heterrec_model.training.saved_state import check_state
from heterrec_model.training.train import train
from heterrec_schemas.errors import CallError, CorruptCheckpointError
from heterrec_schemas.hashing import file_sha256

SETTINGS = {"max_steps": 4, "checkpoint_every": 2, "validate_every": 100}
ODD: list[Any] = [None, True, -1, 10**30, 1.5, float("nan"), "x", [], {}, [1], {"a": 1}]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, shop_data: Path, tiny: Any) -> Path:
    """A run with checkpoints of the steps 2 and 4."""
    folder = tmp_path_factory.mktemp("forged") / "run"
    train(tiny(train=SETTINGS), data=shop_data, run=folder, quiet=True)
    return folder


def forge(checkpoint: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = checkpoint / "state.json"
    state = json.loads(path.read_text())
    del state["state_sha256"]
    change(state)
    path.write_text(json.dumps({**state, "state_sha256": _body_sha256(state)}))


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of all values in nested ones."""
    inner = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    return [path, *(place for key, held in inner for place in places(held, (*path, key)))]


def test_any_forged_value_is_damage_or_harmless(run: Path, tmp_path: Path) -> None:
    """Nothing but our own error is raised, whatever stands anywhere in the state."""
    folder = tmp_path / "step-00000004"
    shutil.copytree(run / "checkpoints" / folder.name, folder)
    original = json.loads((folder / "state.json").read_text())
    del original["state_sha256"]
    refused = total = 0
    for place in places(original)[1:]:
        if (
            place[:1] == ("ranks",)
            and place[2:4] == ("meter", "sums")
            and len(place) > 4
            and place[4] != "loss"
        ):
            continue  # all alike
        for odd in ODD:
            state = copy.deepcopy(original)
            holder = state
            for key in place[:-1]:
                holder = holder[key]
            holder[place[-1]] = odd
            text = json.dumps({**state, "state_sha256": _body_sha256(state)})
            (folder / "state.json").write_text(text)
            total += 1
            try:
                check_state(read_checkpoint(folder))
            except CorruptCheckpointError:
                refused += 1
    assert refused > 0.6 * total


CHANGES: dict[str, Callable[[dict[str, Any]], object]] = {
    "no progress": lambda s: s.pop("progress"),
    "no ranks": lambda s: s.update(ranks=[]),
    "a negative step": lambda s: s["progress"].update(step=-1),
    "another step": lambda s: s.update(step=3),
    "an unknown key": lambda s: s["progress"].update(colour="red"),
    "text": lambda s: s["progress"].update(log_bytes="9"),
    "files elsewhere": lambda s: s.update(sha256={"../../../x": "0"}),
    "no hashes": lambda s: s.pop("sha256"),
    "no format": lambda s: s.pop("format_version"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_forged_state_is_damage(run: Path, tmp_path: Path, change: Callable[..., object]) -> None:
    shutil.copytree(run / "checkpoints", tmp_path / "checkpoints", symlinks=True)
    forge(tmp_path / "checkpoints" / "step-00000004", change)
    warnings: list[str] = []
    found = CheckpointFolder(tmp_path / "checkpoints").newest(warnings.append, check_state)
    assert found is not None
    assert found.step == 2
    assert len(warnings) == 1


def test_a_resumed_run_uses_the_checkpoint_before(
    run: Path, tmp_path: Path, shop_data: Path, tiny: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(run, tmp_path / "run", symlinks=True)
    forge(tmp_path / "run/checkpoints/step-00000004", lambda s: s["progress"].update(rows=-5))
    forge(
        tmp_path / "run/checkpoints/step-00000002", lambda s: s["progress"].update(log_bytes=2**52)
    )
    result = train(tiny(train=SETTINGS), data=shop_data, run=tmp_path / "run", resume=True)
    assert result.step == 4
    warned = capsys.readouterr().err
    assert "progress.rows: got -5" in warned
    assert "; the previous one is used" in warned


@pytest.mark.parametrize(
    ("workers", "position"),
    [
        (0, {}),
        (0, {"window": -1, "batch": 0}),
        (0, {"window": 0, "batch": "x"}),
        (0, {"x": 1}),
        (0, {"window": 10**6, "batch": 0}),
        (1, {"window": -1, "batch": 0}),
    ],
)
def test_a_forged_position_is_damage(
    run: Path,
    tmp_path: Path,
    shop_data: Path,
    tiny: Any,
    workers: int,
    position: dict[str, Any],
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = tiny(train=SETTINGS, data={"workers": workers})
    if workers:
        train(config, data=shop_data, run=tmp_path / "run", quiet=True)
    else:
        shutil.copytree(run, tmp_path / "run", symlinks=True)

    def change(state: dict[str, Any]) -> None:
        state["ranks"][0]["loader"]["positions"] = [position]

    forge(tmp_path / "run/checkpoints/step-00000004", change)
    result = train(config, data=shop_data, run=tmp_path / "run", resume=True)
    assert result.step == 4
    warned = capsys.readouterr().err
    assert "step-00000004: the loader state is damaged" in warned.replace("\n", "")
    assert "resuming at step 2" in warned
    for step in (2, 4):
        forge(tmp_path / f"run/checkpoints/step-{step:08d}", change)
    with pytest.raises(CorruptCheckpointError, match="step-00000004: the loader state is damaged"):
        train(config, data=shop_data, run=tmp_path / "run", resume=True, quiet=True)
    assert (tmp_path / "run/checkpoints/step-00000004").is_dir()


def test_a_state_of_an_earlier_version_is_refused_with_what_to_do(
    run: Path, tmp_path: Path, shop_data: Path, tiny: Any
) -> None:
    """Before, the position of the loader was of another form and under another name."""
    shutil.copytree(run, tmp_path / "run", symlinks=True)

    def change(state: dict[str, Any]) -> None:
        loader = state["ranks"][0]["loader"]
        del loader["positions"], loader["next_part"]
        loader["position"] = {"_snapshot": {}, "_steps_since_snapshot": 0}

    forge(tmp_path / "run/checkpoints/step-00000004", change)
    with pytest.raises(CallError, match=r"of this version: got no next_part.*start a new run"):
        train(tiny(train=SETTINGS), data=shop_data, run=tmp_path / "run", resume=True, quiet=True)
    assert (tmp_path / "run/checkpoints/step-00000004").is_dir()


@pytest.mark.parametrize("file", ["optimizer.safetensors", "model.safetensors"])
def test_tensors_of_another_shape_are_damage(
    run: Path,
    tmp_path: Path,
    shop_data: Path,
    tiny: Any,
    file: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shutil.copytree(run, tmp_path / "run", symlinks=True)
    folder = tmp_path / "run/checkpoints/step-00000004"
    tensors = load_file(folder / file)
    name = max(tensors, key=lambda n: tensors[n].numel())
    save_file({**tensors, name: tensors[name][:1].clone()}, folder / file)
    forge(folder, lambda s: s["sha256"].update({file: file_sha256(folder / file)}))
    result = train(tiny(train=SETTINGS), data=shop_data, run=tmp_path / "run", resume=True)
    assert result.step == 4
    assert "resuming at step 2" in capsys.readouterr().err
