"""From shards to tensors: token table, readers of sequence shards, batches."""

from heterrec_model.data.batch import Batch
from heterrec_model.data.chosen_features import FeatureInfo
from heterrec_model.data.inference_batches import split_batches
from heterrec_model.data.token_table import TokenTable, open_token_table
from heterrec_model.data.train_loader import TrainLoader

__all__ = [
    "Batch",
    "FeatureInfo",
    "TokenTable",
    "TrainLoader",
    "open_token_table",
    "split_batches",
]
