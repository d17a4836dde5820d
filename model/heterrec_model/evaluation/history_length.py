"""Whole histories beside what a model sees of them.

A model sees the last `model.max_length` items; what a user has seen is all that the generation's row holds (the spec's
`sequences.max_length`; what the pipeline cut off before is not known). Where seen items leave the ranking, batches are
read with_whole_histories and cut here, so that models of different lengths are ranked among the same items.

Shapes: B users, T items of the longest history, L items that the model sees, S pairs of a user and an item.
"""

from dataclasses import replace

import torch
from torch import Tensor

from heterrec_model.config import Config
from heterrec_model.data.batch import Batch
from heterrec_schemas.generation import Generation


def with_whole_histories(config: Config, generation: Generation) -> Config:
    """The config whose batches hold whole rows of the generation, about as many users each."""
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
    # Past a history's end its last item is taken again: that is the time of padding.
    within_BL = torch.minimum(steps_L[None, :], length_B[:, None] - 1)
    place_BL = (batch.length_B - length_B)[:, None] + within_BL
    valid_BL = steps_L[None, :] < length_B[:, None]
    behaviour_BT = batch.behaviour_BT
    return replace(
        batch,
        item_BT=batch.item_BT.gather(1, place_BL) * valid_BL,
        timestamp_BT=batch.timestamp_BT.gather(1, place_BL),
        length_B=length_B,
        behaviour_BT=None if behaviour_BT is None else behaviour_BT.gather(1, place_BL) * valid_BL,
    )


def seen_pairs(batch: Batch) -> tuple[Tensor, Tensor]:
    """Every item of every history: the user's row in the batch [S], the item_index [S]."""
    user_S, place_S = batch.valid_BT().nonzero(as_tuple=True)
    return user_S, batch.item_BT[user_S, place_S]
