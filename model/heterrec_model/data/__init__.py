"""From shards to tensors: the token table of the items, the readers of sequence shards, the batches."""

from heterrec_model.data.batch import Batch
from heterrec_model.data.features import FeatureInfo
from heterrec_model.data.loader import TrainLoader, train_loader
from heterrec_model.data.splits import items_batch, split_batches, user_batch
from heterrec_model.data.token_table import TokenTable, open_token_table

__all__ = [
    "Batch",
    "FeatureInfo",
    "TokenTable",
    "TrainLoader",
    "items_batch",
    "open_token_table",
    "split_batches",
    "train_loader",
    "user_batch",
]
