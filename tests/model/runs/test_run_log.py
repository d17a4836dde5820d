"""metrics.jsonl and TensorBoard."""

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from heterrec_model.runs.run_folder import RunFolder
from heterrec_model.runs.run_log import RunLog
from heterrec_schemas.errors import RunError


def open_log(path: Path, length: int = 0, step: int = 0, *, tensorboard: bool = False) -> RunLog:
    return RunLog(RunFolder(path), length=length, step=step, tensorboard=tensorboard)


def read(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]


def test_a_resumed_log_reads_as_one_run(tmp_path: Path) -> None:
    log = open_log(tmp_path)
    log.line("train", {"step": 1, "loss": 1.0})
    kept = log.length
    log.line("train", {"step": 2, "loss": 2.0})
    log.close()
    log = open_log(tmp_path, kept, 1)
    log.line("train", {"step": 2, "loss": 2.5})
    log.close()
    assert [line["loss"] for line in read(tmp_path)] == [1.0, 2.5]


def test_half_a_line_goes_when_the_file_is_shorter_than_it_was(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n{"step": 2}\n{"st')
    open_log(tmp_path, 1000).close()
    assert read(tmp_path) == [{"step": 1}, {"step": 2}]


def test_json_has_no_nan(tmp_path: Path) -> None:
    log = open_log(tmp_path)
    log.line("train", {"step": 1, "loss": float("nan"), "terms": {"a": float("inf"), "b": 1.0}})
    log.close()
    assert read(tmp_path) == [
        {"kind": "train", "step": 1, "loss": None, "terms": {"a": None, "b": 1.0}}
    ]


def test_tensorboard_gets_every_number_under_its_path(tmp_path: Path) -> None:
    for step in (1, 2):
        log = open_log(tmp_path, step=step - 1, tensorboard=True)
        log.line("train", {"step": step, "loss": 0.5 * step, "terms": {"a": 1.0}})
        log.close()
    points = tensorboard_points(tmp_path / "tensorboard")
    assert points == {"train/loss": {1: 0.5, 2: 1.0}, "train/terms/a": {1: 1.0, 2: 1.0}}


def test_tensorboard_gets_settings_and_best_metrics_in_the_same_file(tmp_path: Path) -> None:
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    log = open_log(tmp_path, tensorboard=True)
    settings = {
        "model.width": 8,
        "model.features": ["a"],
        "train.max_steps": None,
        "loss.gate": True,
    }
    log.result(settings, {"ndcg@50": 0.25}, 7)
    log.close()
    assert tensorboard_points(tmp_path / "tensorboard")["best/ndcg@50"] == {7: 0.25}
    found = {
        value.tag: HParamsPluginData.FromString(value.metadata.plugin_data.content)
        for event in tensorboard_events(tmp_path / "tensorboard")
        for value in event.summary.value
        if value.metadata.plugin_data.plugin_name == "hparams"
    }
    shown = found["_hparams_/session_start_info"].session_start_info.hparams
    values = {name: getattr(v, v.WhichOneof("kind")) for name, v in shown.items()}
    assert values == {
        "model.width": 8,
        "model.features": '["a"]',
        "train.max_steps": "null",
        "loss.gate": True,
    }
    metrics = found["_hparams_/experiment"].experiment.metric_infos
    assert [metric.name.tag for metric in metrics] == ["best/ndcg@50"]
    assert [path.name for path in (tmp_path / "tensorboard").iterdir() if path.is_dir()] == []


def tensorboard_events(folder: Path) -> Iterator[Any]:
    from tensorboard.compat.proto.event_pb2 import Event

    for file in sorted(folder.iterdir()):
        data = file.read_bytes()
        while data:
            (size,) = struct.unpack("<Q", data[:8])
            yield Event.FromString(data[12 : 12 + size])
            data = data[16 + size :]


def tensorboard_points(folder: Path) -> dict[str, dict[int, float]]:
    points: dict[str, dict[int, float]] = {}
    for event in tensorboard_events(folder):
        for value in event.summary.value:
            points.setdefault(value.tag, {})[event.step] = value.simple_value
    return points


def test_a_folder_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").mkdir()
    with pytest.raises(RunError, match=r"cannot write .*metrics\.jsonl"):
        open_log(tmp_path)


def test_a_full_disk_is_named(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    (tmp_path / "metrics.jsonl").symlink_to("/dev/full")
    log = open_log(tmp_path)
    with pytest.raises(RunError, match=r"No space left on device\. Free some space"):
        log.line("train", {"step": 1})
    log.close()


def test_a_write_that_is_cut_short_is_gone_on_with(tmp_path: Path) -> None:
    log = open_log(tmp_path)
    whole = log._file.write
    log._file = SimpleNamespace(write=lambda data: whole(data[:5]), close=log._file.close)  # type: ignore[assignment]
    log.line("train", {"step": 1})
    log.close()
    assert read(tmp_path) == [{"kind": "train", "step": 1}]
