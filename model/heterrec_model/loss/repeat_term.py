"""The repeat term: what a user's own history of an item adds to its similarity.

    score(u, i) = similarity(u, i) + tau r(u, i)
    r(u, i) = C[log2 n] + S[log2 s] + G[bucket of g] + f . (A v_i + B u),   f = (1, ln(1 + n), ln(1 + g))

for an item that the user had n times, last s interactions and g days ago; r is 0 for other items. The tables C, S and G, and the
matrices A and B, start at zero, so an untrained term changes nothing. u and v_i are the vectors of the similarity, so r is in the unit
of the loss's logits, similarity / tau.

Shapes: X any shape, D width of u and v, F = 3 numbers of f.
"""

import torch
from torch import Tensor, nn

from heterrec_model.data.own_items import OwnItems

COUNTS, SINCE, GAPS = 12, 16, 16
"""Rows of the tables."""
SHORTEST_DAYS, LONGEST_DAYS = 1 / 24, 2 * 365.25
"""Lower edges of the second and the last row of the table of gaps; the rows are log-spaced between them."""
NUMBERS = 3
"""F."""
_MS_PER_DAY = 86_400_000.0


class RepeatTerm(nn.Module):
    """The weights of the repeat term, and its value for pairs of a user and an item of its history."""

    edges: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.count = nn.Parameter(torch.zeros(COUNTS))
        self.since = nn.Parameter(torch.zeros(SINCE))
        self.gap = nn.Parameter(torch.zeros(GAPS))
        self.of_item = nn.Parameter(torch.zeros(width, NUMBERS))
        self.of_user = nn.Parameter(torch.zeros(width, NUMBERS))
        shortest, longest = (torch.tensor(x).log10().item() for x in (SHORTEST_DAYS, LONGEST_DAYS))
        self.register_buffer(
            "edges", torch.logspace(shortest, longest, GAPS - 1), persistent=False
        )

    def item_weights(self, v_XD: Tensor) -> Tensor:
        """A v_i, [X, F]; further columns of v, those of the token heads, are not read."""
        return v_XD[..., : len(self.of_item)] @ self.of_item

    def user_weights(self, u_XD: Tensor) -> Tensor:
        """B u, [X, F]; likewise."""
        return u_XD[..., : len(self.of_user)] @ self.of_user

    def scores(self, own: OwnItems, users_BD: Tensor, items_PD: Tensor) -> Tensor:
        """r of own items, [P].

        Args:
            own: pairs of a user and an item.
            users_BD: vectors of the users.
            items_PD: vectors of the items of the pairs.
        """
        weights_PF = self.item_weights(items_PD) + self.user_weights(users_BD)[own.user_P]
        r_P: Tensor = self(own.count_P, own.since_P, own.gap_ms_P, weights_PF)
        return r_P

    def forward(self, count_X: Tensor, since_X: Tensor, gap_ms_X: Tensor, weights_XF: Tensor) -> Tensor:
        """r of pairs with a count of at least 1, [X]; other values are meaningless, but finite.

        Args:
            count_X: n, at least 0.
            since_X: s, at least 1.
            gap_ms_X: g in milliseconds, at least 0.
            weights_XF: A v_i + B u.
        """
        gap_X = gap_ms_X.to(weights_XF.dtype) / _MS_PER_DAY
        rows = (
            (self.count, _log2(count_X, COUNTS)),
            (self.since, _log2(since_X, SINCE)),
            (self.gap, torch.bucketize(gap_X, self.edges, right=True)),
        )
        tables_X = sum(
            table.index_select(0, row.flatten()).view(row.shape) for table, row in rows
        )
        numbers_XF = torch.stack(
            [torch.ones_like(gap_X), count_X.to(gap_X.dtype).log1p(), gap_X.log1p()], dim=-1
        )
        return tables_X + (numbers_XF * weights_XF).sum(-1)


def _log2(x: Tensor, rows: int) -> Tensor:
    """floor(log2 x) up to rows - 1, int64; 0 for 0."""
    exponent = torch.frexp(x.clamp(min=1).to(torch.float64)).exponent
    return (exponent.long() - 1).clamp(max=rows - 1)
