"""Two processes on a CPU, started by torchrun."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from training_process import Training, ends_equal

from heterrec_model.config import Config
from heterrec_model.data.train_loader import TrainLoader
from heterrec_model.distributed import find_device
from heterrec_model.training.processes import World
from heterrec_schemas.errors import CallError
from heterrec_schemas.generation import open_generation

SETTINGS = {"epochs": 2, "checkpoint_every": 3, "log_every": 1}
SMALL = {"batch_items": 24}  # so that the ranks have different numbers of batches


def test_with_one_process_every_call_returns_its_own_value() -> None:
    world = World(0, 1, torch.device("cpu"))
    assert world.main
    assert world.gather("a") == ["a"]
    assert world.broadcast("a") == "a"
    assert world.gather_ints(1, 2) == [[1, 2]]
    assert world.on_main(lambda: 3) == 3


def test_devices() -> None:
    assert find_device("cpu") == torch.device("cpu")
    with pytest.raises(CallError, match=r"train\.device: got 'cpuu', expected auto, cpu"):
        find_device("cpuu")
    absent = ["meta", "xpu", "cpu:1", "cuda:99", "", "cuda:-1", "cpu:x"]
    absent += [] if torch.backends.mps.is_available() else ["mps"]
    for name in absent:
        with pytest.raises(CallError, match=r"train\.device"):
            find_device(name)
    if torch.cuda.is_available():
        assert find_device("auto", 0) == torch.device("cuda", 0)
    else:
        assert find_device("auto") == torch.device("cpu")
        with pytest.raises(CallError, match="without a CUDA GPU"):
            find_device("cuda")


def loader(data: Path, settings: Any, rank: int) -> TrainLoader:
    config = Config.model_validate(settings(train=SETTINGS, data=SMALL))
    return TrainLoader(open_generation(data), config, rank=rank, world=2)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, shop_data: Path, settings: Any) -> Training:
    """A run of two processes that nobody disturbed."""
    folder = tmp_path_factory.mktemp("alone")
    training = Training(folder, shop_data, settings(train=SETTINGS, data=SMALL), ranks=2)
    training.output = training.finish("--json")  # type: ignore[attr-defined]
    return training


@pytest.mark.slow
def test_two_ranks_share_the_rows_and_one_writes(
    alone: Training, shop_data: Path, settings: Any
) -> None:
    result = json.loads(alone.output[0])  # type: ignore[attr-defined]
    assert result["epoch"] == 2
    state = json.loads((alone.run / "checkpoints/last/state.json").read_text())
    assert state["world"] == 2
    assert [part["loader"]["settings"]["rank"] for part in state["ranks"]] == [0, 1]
    rows = [len(list(loader(shop_data, settings, rank))) for rank in (0, 1)]
    assert rows[0] != rows[1], "no rank stands in with a blank batch: choose another batch size"
    lines = [json.loads(line) for line in (alone.run / "metrics.jsonl").read_text().splitlines()]
    steps = [line["step"] for line in lines if line["kind"] == "train"]
    assert steps == list(range(1, result["step"] + 1))
    assert len([line for line in lines if line["kind"] == "validation"]) == 2


@pytest.mark.slow
def test_two_ranks_resume_bit_for_bit(
    alone: Training, tmp_path: Path, shop_data: Path, settings: Any
) -> None:
    config = settings(train=SETTINGS, data=SMALL)
    training = Training(tmp_path, shop_data, config, ranks=2)
    _, out, err = training.stop_after(4, signal.SIGTERM)
    assert "SIGTERM: saved and stopped at step" in out, err
    training.finish("--resume")
    assert ends_equal(alone.run, training.run)
    single = Training(tmp_path, shop_data, config)
    _, err = single.finish("--resume", code=2)
    assert "was trained by another number of processes: got 1, expected 2" in err


@pytest.mark.slow
def test_a_mistake_ends_all_ranks_with_its_message(
    alone: Training, shop_data: Path, settings: Any, tmp_path: Path
) -> None:
    process = alone.start()
    _, err = process.communicate(timeout=120)
    assert process.returncode != 0
    assert "error (rank 0): " in err
    assert "already contains a run" in err


@pytest.mark.slow
def test_a_loss_that_is_none_ends_all_ranks(tmp_path: Path, shop_data: Path, settings: Any) -> None:
    config = settings(train={**SETTINGS, "learning_rate": 1e30, "clip_norm": 0, "warmup_steps": 0})
    process = Training(tmp_path, shop_data, config, ranks=2).start()
    _, err = process.communicate(timeout=120)
    assert process.returncode != 0
    assert "step 2: the loss is not finite" in err


@pytest.mark.slow
def test_a_rank_that_dies_ends_the_others(tmp_path: Path, shop_data: Path, settings: Any) -> None:
    training = Training(tmp_path, shop_data, settings(train={"epochs": 500}), ranks=2)
    process = training.start()
    training.wait_for(4, process)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    if not children.exists():
        process.terminate()
        process.communicate(timeout=120)
        pytest.skip("this system does not tell a process's children")
    ranks = [int(child) for child in children.read_text().split()]
    assert len(ranks) == 2
    os.kill(ranks[1], signal.SIGKILL)
    _, err = process.communicate(timeout=60)  # of which the survivor may take dead_peers.GRACE
    assert process.returncode != 0
    # Among torchrun's failures; which one it sees first is a matter of milliseconds.
    assert f"exitcode  : -9 (pid: {ranks[1]})" in err
    # Whatever ended the other rank, torchrun did not have to kill it.
    assert "forcefully exiting" not in err
    for rank in ranks:
        with pytest.raises(ProcessLookupError):
            os.kill(rank, 0)
