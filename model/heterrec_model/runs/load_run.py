"""Loads the model of a run from its folder."""

import warnings
from dataclasses import dataclass
from pathlib import Path

import torch

from heterrec_model.config import Config
from heterrec_model.data.token_table import configured_table, with_trained
from heterrec_model.distributed import find_device
from heterrec_model.registry import build_model, move_to_device
from heterrec_model.runs.checkpoints import (
    LAST,
    MODEL,
    Checkpoint,
    CheckpointFolder,
    read_checkpoint,
)
from heterrec_model.runs.run_folder import RunFolder
from heterrec_model.runs.weights import TRAINED, load_weights
from heterrec_model.two_tower import TwoTowerModel
from heterrec_schemas.errors import CorruptCheckpointError
from heterrec_schemas.generation import Generation


@dataclass(frozen=True, eq=False)
class LoadedRun:
    """A trained model.

    Attributes:
        model: with the weights of the checkpoint, in evaluation mode, on its device.
        config: configuration of the run.
        step: optimiser steps of the checkpoint.
        name: of the checkpoint, such as step-00000120.
        weights_sha256: SHA-256 of its weights.
    """

    model: TwoTowerModel
    config: Config
    step: int
    name: str
    weights_sha256: str


def load_run(
    run: str | Path,
    checkpoint: str = "best",
    *,
    data: Generation,
    device: str | torch.device | None = None,
) -> LoadedRun:
    """Load the model of a run from one of its checkpoints.

    Args:
        run: folder of the run.
        checkpoint: best, last, or step-N.
        data: the generation that it was trained on; for a warm-started run, the one that it was carried over to.
        device: of the model; None uses `train.device`.

    Raises:
        CallError: the run or the checkpoint does not exist.
        GenerationError: the run was trained on another generation.
        CorruptCheckpointError: the checkpoint is damaged. A damaged `last` only causes a warning, and the previous
            checkpoint is used.
    """
    folder = RunFolder(run)
    config = folder.config()
    target = find_device(str(device) if device is not None else config.train.device)
    folder.check_generation(data)
    chosen = _find(folder.checkpoints, checkpoint)
    table = with_trained(configured_table(config, data), chosen.weight(TRAINED))
    model = build_model(config, table, data, frozen=False)
    load_weights(model, chosen.weights(), chosen.name)
    return LoadedRun(
        model=move_to_device(model, target).eval(),
        config=config,
        step=chosen.step,
        name=chosen.name,
        weights_sha256=chosen.state["sha256"][MODEL],
    )


def _find(checkpoints: CheckpointFolder, wanted: str) -> Checkpoint:
    path = checkpoints.find(wanted)
    try:
        return read_checkpoint(path)
    except CorruptCheckpointError:
        if wanted == LAST:
            previous = checkpoints.newest(lambda message: warnings.warn(message, stacklevel=4))
            if previous is not None:
                return previous
        raise
