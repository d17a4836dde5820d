"""Negatives: which other items stand in a loss's denominator, and how likely each was to be drawn.

Shapes: N positions of the batch (packed: only real items), C candidates, I ids of items, P items of the pool.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from heterrec_model.config import NegativesConfig
from heterrec_model.distributed import gather_rows, rank
from heterrec_schemas import PADDING
from heterrec_schemas.errors import CallError

NOBODY = -1
_USERS = 1 << 32


@dataclass(frozen=True, eq=False)
class Candidates:
    """Items that every position of a step is held against.

    Attributes:
        item_C: item_index.
        log_q_C: log of the expected count of the item among the candidates; 0 where no correction is wanted.
        user_C: the user who lent the item (see `apart`), NOBODY for one drawn from the catalogue.
    """

    item_C: Tensor
    log_q_C: Tensor
    user_C: Tensor

    def __len__(self) -> int:
        return len(self.item_C)


def apart(user_N: Tensor) -> Tensor:
    """Numbers of users within this rank's batch, made distinct from those of other ranks."""
    return user_N + rank() * _USERS


class Sampler:
    """Draws a step's candidates by a seed that all ranks share.

    Under DDP with `gather` every rank holds its positions against the items of all ranks' batches. Only the ids travel:
    each rank computes the vectors itself from its own copy of the weights, and the sum of the ranks' gradients is that
    of one process with the whole batch.

    Args:
        config: the settings.
        train_count_I: how often each item was trained on.
        catalogue_N: every item that has a row.

    Raises:
        CallError: there is nothing to draw from.
    """

    def __init__(self, config: NegativesConfig, train_count_I: Tensor, catalogue_N: Tensor) -> None:
        self.config = config
        trained_P = catalogue_N[train_count_I[catalogue_N] > 0]
        self.pool_P = catalogue_N if config.uniform_from == "catalogue" else trained_P
        if not len(self.pool_P):
            raise CallError(
                "there are no items to draw negatives from",
                got="no item of the catalogue with training interactions",
                todo="Check the generation's item_counts/, or set negatives.uniform_from: catalogue.",
            )
        self.batch_share_I = train_count_I.double() / train_count_I.sum().clamp(min=1)
        counted = self.batch_share_I[self.batch_share_I > 0]
        self.rarest = float(counted.min()) if len(counted) else 1.0
        self.pool_share_I = torch.zeros(len(train_count_I), dtype=torch.double)
        self.pool_share_I[self.pool_P] = 1.0 / len(self.pool_P)

    def draw(self, item_N: Tensor, user_N: Tensor, seed: int) -> Candidates:
        """The candidates of a step, those of the batch first.

        Args:
            item_N: item_index of every packed position of this rank's batch.
            user_N: the user of each, numbered within the batch.
            seed: names this step; equal on all ranks.
        """
        config, device = self.config, item_N.device
        generator = torch.Generator().manual_seed(seed)
        items, users = [item_N[:0]], [user_N[:0]]
        if config.source in ("mixed", "in_batch"):
            # a rank without a batch left trains on one of padding, which is no item to lend
            real_N = item_N != PADDING
            item_N, user_N = item_N[real_N], apart(user_N[real_N])
            if config.gather:
                item_N, user_N = gather_rows(item_N), gather_rows(user_N)
            row = torch.randperm(len(item_N), generator=generator)[: config.in_batch].to(device)
            items.append(item_N[row])
            users.append(user_N[row])
        if config.source in ("mixed", "uniform"):
            pick = torch.randint(len(self.pool_P), (config.uniform,), generator=generator)
            items.append(self.pool_P[pick].to(device))
            users.append(torch.full_like(items[-1], NOBODY))
        if config.source == "catalogue":
            # every item once; in an order by chance, so that any part of them is drawn uniformly
            order = torch.randperm(len(self.pool_P), generator=generator)
            items.append(self.pool_P[order].to(device))
            users.append(torch.full_like(items[-1], NOBODY))
        item_C, user_C = torch.cat(items), torch.cat(users)
        return Candidates(item_C, self._log_q(item_C, user_C != NOBODY), user_C)

    def token_rows(self, candidates: Candidates) -> Tensor:
        """Which candidates the token-level losses use: a share of every source alike, at most `token` in all."""
        lent = int((candidates.user_C != NOBODY).sum())
        wanted = min(self.config.token, len(candidates))
        from_batch = wanted * lent // max(1, len(candidates))
        drawn = min(len(candidates) - lent, wanted - from_batch)
        rows = torch.cat([torch.arange(from_batch), lent + torch.arange(drawn)])
        return rows.to(candidates.item_C.device)

    def part(self, candidates: Candidates, row_R: Tensor) -> Candidates:
        """Some of a step's candidates, corrected for there being fewer."""
        item_R, user_R = candidates.item_C[row_R], candidates.user_C[row_R]
        return Candidates(item_R, self._log_q(item_R, user_R != NOBODY), user_R)

    def _log_q(self, item_C: Tensor, from_batch_C: Tensor) -> Tensor:
        """log(n_batch p_batch + n_uniform p_uniform), or of the own source's part alone."""
        if self.config.logq == "none":
            return torch.zeros(len(item_C), device=item_C.device)
        items, lent = item_C.cpu(), int(from_batch_C.sum())
        share_C = self.batch_share_I[items]
        # an id without a count (out of vocabulary) can only come from the batch: as rare as any
        share_C = torch.where(from_batch_C.cpu() & (share_C == 0), self.rarest, share_C)
        by_batch_C = lent * share_C
        by_pool_C = (len(items) - lent) * self.pool_share_I[items]
        expected_C = by_batch_C + by_pool_C
        if self.config.logq == "source":
            # every source estimates the whole denominator, so that each counts for its share
            sources = (lent > 0) + (lent < len(items))
            expected_C = sources * torch.where(from_batch_C.cpu(), by_batch_C, by_pool_C)
        return expected_C.log().float().to(item_C.device)
