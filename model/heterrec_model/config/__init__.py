"""Configuration of a run: its settings, and how they are loaded from one YAML file."""

from heterrec_model.config.load import (
    check_read,
    describe_error,
    load_config,
    parse_config,
    shipped_configs,
)
from heterrec_model.config.settings import (
    MOST,
    ClozeConfig,
    Config,
    DataConfig,
    DenseConfig,
    EvaluationConfig,
    ItemTowerConfig,
    LossConfig,
    ModelConfig,
    NegativesConfig,
    Normalise,
    TimeGapConfig,
    TrainConfig,
    WarmStartConfig,
    trained_on_validation,
)

__all__ = [
    "MOST",
    "ClozeConfig",
    "Config",
    "DataConfig",
    "DenseConfig",
    "EvaluationConfig",
    "ItemTowerConfig",
    "LossConfig",
    "ModelConfig",
    "NegativesConfig",
    "Normalise",
    "TimeGapConfig",
    "TrainConfig",
    "WarmStartConfig",
    "check_read",
    "describe_error",
    "load_config",
    "parse_config",
    "shipped_configs",
    "trained_on_validation",
]
