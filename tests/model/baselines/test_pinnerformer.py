"""The targets of PinnerFormer."""

import dataclasses
from typing import Any

import pytest
import torch
from made_up import made_up_baseline, made_up_batch, made_up_config

from heterrec_model.data.batch import Batch
from heterrec_schemas.values import MS_PER_DAY

DAYS = (0, 1, 1, 4, 30)


def histories(users: int = 1, **fields: Any) -> Batch:
    """Histories of five items at DAYS."""
    times = torch.tensor(DAYS).expand(users, -1) * MS_PER_DAY
    return dataclasses.replace(made_up_batch([5] * users), timestamp_BT=times, **fields)


def drawn(
    batch: Batch,
    *,
    window_days: float | None = 3.0,
    positions: int = 9,
    unlisted: int | None = None,
) -> list[tuple[int, int]]:
    """The trained pairs of several draws."""
    config = made_up_config(
        {"name": "pinnerformer"},
        loss={"dense": {"window_days": window_days, "positions": positions}},
    )
    model = made_up_baseline(config)
    items = int(batch.length_B.sum())
    listed = torch.arange(items) != (-1 if unlisted is None else unlisted)
    torch.manual_seed(0)
    pairs = model.positions_of(batch, torch.arange(items), listed).pairs(1)
    pairs = pairs.at(pairs.aimed_R.nonzero().squeeze(1))
    return list(zip(pairs.at_R.tolist(), pairs.target_R.tolist(), strict=True))


@pytest.mark.parametrize(
    ("window", "expected"),
    [
        (3.0, {0: {1, 2}, 1: {2, 3}, 2: {3}}),  # up to the third day; nothing follows day 4 so soon
        (0.5, {1: {2}}),
        (26.0, {0: {1, 2, 3}, 1: {2, 3}, 2: {3}, 3: {4}}),
        (None, {n: set(range(n + 1, 5)) for n in range(4)}),
    ],
)
def test_targets_are_items_of_the_window(
    window: float | None, expected: dict[int, set[int]]
) -> None:
    found: dict[int, set[int]] = {}
    for at, target in drawn(histories(200), window_days=window):
        assert at // 5 == target // 5, "of the same user"
        found.setdefault(at % 5, set()).add(target % 5)
    assert found == expected


def test_a_target_is_drawn_with_equal_probabilities() -> None:
    targets = [target % 5 for at, target in drawn(histories(2000), window_days=None) if at % 5 == 0]
    shares = torch.tensor(targets).bincount(minlength=5) / len(targets)
    assert shares.tolist() == pytest.approx([0, 0.25, 0.25, 0.25, 0.25], abs=0.04)


def test_a_history_has_so_many_positions_at_most_chosen_at_random() -> None:
    found = torch.tensor([at for at, _ in drawn(histories(1000), window_days=None, positions=2)])
    assert (found // 5).bincount().tolist() == [2] * 1000
    assert ((found % 5).bincount() / 1000).tolist() == pytest.approx([0.5] * 4, abs=0.06)


def test_context_and_items_without_a_row_are_no_targets() -> None:
    batch = histories(300, first_target_B=torch.full((300,), 3))
    assert {target % 5 for _, target in drawn(batch, window_days=None)} == {3, 4}
    assert {target for _, target in drawn(histories(), window_days=0.5, unlisted=2)} == set()


def test_the_dense_loss_beside_the_steps_is_that_of_pinnerformer() -> None:
    dense = {"window_days": None, "positions": 9, "weight": 0.5}
    loss = {"steps": 1, "step_weights": [0.0], "token_weight": 0.0}
    beside = made_up_baseline(
        made_up_config({"name": "sasrec_time"}, loss={**loss, "dense": dense})
    )
    alone = made_up_baseline(
        made_up_config({"name": "pinnerformer"}, loss={"dense": {**dense, "weight": 0.0}})
    )
    alone.load_state_dict(beside.state_dict())
    found = []
    for model in (beside, alone):
        torch.manual_seed(0)
        found.append(model.eval()(histories(3), 1))
    assert found[0].terms["item_step1"] == 0
    assert float(found[0].terms["item_dense"]) == pytest.approx(
        0.5 * float(found[1].total.detach())
    )
