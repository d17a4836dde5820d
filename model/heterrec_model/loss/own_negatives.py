"""The items of a user's own history as negatives of its positions, with the repeat term.

A loss whose negatives are shared by all users cannot learn how strong a user's own items are: most of them are not among
the candidates, and those that are there by chance are corrected for the popularity among all users. The denominator of a
position is therefore the sum of two strata: the items that the user had up to the position, each once and without a
correction, and the shared candidates without them. Of the row's items before the history, a few are drawn, weighted so that
the expected sum is that of all.

Items that the user already has at the time of a target are no negatives: they cannot be bought twice at a time.

Shapes: B users, T items of the longest history, G own items per user, M drawn of them, N packed positions, R of them,
C candidates, U distinct items of the step, D width, F numbers of the repeat term.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from heterrec_model.data.batch import Batch
from heterrec_model.data.own_items import OwnItems, own_items
from heterrec_model.loss.negative_logits import PackedPositions, Pairs, SharedNegatives
from heterrec_model.loss.repeat_term import RepeatTerm
from heterrec_schemas import PADDING


@dataclass(frozen=True, eq=False)
class DrawnItems:
    """The own items of a batch: all items of its histories, and some earlier ones.

    Attributes:
        earlier: all pairs of a user and an earlier item.
        item_BG: item_index, 0 where padded.
        pair_BG: row of `earlier`, -1 for an item that is not in it.
        log_weight_BG: log of the number of items that an item represents.
        column_BT: column of every item of the histories.
    """

    earlier: OwnItems
    item_BG: Tensor
    pair_BG: Tensor
    log_weight_BG: Tensor
    column_BT: Tensor


def draw_own_items(batch: Batch, most: int, seed: int) -> DrawnItems:
    """The items of the histories, and up to `most` distinct earlier items per user."""
    assert batch.earlier is not None, "read for a model with repeats"
    device, users = batch.item_BT.device, batch.users
    earlier, _ = own_items(batch.earlier)
    valid_BT = batch.valid_BT()
    user_N, item_N = valid_BT.nonzero()[:, 0], batch.item_BT[valid_BT]
    width = 1 + max(int(x.max()) if len(x) else 0 for x in (earlier.item_P, item_N))
    earlier_P = earlier.user_P * width + earlier.item_P
    history_N = user_N * width + item_N
    history_H, column_N = torch.unique(history_N, return_inverse=True)
    # one random number per pair decides which pairs of a user are drawn
    generator = torch.Generator().manual_seed(seed)
    random_P = torch.rand(len(earlier_P), generator=generator).to(device)
    only_P = (~torch.isin(earlier_P, history_H)).nonzero().squeeze(1)
    only_P = only_P[random_P[only_P].argsort()]
    only_P = only_P[earlier.user_P[only_P].argsort(stable=True)]
    rank, count_B = _rank_by_user(earlier.user_P[only_P], users)
    drawn, drawn_rank = only_P[rank < most], rank[rank < most]
    drawn_user = earlier.user_P[drawn]
    weight_B = (count_B.clamp(min=1) / count_B.clamp(min=1, max=most)).log()
    # columns: the items of the history, then the drawn ones
    user_H = torch.div(history_H, width, rounding_mode="floor")
    user_G = torch.cat([user_H, drawn_user])
    item_G = torch.cat([history_H % width, earlier.item_P[drawn]])
    column_H, own_B = _rank_by_user(user_H, users)
    column_G = torch.cat([column_H, own_B[drawn_user] + drawn_rank])
    columns = int(column_G.max()) + 1 if len(column_G) else 1
    item_BG = torch.zeros((users, columns), dtype=torch.int64, device=device)
    item_BG[user_G, column_G] = item_G
    pair_BG = torch.full_like(item_BG, -1)
    pair_BG[user_G, column_G] = _rows_of(user_G * width + item_G, earlier_P)
    log_weight_BG = torch.zeros((users, columns), device=device)
    log_weight_BG[drawn_user, column_G[len(user_H) :]] = weight_B[drawn_user].float()
    column_BT = torch.zeros_like(batch.item_BT)
    column_BT[valid_BT] = column_H[column_N]
    return DrawnItems(earlier, item_BG, pair_BG, log_weight_BG, column_BT)


@dataclass(frozen=True, eq=False)
class Occurrences:
    """How often and how recently a user had each own item, at every item of the history.

    Attributes:
        count_BTG: occurrences up to an item of the history, it included.
        since_BTG: interactions from the last of them to the item, both included.
        last_ms_BTG: time of the last of them; 0 without one.
        length_BT: interactions up to an item of the history, it included.
    """

    count_BTG: Tensor
    since_BTG: Tensor
    last_ms_BTG: Tensor
    length_BT: Tensor


def occurrences(batch: Batch, drawn: DrawnItems) -> Occurrences:
    """The occurrences of the own items of a batch: of its earlier items, and along its histories."""
    assert batch.earlier is not None, "read for a model with repeats"
    earlier, valid_BT = drawn.earlier, batch.valid_BT()
    seen_BG, pair_BG = drawn.pair_BG >= 0, drawn.pair_BG.clamp(min=0)
    if len(earlier.item_P):
        count_BG = earlier.count_P[pair_BG].masked_fill(~seen_BG, 0)
        since_BG = earlier.since_P[pair_BG].masked_fill(~seen_BG, 0)
        last_BG = earlier.last_ms_P[pair_BG].masked_fill(~seen_BG, 0)
    else:
        count_BG, since_BG, last_BG = (torch.zeros_like(pair_BG) for _ in range(3))
    happens_BTG = valid_BT.new_zeros((*valid_BT.shape, drawn.item_BG.shape[1]))
    happens_BTG.scatter_(2, drawn.column_BT[..., None], valid_BT[..., None])
    steps_T = torch.arange(1, valid_BT.shape[1] + 1, device=valid_BT.device)
    last_BTG = (happens_BTG * steps_T[:, None]).cummax(1).values  # 1 + its index, 0 without
    inside_BTG = last_BTG > 0
    index_BX = (last_BTG - 1).clamp(min=0).flatten(1)
    when_BTG = batch.timestamp_BT.gather(1, index_BX).view_as(last_BTG)
    earlier_B = torch.bincount(batch.earlier.user_E, minlength=batch.users)
    return Occurrences(
        count_BTG=count_BG[:, None] + happens_BTG.cumsum(1),
        since_BTG=steps_T[:, None] + torch.where(inside_BTG, 1 - last_BTG, since_BG[:, None]),
        last_ms_BTG=torch.where(inside_BTG, when_BTG, last_BG[:, None]),
        length_BT=earlier_B[:, None] + steps_T,
    )


@dataclass(frozen=True, eq=False)
class OwnNegatives:
    """Shared negatives, and the own items of every position.

    Attributes:
        shared: negatives of all positions.
        term: the repeat term.
        row_BG: rows of the own items among the distinct items of the step.
        shared_BTG: `RepeatTerm.shared` at every item of the history.
        blocked_BG: own items that are no negatives of any position: padding, retired and out of vocabulary.
        log_weight_BG: see `DrawnItems`.
        count_BTG: occurrences up to an item of the history, it included.
        last_ms_BTG: time of the last of them.
        time_BT: time of every item of the history.
        column_BT: column of every item of the history.
        first_BC: index in the history of a candidate's first occurrence, int32; -1 if it is an earlier item, T if neither.
    """

    shared: SharedNegatives
    term: RepeatTerm
    row_BG: Tensor
    shared_BTG: Tensor
    blocked_BG: Tensor
    log_weight_BG: Tensor
    count_BTG: Tensor
    last_ms_BTG: Tensor
    time_BT: Tensor
    column_BT: Tensor
    first_BC: Tensor

    @classmethod
    def of(
        cls,
        shared: SharedNegatives,
        term: RepeatTerm,
        batch: Batch,
        drawn: DrawnItems,
        row_BG: Tensor,
        item_U: Tensor,
        allowed_I: Tensor,
        popularity_I: Tensor,
    ) -> "OwnNegatives":
        """The own negatives of a batch.

        Args:
            shared: of the item level.
            term: the repeat term.
            batch: the histories.
            drawn: their own items.
            row_BG: rows of `drawn.item_BG` among the distinct items.
            item_U: the distinct items, ascending.
            allowed_I: whether an item can be a negative.
            popularity_I: number of training interactions of every item.
        """
        along = occurrences(batch, drawn)
        count_BTG = along.count_BTG
        return cls(
            shared=shared,
            term=term,
            row_BG=row_BG,
            shared_BTG=term.shared(
                count_BTG,
                along.length_BT[..., None].expand_as(count_BTG),
                along.since_BTG,
                batch.timestamp_BT[..., None] - along.last_ms_BTG,
                popularity_I[drawn.item_BG][:, None].expand_as(count_BTG),
            ),
            blocked_BG=(drawn.item_BG == PADDING) | ~allowed_I[drawn.item_BG],
            log_weight_BG=drawn.log_weight_BG,
            count_BTG=count_BTG,
            last_ms_BTG=along.last_ms_BTG,
            time_BT=batch.timestamp_BT,
            column_BT=drawn.column_BT,
            first_BC=_first_indices(batch, drawn, row_BG, item_U)[:, shared.candidate_C],
        )

    def logits(
        self,
        query_RD: Tensor,
        vectors_UD: Tensor,
        positions: PackedPositions,
        pairs: Pairs,
    ) -> tuple[Tensor, Tensor]:
        """The repeat term of the targets, [R], and l- of the queries, [R, C + G]; see `SharedNegatives`."""
        user_R, time_R = positions.user_N[pairs.at_R], positions.time_N[pairs.known_R]
        target_time_R = positions.time_N[pairs.target_R]
        place_R = user_R * self.time_BT.shape[1] + positions.time_N[pairs.at_R]
        width, users = query_RD.shape[1], len(self.time_BT)
        query_PD = query_RD.new_zeros(self.time_BT.numel(), width).index_copy(0, place_R, query_RD)
        query_BTD = query_PD.view(users, -1, width)
        own_BGD = vectors_UD.index_select(0, self.row_BG.flatten()).view(*self.row_BG.shape, -1)
        similar_BTG = query_BTD @ own_BGD.transpose(1, 2)
        similar_RG = similar_BTG.flatten(0, 1).index_select(0, place_R)
        count_RG = self.count_BTG[user_R, time_R]
        last_ms_RG = self.last_ms_BTG[user_R, time_R]
        of_item_BGF = self.term.item_weights(own_BGD)
        had_RG = count_RG > 0
        term_RG = self.term(
            self.shared_BTG[user_R, time_R],
            count_RG,
            self.time_BT[user_R, time_R][:, None] - last_ms_RG,
            similar_RG,
            of_item_BGF.index_select(0, user_R),
        )
        term_RG = torch.where(had_RG, term_RG, 0.0)
        target_R1 = self.column_BT[user_R, target_time_R][:, None]
        of_target_R = term_RG.gather(1, target_R1).squeeze(1)
        negative_RC = self.shared.logits(query_RD, vectors_UD, positions, pairs)
        own_RC = self.first_BC[user_R] <= time_R[:, None]
        negative_RC = negative_RC.masked_fill(own_RC, -torch.inf)
        now_R = self.time_BT[user_R, target_time_R]
        no_RG = ~had_RG | self.blocked_BG[user_R] | (last_ms_RG == now_R[:, None])
        no_RG.scatter_(1, target_R1, True)
        own_RG = similar_RG + term_RG + self.log_weight_BG[user_R]
        return of_target_R, torch.cat([negative_RC, own_RG.masked_fill(no_RG, -torch.inf)], 1)


def _first_indices(batch: Batch, drawn: DrawnItems, row_BG: Tensor, item_U: Tensor) -> Tensor:
    """`OwnNegatives.first_BC` for the distinct items of the step, int32 [B, U]."""
    valid_BT, length = batch.valid_BT(), batch.item_BT.shape[1]
    device = row_BG.device
    first_BU = torch.full((batch.users, len(item_U)), length, dtype=torch.int32, device=device)
    index_BT = torch.arange(length, device=device).where(valid_BT, length).int()
    first_BU.scatter_reduce_(1, row_BG.gather(1, drawn.column_BT), index_BT, "amin")
    row_P = _rows_of(drawn.earlier.item_P, item_U)
    known_P = row_P >= 0
    first_BU[drawn.earlier.user_P[known_P], row_P[known_P]] = -1
    return first_BU


def _rank_by_user(user_X: Tensor, users: int) -> tuple[Tensor, Tensor]:
    """Rank of each element among those of its user, from 0, and their number by user; `user_X` is ascending."""
    count_B = torch.bincount(user_X, minlength=users)
    first_B = count_B.cumsum(0) - count_B
    return torch.arange(len(user_X), device=user_X.device) - first_B[user_X], count_B


def _rows_of(value_X: Tensor, sorted_P: Tensor) -> Tensor:
    """Rows of some values in ascending distinct ones, -1 for a value that is not among them."""
    if not len(sorted_P):
        return torch.full_like(value_X, -1)
    row_X = torch.searchsorted(sorted_P, value_X).clamp(max=len(sorted_P) - 1)
    return torch.where(sorted_P[row_X] == value_X, row_X, -1)
