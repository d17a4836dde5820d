"""The repeat term: the score of an item that the user had before.

    score(u, i) = similarity(u, i)                                  for an item that the user did not have
    score(u, i) = kappa similarity(u, i) + tau r(u, i)              for the others
    r(u, i) = w_2 . ReLU(W_1 x + b_1) + b_2 + f . A v_i
    x = (ln(1 + n), ln(1 + l), ln(1 + s), ln(1 + g), ln(1 + p)), centred,    f = (1, ln(1 + n), ln(1 + g))

The user had the item n times in a history of l interactions, last s interactions and g days ago; it occurs p times in
training. w_2, b_2 and A start at zero. v_i is the item's vector of the similarity; r is in the unit of the loss's logits,
similarity / tau.

kappa is 0 by default: among a user's own items the similarity fits the training data better than the counts, but ranks them
worse in the validation split (docs/results.md).

Shapes: X any shape, D width of v, F = 3 numbers of f, H hidden numbers.
"""

import torch
from torch import Tensor, nn

from heterrec_model.data.own_items import OwnItems
from heterrec_schemas.values import MS_PER_DAY

HIDDEN = 32
"""H."""
CENTRES, SCALE = (1.0, 5.0, 4.0, 3.0, 4.0), 2.0
"""x is (logarithms - CENTRES) / SCALE: about the mean and the spread for a year of purchases of a household."""
NUMBERS = 3
"""F."""


class RepeatTerm(nn.Module):
    """The weights of the repeat term, and its value for pairs of a user and an item of its history."""

    def __init__(self, width: int, temperature: float, similarity: float) -> None:
        super().__init__()
        self.temperature, self.similarity = temperature, similarity
        self.inner = nn.Linear(len(CENTRES), HIDDEN)
        self.outer = nn.Linear(HIDDEN, 1)
        nn.init.zeros_(self.outer.weight)
        nn.init.zeros_(self.outer.bias)
        self.of_item = nn.Parameter(torch.zeros(width, NUMBERS))

    def item_weights(self, v_XD: Tensor) -> Tensor:
        """A v_i, [X, F]; further columns of v, those of the token heads, are not read."""
        return v_XD[..., : len(self.of_item)] @ self.of_item

    def scores(
        self, own: OwnItems, popularity_P: Tensor, users_BD: Tensor, items_PD: Tensor
    ) -> Tensor:
        """R of own items, [P].

        Args:
            own: pairs of a user and an item.
            popularity_P: p of the items.
            users_BD: vectors of the users.
            items_PD: vectors of the items of the pairs.
        """
        similar_P = (users_BD[own.user_P] * items_PD).sum(-1) / self.temperature
        shared_P = self.shared(own.count_P, own.length_P, own.since_P, own.gap_ms_P, popularity_P)
        weights_PF = self.item_weights(items_PD)
        r_P: Tensor = self(shared_P, own.count_P, own.gap_ms_P, similar_P, weights_PF)
        return r_P

    def shared(
        self,
        count_X: Tensor,
        length_X: Tensor,
        since_X: Tensor,
        gap_ms_X: Tensor,
        popularity_X: Tensor,
    ) -> Tensor:
        """The part of r that depends on counts alone, w_2 . ReLU(W_1 x + b_1) + b_2, [X].

        Args:
            count_X: n, at least 0.
            length_X: l, at least 1.
            since_X: s, at least 1.
            gap_ms_X: g in milliseconds, at least 0.
            popularity_X: p, at least 0.
        """
        kind = self.outer.weight.dtype
        counts = (count_X, length_X, since_X, gap_ms_X.to(kind) / MS_PER_DAY, popularity_X)
        centred = [(x.to(kind).log1p() - c) / SCALE for x, c in zip(counts, CENTRES, strict=True)]
        shared_X: Tensor = self.outer(torch.relu(self.inner(torch.stack(centred, -1)))).squeeze(-1)
        return shared_X

    def forward(
        self,
        shared_X: Tensor,
        count_X: Tensor,
        gap_ms_X: Tensor,
        similar_X: Tensor,
        weights_XF: Tensor,
    ) -> Tensor:
        """R of pairs with a count of at least 1, [X]; other values are meaningless, but finite.

        Args:
            shared_X: from `shared`.
            count_X: n, at least 0.
            gap_ms_X: g in milliseconds, at least 0.
            similar_X: similarity / tau.
            weights_XF: A v_i.
        """
        gap_X = gap_ms_X.to(weights_XF.dtype) / MS_PER_DAY
        logarithms = (count_X.to(weights_XF.dtype).log1p(), gap_X.log1p())
        numbers_XF = torch.stack([torch.ones_like(gap_X), *logarithms], dim=-1)
        r_X: Tensor = shared_X + (numbers_XF * weights_XF).sum(-1)
        return r_X - (1 - self.similarity) * similar_X
