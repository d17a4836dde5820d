"""Items without training interactions first: how well the list of candidates alone predicts the targets.

Shapes: B users, C items of a catalogue chunk.
"""

import torch
from torch import Tensor

from heterrec_model.baselines.counting import CountingBaseline
from heterrec_model.data.batch import Batch


class UnseenFirst(CountingBaseline):
    """Scores cold items, those that training does not deliver, 1 and all others 0.

    It uses no other information. Metrics above chance show that candidates without training interactions are more often
    targets than others, for example because they are in the catalogue only as targets.
    """

    def encode(self, batch: Batch) -> Tensor:
        """[B, 0]: scores do not depend on the user."""
        return torch.zeros((batch.users, 0))

    def scores(self, users_BS: Tensor, start: int, stop: int) -> Tensor:
        """The scores, [B, C] float64."""
        counts_C = self.table.train_count_I[self.table.catalogue_N[start:stop]]
        return (counts_C == 0).double().repeat(len(users_BS), 1)
