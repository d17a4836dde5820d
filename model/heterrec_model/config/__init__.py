"""Configuration of a run: its settings, and how they are loaded from one YAML file."""

from heterrec_model.config.ablations import ABLATIONS, ablated
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
    FrozenConfig,
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
    "ABLATIONS",
    "MOST",
    "ClozeConfig",
    "Config",
    "DataConfig",
    "DenseConfig",
    "EvaluationConfig",
    "FrozenConfig",
    "ItemTowerConfig",
    "LossConfig",
    "ModelConfig",
    "NegativesConfig",
    "Normalise",
    "TimeGapConfig",
    "TrainConfig",
    "WarmStartConfig",
    "ablated",
    "check_read",
    "describe_error",
    "load_config",
    "parse_config",
    "shipped_configs",
    "trained_on_validation",
]
