"""Checks of a configuration before a run: everything that can be told without reading the data, before its folder exists."""

import torch

from heterrec_model.config import Config, check_read
from heterrec_model.data.chosen_features import chosen_entries, shard_column
from heterrec_model.data.frozen_vectors import check_frozen
from heterrec_model.layers.embedding_tables import check_group_width, check_tokens
from heterrec_model.registry import check_name
from heterrec_model.runs.mlflow_log import check_installed
from heterrec_model.training.validation import check_metric
from heterrec_schemas.errors import CallError, DataError, suggest
from heterrec_schemas.feature_spec import EmbeddingFeature
from heterrec_schemas.generation import Generation


def check_settings(config: Config) -> None:
    """Check what does not depend on the generation.

    Raises:
        CallError: the model does not exist or does not read a setting, `train.metric` is not computed, or MLflow is not
            installed although `train.mlflow` is set.
    """
    check_name(config)
    check_read(config)
    check_metric(config)
    if config.train.mlflow:
        check_installed()


def check_for_generation(config: Config, generation: Generation, *, resume: bool = False) -> None:
    """Check the configuration against the features of a generation.

    Args:
        config: of the run.
        generation: to train on.
        resume: whether the run continues: its checkpoints contain the vectors of `model.frozen`.

    Raises:
        CallError: a feature does not exist or has an unsuitable number of groups, items would have no token, or a file of
            `model.frozen` does not exist.
        DataError: there are no rows to train on.
    """
    model = config.model
    items = chosen_entries(generation, "item", model.features)
    users = chosen_entries(generation, "user", model.user_features)
    check_tokens(model, len(items))
    for entry in (*items, *users):
        feature = generation.feature(shard_column(entry))
        if isinstance(feature, EmbeddingFeature):
            tokens, quantizer = feature.token_count, feature.quantizer
            check_group_width(entry.name, tokens, quantizer, feature.width, model)
    names = [entry.name for entry in items]
    for name, frozen in model.frozen.items():
        if name not in names:
            raise CallError(f"model.frozen: {name!r} is no item feature", todo=suggest(name, names))
        if not resume:
            check_frozen(generation, name, frozen)
    if not generation.manifest.counts.sequences.get("train", 0):
        raise DataError("the generation's train split has no row to train on")


def check_for_device(config: Config, device: torch.device, processes: int) -> None:
    """Check the configuration against the device and the number of processes.

    Raises:
        CallError: it needs another device.
    """
    if config.train.sparse_tables and processes > 1 and device.type == "cuda":
        raise CallError(
            "train.sparse_tables: NCCL does not support sparse gradients on several GPUs",
            todo="Set it to false, or train on one GPU.",
        )
    if config.model.attention == "flex" and device.type == "cpu":
        raise CallError(
            "model.attention: flex cannot train on a CPU", todo="Set it to auto or chunked."
        )
