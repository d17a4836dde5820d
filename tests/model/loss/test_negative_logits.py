"""Packed positions and who is no negative of whom, by hand."""

import math

import torch
from made_up import made_up_batch, made_up_table
from torch import Tensor

from heterrec_model.loss.negative_logits import (
    PackedPositions,
    SamePositionNegatives,
    SharedNegatives,
    pack_positions,
)

TABLE = made_up_table(user_features=(), behaviours=0)
LENGTHS = (3, 1, 2)
VECTORS = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [2.0, 0.0]])
"""Of four items, in rows."""
BLANK = -math.inf


def three_users(rows: list[int]) -> PackedPositions:
    """Users of 3, 1 and 2 items, whose items stand in these rows."""
    batch = made_up_batch(LENGTHS, table=TABLE, padding=1)
    return pack_positions(batch, torch.tensor(rows))


def test_positions_are_packed_user_by_user() -> None:
    positions = three_users([0, 1, 2, 3, 0, 1])
    assert positions.user_N.tolist() == [0, 0, 0, 1, 2, 2]
    assert positions.time_N.tolist() == [0, 1, 2, 0, 0, 1]
    assert positions.left_N.tolist() == [2, 1, 0, 0, 1, 0]
    for step, at in ((1, [0, 1, 4]), (2, [0]), (3, [])):
        pairs = positions.pairs(step)
        assert pairs.at_R.tolist() == at
        assert pairs.target_R.tolist() == [position + step for position in at]


def test_items_outside_the_catalogue_are_no_targets() -> None:
    batch = made_up_batch(LENGTHS, table=TABLE, padding=1)
    listed = torch.tensor([True, False, True, True, True, True])
    positions = pack_positions(batch, torch.tensor([0, 1, 2, 3, 0, 1]), listed)
    pairs = positions.pairs(1)
    assert pairs.at_R.tolist() == [0, 1, 4]
    assert pairs.aimed_R.tolist() == [False, True, True]


def shared(
    positions: PackedPositions,
    value: list[int],
    *,
    log_q: Tensor | None = None,
    lenders: Tensor | None = None,
) -> Tensor:
    """The logits of step 1 against all four items, the query (1, 2) at every position."""
    negatives = SharedNegatives(
        candidate_C=torch.arange(4),
        log_q_C=torch.zeros(4) if log_q is None else log_q,
        value_U=torch.tensor(value),
        user_C=lenders,
        user_N=None if lenders is None else positions.user_N,
    )
    pairs = positions.pairs(1)
    query = torch.tensor([[1.0, 2.0]] * len(pairs.at_R))
    return negatives.logits(query, VECTORS, positions, pairs)


def test_the_target_is_no_negative_of_its_own_position() -> None:
    # targets: row 1 at the first position, 2 at the second, 3 at the third
    found = shared(three_users([0, 1, 2, 2, 0, 3]), value=[0, 1, 2, 3])
    assert found.tolist() == [
        [1.0, BLANK, 3.0, 2.0],
        [1.0, 2.0, BLANK, 2.0],
        [1.0, 2.0, 3.0, BLANK],
    ]


def test_items_of_the_targets_value_are_no_negatives() -> None:
    found = shared(three_users([0, 1, 2, 2, 0, 3]), value=[7, 7, 8, 8])
    assert found.tolist() == [
        [BLANK, BLANK, 3.0, 2.0],
        [1.0, 2.0, BLANK, BLANK],
        [1.0, 2.0, BLANK, BLANK],
    ]


def test_the_correction_is_subtracted() -> None:
    log_q = torch.tensor([0.5, -1.0, 0.0, 2.0])
    found = shared(three_users([0, 1, 2, 2, 0, 3]), value=[0, 1, 2, 3], log_q=log_q)
    assert found[0].tolist() == [0.5, BLANK, 3.0, 0.0]


def test_items_lent_by_the_asking_user_are_no_negatives_where_that_is_wanted() -> None:
    positions = three_users([0, 1, 2, 2, 0, 3])
    found = shared(positions, value=[0, 1, 2, 3], lenders=torch.tensor([0, 2, -1, 1]))
    assert found.tolist() == [
        [BLANK, BLANK, 3.0, 2.0],
        [BLANK, 2.0, BLANK, 2.0],
        [1.0, BLANK, 3.0, BLANK],
    ]


def test_same_position_takes_the_other_users_items_at_the_targets_place() -> None:
    # user 0 has rows 0 1 2, user 1 row 3, user 2 rows 2 3
    positions = three_users([0, 1, 2, 3, 2, 3])
    row_BT = torch.tensor([[0, 1, 2, -1], [3, -1, -1, -1], [2, 3, -1, -1]])
    negatives = SamePositionNegatives(row_BT, torch.tensor([0, 1, 2, 3]))
    query = torch.tensor([[1.0, 2.0]] * 3)
    found = negatives.logits(query, VECTORS, positions, positions.pairs(1))
    assert found.tolist() == [
        [BLANK, BLANK, 2.0],  # the target at place 1: only user 2 has another item there
        [BLANK, BLANK, BLANK],  # nobody else has come so far
        [2.0, BLANK, BLANK],
    ]


def test_same_position_masks_equal_items_of_others() -> None:
    positions = three_users([0, 3, 2, 3, 2, 3])
    row_BT = torch.tensor([[0, 3, 2, -1], [3, -1, -1, -1], [2, 3, -1, -1]])
    negatives = SamePositionNegatives(row_BT, torch.tensor([0, 1, 2, 3]))
    query = torch.ones(3, 2)
    found = negatives.logits(query, VECTORS, positions, positions.pairs(1))
    assert (found == BLANK).all()
