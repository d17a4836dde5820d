"""Whole histories, and the truncated histories that a model reads.

A model reads the last `model.max_length` items; the items a user has seen are all items of the generation's row (up to the
spec's `sequences.max_length`). If seen items are filtered, batches are read whole and truncated here, so that models of
different lengths rank the same items.

Shapes: B users, T items of the longest history, L items that the model reads, S pairs of a user and an item.
"""

from dataclasses import replace

import torch
from torch import Tensor

from heterrec_model.config import Config
from heterrec_model.data.batch import Batch
from heterrec_schemas.generation import Generation


def with_whole_histories(config: Config, generation: Generation) -> Config:
    """The config for batches of whole rows of the generation, with a similar number of users each."""
    longest = max(generation.spec.sequences.max_length, config.model.max_length)
    items = -(-config.data.batch_items * longest // config.model.max_length)
    return config.model_copy(
        update={
            "model": config.model.model_copy(update={"max_length": longest}),
            "data": config.data.model_copy(update={"batch_items": items}),
        }
    )


def truncated(batch: Batch, max_length: int) -> Batch:
    """The same users with the last `max_length` items of their histories."""
    if batch.item_BT.shape[1] <= max_length:
        return batch
    length_B = batch.length_B.clamp(max=max_length)
    steps_L = torch.arange(int(length_B.max()), device=length_B.device)
    # Beyond the end of a history its last item is repeated, as the padding of timestamps.
    within_BL = torch.minimum(steps_L[None, :], length_B[:, None] - 1)
    index_BL = (batch.length_B - length_B)[:, None] + within_BL
    valid_BL = steps_L[None, :] < length_B[:, None]
    behaviour_BT = batch.behaviour_BT
    return replace(
        batch,
        item_BT=batch.item_BT.gather(1, index_BL) * valid_BL,
        timestamp_BT=batch.timestamp_BT.gather(1, index_BL),
        length_B=length_B,
        behaviour_BT=None if behaviour_BT is None else behaviour_BT.gather(1, index_BL) * valid_BL,
    )


def seen_pairs(batch: Batch) -> tuple[Tensor, Tensor]:
    """All items of all histories: row of the user in the batch [S], item_index [S]."""
    user_S, index_S = batch.valid_BT().nonzero(as_tuple=True)
    return user_S, batch.item_BT[user_S, index_S]
