"""Sampling of negative candidates, and the log-probabilities that correct for it.

Shapes: N positions of the batch (packed: only real items), C candidates, I ids of items, P items of the pool.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from heterrec_model.config import NegativesConfig
from heterrec_model.distributed import gather_rows, rank
from heterrec_schemas import PADDING
from heterrec_schemas.errors import CallError

FROM_CATALOGUE = -1
"""User of a candidate that was drawn from the catalogue."""
_USERS = 1 << 32
"""Maximum number of users per rank."""


@dataclass(frozen=True, eq=False)
class Candidates:
    """Items that all positions of a step use as negatives.

    Attributes:
        item_C: item_index.
        log_q_C: log of the expected count of the item among the candidates; 0 without correction.
        user_C: user in whose history an in-batch item is (see `globally_unique`), or FROM_CATALOGUE.
    """

    item_C: Tensor
    log_q_C: Tensor
    user_C: Tensor

    def __len__(self) -> int:
        return len(self.item_C)


def globally_unique(user_N: Tensor) -> Tensor:
    """Make the numbers of users in this rank's batch distinct from those of other ranks."""
    return user_N + rank() * _USERS


class CandidateSampler:
    """Draws the candidates of a step with a seed that all ranks share.

    Under DDP with `gather`, every rank uses the items of all ranks' batches. Only ids are exchanged: each rank computes
    the vectors from its own copy of the weights, and the sum of the gradients equals that of one process with the whole
    batch.

    Args:
        config: configuration of the negatives.
        train_count_I: number of training interactions per item that can be an in-batch candidate.
        catalogue_N: item_index of every catalogue row.
        trained_I: whether an item counts as trained; None: it has training interactions.

    Raises:
        CallError: no item can be drawn.
    """

    def __init__(
        self,
        config: NegativesConfig,
        train_count_I: Tensor,
        catalogue_N: Tensor,
        trained_I: Tensor | None = None,
    ) -> None:
        self.config = config
        trained_I = train_count_I > 0 if trained_I is None else trained_I
        trained_P = catalogue_N[trained_I[catalogue_N]]
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
        """The candidates of a step, in-batch candidates first.

        Args:
            item_N: item_index of every packed position of this rank's batch.
            user_N: user of each position, numbered within the batch.
            seed: of the step; equal on all ranks.
        """
        config, device = self.config, item_N.device
        generator = torch.Generator().manual_seed(seed)
        items, users = [item_N[:0]], [user_N[:0]]
        if config.source in ("mixed", "in_batch"):
            # a rank that has run out of batches trains on padding, which is not a candidate
            real_N = item_N != PADDING
            item_N, user_N = item_N[real_N], globally_unique(user_N[real_N])
            if config.gather:
                item_N, user_N = gather_rows(item_N), gather_rows(user_N)
            row = torch.randperm(len(item_N), generator=generator)[: config.in_batch].to(device)
            items.append(item_N[row])
            users.append(user_N[row])
        pick = torch.zeros(0, dtype=torch.int64)
        if config.source in ("mixed", "uniform"):
            pick = torch.randint(len(self.pool_P), (config.uniform,), generator=generator)
        elif config.source == "catalogue":
            # every item once, in random order, so that any prefix is a uniform sample
            pick = torch.randperm(len(self.pool_P), generator=generator)
        items.append(self.pool_P[pick].to(device))
        users.append(torch.full_like(items[-1], FROM_CATALOGUE))
        item_C, user_C = torch.cat(items), torch.cat(users)
        return Candidates(item_C, self._log_q(item_C, user_C != FROM_CATALOGUE), user_C)

    def token_rows(self, candidates: Candidates) -> Tensor:
        """Rows of the candidates for the token-level losses: at most `token`, the same share of every source."""
        in_batch = int((candidates.user_C != FROM_CATALOGUE).sum())
        wanted = min(self.config.token, len(candidates))
        from_batch = wanted * in_batch // max(1, len(candidates))
        drawn = min(len(candidates) - in_batch, wanted - from_batch)
        rows = torch.cat([torch.arange(from_batch), in_batch + torch.arange(drawn)])
        return rows.to(candidates.item_C.device)

    def part(self, candidates: Candidates, row_R: Tensor) -> Candidates:
        """A subset of the candidates, with the correction for its size."""
        item_R, user_R = candidates.item_C[row_R], candidates.user_C[row_R]
        return Candidates(item_R, self._log_q(item_R, user_R != FROM_CATALOGUE), user_R)

    def _log_q(self, item_C: Tensor, from_batch_C: Tensor) -> Tensor:
        """log(n_batch p_batch + n_uniform p_uniform), or only the term of the candidate's own source."""
        if self.config.logq == "none":
            return torch.zeros(len(item_C), device=item_C.device)
        items, in_batch = item_C.cpu(), int(from_batch_C.sum())
        share_C = self.batch_share_I[items]
        # an id without a count (out of vocabulary) can only be in-batch: treated as the rarest item
        share_C = torch.where(from_batch_C.cpu() & (share_C == 0), self.rarest, share_C)
        by_batch_C = in_batch * share_C
        by_pool_C = (len(items) - in_batch) * self.pool_share_I[items]
        expected_C = by_batch_C + by_pool_C
        if self.config.logq == "source":
            # each source estimates the whole denominator, so their estimates are averaged
            sources = (in_batch > 0) + (in_batch < len(items))
            expected_C = sources * torch.where(from_batch_C.cpu(), by_batch_C, by_pool_C)
        return expected_C.log().float().to(item_C.device)
