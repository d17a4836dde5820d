"""The items that a split's targets are ranked among.

With a temporal split the catalogue contains items of the future: in a data set of frequently bought items, an item without
interactions before the cut is listed only because somebody buys it later. Ranking such items first finds targets without any
other information (`baselines/unseen_first.py`). Candidates are therefore the items known at the cut.

Shapes: N catalogue items.
"""

import numpy as np
import torch
from torch import Tensor

from heterrec_model.config import Config
from heterrec_schemas.errors import GenerationError
from heterrec_schemas.generation import Generation
from heterrec_schemas.tables import ITEM_TIMES

CANDIDATE_SETS = ("known", "all")
"""Values of `evaluation.candidates`."""


def is_temporal(generation: Generation) -> bool:
    """Whether the splits are cut in time, at the same times for all users."""
    return generation.spec.split.method == "temporal"


def candidate_mask(
    generation: Generation, split: str, config: Config, catalogue_N: Tensor
) -> Tensor | None:
    """Which items of the catalogue are candidates of a split.

    Args:
        generation: the generation.
        split: validation or test.
        config: its `evaluation.candidates` is used.
        catalogue_N: item_index of the catalogue, ascending.

    Returns:
        Whether the item was known before the split's cut, by an interaction of any user or by `items.available_from`,
        bool [N]; None if all items are candidates: with `candidates: all`, and with leave_one_out, which has no cut.

    Raises:
        GenerationError: the generation does not have the times of its items.
    """
    if config.evaluation.candidates == "all" or not is_temporal(generation):
        return None
    check_candidates(generation, config)
    cut = generation.manifest.cuts[f"{split}_at_ms"]
    known = np.zeros(generation.manifest.item_vocabulary_size, dtype=bool)
    for table in (generation.first_interactions(), generation.available_from()):
        if table is not None:
            item, time = (column.to_numpy() for column in table.columns)
            known[item[time < cut]] = True
    return torch.from_numpy(known)[catalogue_N]


def check_candidates(generation: Generation, config: Config) -> None:
    """Check that the generation has what `candidate_mask` needs.

    Raises:
        GenerationError: it does not.
    """
    needed = config.evaluation.candidates == "known" and is_temporal(generation)
    if needed and not generation.files(ITEM_TIMES):
        raise GenerationError(
            f"{generation.root} does not say when its items were first known",
            got=f"no {ITEM_TIMES}/: it was built by an earlier version",
            expected="the times of the items, to rank those that are known at the cut",
            todo="Build it again, or set evaluation.candidates: all to rank the whole catalogue.",
        )
