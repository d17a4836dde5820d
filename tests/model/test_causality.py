"""What HeterRec must never let through: later interactions, padding, the order of the users."""

import dataclasses
from typing import Any

import pytest
import torch
from equality import same_gradients, same_values
from hypothesis import given
from hypothesis import strategies as st
from made_up import (
    MODELS,
    QUICK,
    encoded,
    made_up_batch,
    made_up_config,
    made_up_model,
    padded,
    weights_of,
)
from torch import Tensor

import heterrec_model.layers.attention
import heterrec_model.loss.lmp
from heterrec_model.data.batch import Batch

SEED = 11


def changed_behind(batch: Batch, user: int, place: int) -> Batch:
    """Another item, time and behaviour at one place of one user, and at all later ones."""
    item, time = batch.item_BT.clone(), batch.timestamp_BT.clone()
    assert batch.behaviour_BT is not None
    behaviour = batch.behaviour_BT.clone()
    item[user, place:] = (item[user, place:] - 3 + 5) % 14 + 3
    time[user, place:] += 86_400_000 * 40
    behaviour[user, place:] = behaviour[user, place:] % 3 + 1
    return dataclasses.replace(batch, item_BT=item, timestamp_BT=time, behaviour_BT=behaviour)


@QUICK
@given(model=MODELS, place=st.integers(1, 4), seed=st.integers(0, 99))
def test_a_later_interaction_changes_no_earlier_output(
    model: dict[str, Any], place: int, seed: int
) -> None:
    made = made_up_model(made_up_config(model=model), seed=seed)
    batch = made_up_batch([5, 5], seed=seed)
    before, after = encoded(made, batch), encoded(made, changed_behind(batch, 0, place))
    for a, b in ((before.u_BTD, after.u_BTD), (before.h_BTKD, after.h_BTKD)):
        assert a is not None
        assert b is not None
        assert torch.equal(a[0, :place], b[0, :place])
        assert torch.equal(a[1], b[1])
        assert not torch.allclose(a[0, place:], b[0, place:])


class Recorder:
    """Stands in for `info_nce` and keeps what every position is held against, level by level and step by step."""

    def __init__(self) -> None:
        self.calls: list[tuple[Tensor, Tensor]] = []

    def __call__(self, positive_N: Tensor, negative_NC: Tensor) -> Tensor:
        self.calls.append((positive_N.detach(), negative_NC.detach()))
        return positive_N * 0


@pytest.mark.parametrize("source", ["uniform", "catalogue"])
@pytest.mark.parametrize("place", [1, 2, 3, 4])
def test_a_later_interaction_changes_no_loss_of_earlier_targets(
    source: str, place: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # candidates that do not come from the batch, and open gates: what is left is positions and targets
    config = made_up_config(loss={"gate": False}, negatives={"source": source})
    model = made_up_model(config)
    batch = made_up_batch([5, 3])
    runs = []
    for given_batch in (batch, changed_behind(batch, 0, place)):
        recorder = Recorder()
        monkeypatch.setattr(heterrec_model.loss.lmp, "info_nce", recorder)
        model(given_batch, SEED)
        runs.append(recorder.calls)
    assert len(runs[0]) == 2 * (1 + model.tables.tokens)
    for call, (before, after) in enumerate(zip(*runs, strict=True)):
        step = call % 2 + 1
        # user 0 has 5 - step positions with a target: those whose target stands before `place` stay
        same = list(range(max(place - step, 0))) + list(range(5 - step, 5 - step + 3 - step))
        for a, b in zip(before, after, strict=True):
            torch.testing.assert_close(a[same], b[same], rtol=1e-12, atol=1e-12)
            # the level of a token may have equal cells before and after
            assert call > 1 or not torch.allclose(a, b)


@QUICK
@given(
    model=MODELS,
    source=st.sampled_from(["mixed", "in_batch_same_position"]),
    more=st.integers(1, 3),
    seed=st.integers(0, 99),
)
def test_padding_changes_nothing(model: dict[str, Any], source: str, more: int, seed: int) -> None:
    made = made_up_model(made_up_config(model=model, negatives={"source": source}), seed=seed)
    batch = made_up_batch([4, 2, 1], seed=seed)
    wide = padded(batch, 4 + more)
    blank = ~wide.valid_BT()
    random = torch.Generator().manual_seed(seed)

    def garbage(x: Tensor, high: int) -> Tensor:
        return x.where(~blank, torch.randint(0, high, x.shape, generator=random))

    assert wide.behaviour_BT is not None
    dirty = dataclasses.replace(
        wide,
        item_BT=garbage(wide.item_BT, 17),
        timestamp_BT=garbage(wide.timestamp_BT, 10**13),
        behaviour_BT=garbage(wide.behaviour_BT, 4),
    )
    want = made(batch, SEED).total
    want_vectors = made.user_vectors(batch)
    for other in (wide, dirty):
        same_gradients(made(other, SEED).total, want, weights_of(made))
        want = made(batch, SEED).total
        same_values(made.user_vectors(other), want_vectors)
        for values in vars(encoded(made, other)).values():
            assert values.isfinite().all()


def permuted(batch: Batch, order: list[int]) -> Batch:
    assert batch.behaviour_BT is not None
    return Batch(
        item_BT=batch.item_BT[order],
        timestamp_BT=batch.timestamp_BT[order],
        length_B=batch.length_B[order],
        behaviour_BT=batch.behaviour_BT[order],
        user_features={name: x[order] for name, x in batch.user_features.items()},
        user_ids=[batch.user_ids[n] for n in order],
    )


@pytest.mark.parametrize("source", ["mixed", "in_batch_same_position", "catalogue"])
def test_permuting_the_users_permutes_the_outputs_and_keeps_the_loss(source: str) -> None:
    # 9 positions, and room for all of them among the candidates: which are lent does not hang on the order
    config = made_up_config(negatives={"source": source, "in_batch": 99, "token": 99})
    model = made_up_model(config)
    batch, order = made_up_batch([4, 2, 3]), [2, 0, 1]
    other = permuted(batch, order)
    before, after = encoded(model, batch), encoded(model, other)
    assert before.h_BTKD is not None
    assert after.h_BTKD is not None
    for new, old in enumerate(order):
        length = int(batch.length_B[old])
        same_values(after.u_BTD[new, :length], before.u_BTD[old, :length])
        same_values(after.h_BTKD[new, :length], before.h_BTKD[old, :length])
    same_values(model.user_vectors(other), model.user_vectors(batch)[order])
    same_gradients(model(other, SEED).total, model(batch, SEED).total, weights_of(model))
