"""Seeds by name: every random draw of a step follows from the run's seed and the step's number."""

import numpy as np


def mix(*numbers: int) -> int:
    """A seed of 63 bits from several numbers, none of them negative; equal numbers give equal seeds.

    Nothing random needs saving when each step seeds itself: step 120 draws the same numbers in a run that was resumed
    at step 100 as in one that was left alone.
    """
    # SeedSequence reads missing words as 0: without the count, mix(1, 2) would equal mix(1, 2, 0).
    sequence = np.random.SeedSequence([len(numbers), *numbers])
    return int(sequence.generate_state(1, np.uint64)[0] >> np.uint64(1))
