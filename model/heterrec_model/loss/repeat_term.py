"""The repeat term: the score of an item that the user had before.

    score(u, i) = similarity(u, i)                                  for an item that the user did not have
    score(u, i) = kappa similarity(u, i) + tau r(u, i)              for the others
    r(u, i) = C[log2 n] + L[log2 l] + S[log2 s] + G[bucket of g] + P[log2 p] + f . (A v_i + B u),
    f = (1, ln(1 + n), ln(1 + g))

The user had the item n times in a history of l interactions, last s interactions and g days ago; it occurs p times in
training. L lets the counts of short and long histories share a table: what matters is n / l. The tables C, L, S, G and P, and
the matrices A and B, start at zero. u and v_i are the vectors of the similarity, so r is in the unit of the loss's logits,
similarity / tau.

kappa is 0 by default: among a user's own items the similarity fits the training data better than the counts, but ranks them
worse in the validation split (docs/results.md).

Shapes: X any shape, D width of u and v, F = 3 numbers of f.
"""

import torch
from torch import Tensor, nn

from heterrec_model.data.own_items import OwnItems

COUNTS, LENGTHS, SINCE, GAPS, POPULARITIES = 12, 16, 16, 16, 24
"""Rows of the tables."""
SHORTEST_DAYS, LONGEST_DAYS = 1 / 24, 2 * 365.25
"""Lower edges of the second and the last row of the table of gaps; the rows are log-spaced between them."""
NUMBERS = 3
"""F."""
_MS_PER_DAY = 86_400_000.0


class RepeatTerm(nn.Module):
    """The weights of the repeat term, and its value for pairs of a user and an item of its history."""

    edges: Tensor

    def __init__(self, width: int, temperature: float, similarity: float) -> None:
        super().__init__()
        self.temperature, self.similarity = temperature, similarity
        self.count = nn.Parameter(torch.zeros(COUNTS))
        self.length = nn.Parameter(torch.zeros(LENGTHS))
        self.since = nn.Parameter(torch.zeros(SINCE))
        self.gap = nn.Parameter(torch.zeros(GAPS))
        self.popularity = nn.Parameter(torch.zeros(POPULARITIES))
        self.of_item = nn.Parameter(torch.zeros(width, NUMBERS))
        self.of_user = nn.Parameter(torch.zeros(width, NUMBERS))
        shortest, longest = (torch.tensor(x).log10().item() for x in (SHORTEST_DAYS, LONGEST_DAYS))
        self.register_buffer("edges", torch.logspace(shortest, longest, GAPS - 1), persistent=False)

    def item_weights(self, v_XD: Tensor) -> Tensor:
        """A v_i, [X, F]; further columns of v, those of the token heads, are not read."""
        return v_XD[..., : len(self.of_item)] @ self.of_item

    def user_weights(self, u_XD: Tensor) -> Tensor:
        """B u, [X, F]; likewise."""
        return u_XD[..., : len(self.of_user)] @ self.of_user

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
        weights_PF = self.item_weights(items_PD) + self.user_weights(users_BD)[own.user_P]
        similar_P = (users_BD[own.user_P] * items_PD).sum(-1) / self.temperature
        r_P: Tensor = self(
            own.count_P,
            own.length_P,
            own.since_P,
            own.gap_ms_P,
            popularity_P,
            similar_P,
            weights_PF,
        )
        return r_P

    def forward(
        self,
        count_X: Tensor,
        length_X: Tensor,
        since_X: Tensor,
        gap_ms_X: Tensor,
        popularity_X: Tensor,
        similar_X: Tensor,
        weights_XF: Tensor,
    ) -> Tensor:
        """R of pairs with a count of at least 1, [X]; other values are meaningless, but finite.

        Args:
            count_X: n, at least 0.
            length_X: l, at least 1.
            since_X: s, at least 1.
            gap_ms_X: g in milliseconds, at least 0.
            popularity_X: p, at least 0.
            similar_X: similarity / tau.
            weights_XF: A v_i + B u.
        """
        gap_X = gap_ms_X.to(weights_XF.dtype) / _MS_PER_DAY
        rows = (
            (self.count, _log2(count_X, COUNTS)),
            (self.length, _log2(length_X, LENGTHS)),
            (self.since, _log2(since_X, SINCE)),
            (self.popularity, _log2(popularity_X, POPULARITIES)),
            (self.gap, torch.bucketize(gap_X, self.edges, right=True)),
        )
        tables_X = sum(table.index_select(0, row.flatten()).view(row.shape) for table, row in rows)
        numbers_XF = torch.stack(
            [torch.ones_like(gap_X), count_X.to(gap_X.dtype).log1p(), gap_X.log1p()], dim=-1
        )
        return tables_X - (1 - self.similarity) * similar_X + (numbers_XF * weights_XF).sum(-1)


def _log2(x: Tensor, rows: int) -> Tensor:
    """floor(log2 x) up to rows - 1, int64; 0 for 0."""
    exponent = torch.frexp(x.clamp(min=1).to(torch.float64)).exponent
    return (exponent.long() - 1).clamp(max=rows - 1)
