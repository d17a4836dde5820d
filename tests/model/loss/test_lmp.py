"""Listwise Multi-step Prediction: the loss and the gate by hand, several steps against the equations."""

import dataclasses
import math
from typing import Any

import equations_loss
import pytest
import torch
from equality import same_gradients, same_values
from equations_loss import Candidate
from hypothesis import given
from hypothesis import strategies as st
from made_up import MANY, QUICK, made_up_batch, made_up_config, made_up_table, scrambled, weights_of
from torch import Tensor

from heterrec_model.config import LossConfig
from heterrec_model.loss.lmp import (
    MIN_NORM,
    LossSums,
    MultiStepLoss,
    Normalise,
    for_similarity,
    gate,
    info_nce,
    reduce_losses,
)
from heterrec_model.loss.negative_logits import (
    Negatives,
    SamePositionNegatives,
    SharedNegatives,
    pack_positions,
)

TABLE = made_up_table(user_features=(), behaviours=0)
WIDTH, DISTINCT = 3, 7
LOGITS = st.floats(-6, 6)
NORMALISE: list[Normalise] = ["possible", "open", "sum"]


# Eq. 10


@MANY
@given(positive=LOGITS, negatives=st.lists(LOGITS, min_size=1, max_size=5))
def test_the_loss_is_minus_log_of_the_printed_fraction(
    positive: float, negatives: list[float]
) -> None:
    e = math.exp
    fraction = e(positive) / (1 + e(positive) + sum(e(n) for n in negatives))
    got = info_nce(
        torch.tensor([positive], dtype=torch.float64),
        torch.tensor([negatives], dtype=torch.float64),
    )
    assert got.tolist() == pytest.approx([-math.log(fraction)], rel=1e-12, abs=1e-12)


def test_the_loss_by_hand() -> None:
    # e^0 / (1 + e^0 + 2 + 4) = 1/8
    negative = torch.tensor([[math.log(2.0), math.log(4.0)]])
    assert info_nce(torch.zeros(1), negative).item() == pytest.approx(math.log(8.0))


def test_large_logits_do_not_overflow() -> None:
    found = info_nce(torch.tensor([300.0, -300.0]), torch.tensor([[-300.0], [300.0]]))
    assert found.tolist() == [0.0, 600.0]


@pytest.mark.parametrize("columns", [0, 3])
def test_without_a_negative_loss_and_gradient_are_finite(columns: int) -> None:
    positive = torch.zeros(2, requires_grad=True)
    logits = torch.zeros(2, columns, requires_grad=True)
    loss = info_nce(positive, logits.masked_fill(torch.ones(2, columns).bool(), -math.inf))
    loss.sum().backward()
    assert loss.tolist() == pytest.approx([math.log(2.0)] * 2)
    assert positive.grad is not None
    assert positive.grad.tolist() == pytest.approx([-0.5, -0.5])
    assert logits.grad is not None
    assert torch.equal(logits.grad, torch.zeros(2, columns))


# Eq. 11


@pytest.mark.parametrize(
    ("previous", "current", "margin", "open_"),
    [
        (2.0, 1.0, 1.0, True),  # 7.389 > 2.718 + 1
        (1.0, 0.5, 1.0, True),  # 2.718 > 1.649 + 1
        (1.0, 0.6, 1.0, False),  # 2.718 < 1.822 + 1
        (1.0, 0.6, 0.5, True),  # 2.718 > 1.822 + 0.5
        (0.0, -9.0, 1.0, False),  # 1 < 0.0001 + 1
        (-1.0, -2.0, 0.3, False),  # 0.368 < 0.135 + 0.3
        (-1.0, -2.0, 0.2, True),  # 0.368 > 0.135 + 0.2
        (1.0, 2.0, 1.0, False),
        (1000.0, 999.0, 1.0, True),  # no overflow
        (-1000.0, -1001.0, 1.0, False),
    ],
)
def test_the_gate_by_hand(previous: float, current: float, margin: float, open_: bool) -> None:
    found = gate(torch.tensor([previous]), torch.tensor([current]), margin)
    assert found.tolist() == [open_]


def test_the_gate_passes_no_gradient() -> None:
    x = torch.ones(2, requires_grad=True)
    assert not gate(x * 3, x, 1.0).requires_grad


# the cosine


def test_vectors_become_unit_vectors_for_the_cosine_alone() -> None:
    x = torch.tensor([[3.0, 4.0], [0.06, 0.08]])
    assert for_similarity(x, loss_config(similarity="cosine")).flatten().tolist() == pytest.approx(
        [0.6, 0.8, 0.6, 0.8]
    )
    assert torch.equal(for_similarity(x, loss_config(similarity="dot")), x)


def test_a_vanishing_vector_has_a_bounded_gradient() -> None:
    x = torch.tensor([[0.0, 0.0], [MIN_NORM / 10, 0.0]], requires_grad=True)
    unit = for_similarity(x, loss_config(similarity="cosine"))
    assert unit.tolist() == [[0.0, 0.0], pytest.approx([0.1, 0.0])]
    unit.sum().backward()
    assert x.grad is not None
    assert float(x.grad.abs().max()) == pytest.approx(1 / MIN_NORM)


# several steps


def loss_config(**loss: Any) -> LossConfig:
    return made_up_config(loss=loss).loss


class Level:
    """One level: made-up outputs, item vectors, histories and shared candidates, of both ways."""

    def __init__(
        self, config: LossConfig, lengths: list[int], candidates: int, seed: int, spread: float
    ) -> None:
        random = torch.Generator().manual_seed(seed)
        self.config = config
        self.lmp = scrambled(MultiStepLoss(config, WIDTH), seed, spread)
        count = sum(lengths)
        self.lengths = lengths
        self.row_N = torch.randint(DISTINCT, (count,), generator=random)
        self.u_ND = torch.randn(count, WIDTH, generator=random).double().requires_grad_()
        self.v_UD = torch.randn(DISTINCT, WIDTH, generator=random).double().requires_grad_()
        self.value_U = torch.randint(5, (DISTINCT,), generator=random)
        self.candidate_C = torch.randint(DISTINCT, (candidates,), generator=random)
        self.log_q_C = torch.randn(candidates, generator=random).double()
        self.user_C = torch.randint(-1, len(lengths), (candidates,), generator=random)
        batch = made_up_batch(lengths, table=TABLE)
        self.first_B: Tensor | None = None
        if seed % 2:
            self.first_B = torch.tensor([n // 2 for n in lengths])
        batch = dataclasses.replace(batch, first_target_B=self.first_B)
        self.positions = pack_positions(batch, self.row_N)
        self.valid_BT = batch.valid_BT()

    def leaves(self) -> dict[str, Tensor]:
        return weights_of(self.lmp) | {"u": self.u_ND, "v": self.v_UD}

    def fast(self, *, same_position: bool, mask_same_user: bool) -> LossSums:
        negatives: Negatives
        if same_position:
            row_BT = torch.full(self.valid_BT.shape, -1).masked_scatter(self.valid_BT, self.row_N)
            negatives = SamePositionNegatives(row_BT, self.value_U)
        else:
            negatives = SharedNegatives(
                self.candidate_C,
                self.log_q_C,
                self.value_U,
                self.user_C if mask_same_user else None,
                self.positions.user_N if mask_same_user else None,
            )
        sums = LossSums()
        vectors = for_similarity(self.v_UD, self.config)
        self.lmp(self.u_ND, vectors, self.positions, negatives, sums, name="x", weight=0.7)
        return sums

    def slow(self, *, same_position: bool, mask_same_user: bool) -> list[equations_loss.Term]:
        weights = weights_of(self.lmp)
        steps = range(self.config.steps)
        shared = [
            Candidate(item, log_q, None if user < 0 else user)
            for item, log_q, user in zip(
                self.candidate_C.tolist(),
                self.log_q_C.tolist(),
                self.user_C.tolist(),
                strict=True,
            )
        ]
        return equations_loss.level_terms(
            self.config,
            [(weights[f"steps.{i}.weight"], weights[f"steps.{i}.bias"]) for i in steps],
            [list(part) for part in self.u_ND.split(self.lengths)],
            [part.tolist() for part in self.row_N.split(self.lengths)],
            dict(enumerate(self.v_UD)),
            self.value_U.tolist().__getitem__,
            None if same_position else shared,
            mask_same_user=mask_same_user,
            first_targets=None if self.first_B is None else self.first_B.tolist(),
        )


@MANY
@given(
    lengths=st.lists(st.integers(1, 5), min_size=1, max_size=3),
    similarity=st.sampled_from(["cosine", "dot"]),
    steps=st.integers(1, 3),
    gated=st.booleans(),
    margin=st.sampled_from([0.1, 1.0]),
    candidates=st.integers(0, 4),
    same_position=st.booleans(),
    mask_same_user=st.booleans(),
    normalise=st.sampled_from(NORMALISE),
    seed=st.integers(0, 99),
)
def test_values_and_gradients_are_those_of_the_equations(
    lengths: list[int],
    similarity: str,
    steps: int,
    gated: bool,
    margin: float,
    candidates: int,
    same_position: bool,
    mask_same_user: bool,
    normalise: Normalise,
    seed: int,
) -> None:
    weights = [1.0, 0.5, 0.25][:steps]
    config = loss_config(
        similarity=similarity, steps=steps, step_weights=weights, gate=gated, margin=margin
    )
    level = Level(config, lengths, candidates, seed, spread=1.0)
    sums = level.fast(same_position=same_position, mask_same_user=mask_same_user)
    terms = level.slow(same_position=same_position, mask_same_user=mask_same_user)
    names = [f"x_step{i}" for i in range(1, steps + 1)]
    assert list(sums.sums) == names
    for name, term, weight in zip(names, terms, weights, strict=True):
        assert (sums.open[name], sums.possible[name]) == (term.open, term.possible)
        assert sums.weights[name] == pytest.approx(0.7 * weight)
        same_values(sums.sums[name].detach(), term.total.detach())
    total, parts, shares = reduce_losses(sums, normalise)
    want = 0.7 * equations_loss.settled(terms, weights, normalise)
    same_gradients(total, want, level.leaves())
    assert sum(parts.values()).item() == pytest.approx(total.item(), rel=1e-6, abs=1e-9)
    for name, term in zip(names, terms, strict=True):
        share = term.open / term.possible if term.possible else math.nan
        assert shares[name].item() == pytest.approx(share, nan_ok=True)


def test_gates_of_both_kinds_are_among_the_examples() -> None:
    config = loss_config(steps=2, margin=0.5)
    opened = [
        Level(config, [5, 4], 3, seed, 1.0).fast(same_position=False, mask_same_user=False)
        for seed in range(0, 20, 2)
    ]
    shares = [float(sums.open["x_step2"] / sums.possible["x_step2"]) for sums in opened]
    assert any(0 < share < 1 for share in shares)
    assert all(sums.open["x_step1"] == sums.possible["x_step1"] == 7 for sums in opened)


@pytest.mark.parametrize("seed", range(6))
def test_every_step_is_gated_by_the_step_before_it(seed: int) -> None:
    level = Level(loss_config(steps=3, gate=True, margin=0.1), [7, 6, 5], 2, seed, 1.0)
    sums = level.fast(same_position=False, mask_same_user=False)
    terms = level.slow(same_position=False, mask_same_user=False)
    assert [int(x) for x in sums.open.values()] == [term.open for term in terms]
    for got, term in zip(sums.sums.values(), terms, strict=True):
        same_values(got, term.total)


def by_hand(margin: float, gated: bool = True) -> tuple[MultiStepLoss, LossSums]:
    """One user of three items. l+ is 2 at step 1 and 1 at step 2 for the first position, 0.5 for the second."""
    config = loss_config(
        similarity="dot", temperature=1.0, steps=2, margin=margin, gate=gated, step_weights=None
    )
    lmp = MultiStepLoss(config, 1)
    with torch.no_grad():
        for step, factor in zip(lmp.steps, (2.0, 1.0), strict=True):
            step.weight.fill_(factor)
            step.bias.zero_()
    batch = made_up_batch([3], table=TABLE)
    positions = pack_positions(batch, torch.tensor([0, 1, 1]))
    negatives = SharedNegatives(torch.tensor([0]), torch.zeros(1), torch.arange(2))
    sums = LossSums()
    u = torch.tensor([[1.0], [0.25], [9.0]])
    lmp(u, torch.tensor([[0.0], [1.0]]), positions, negatives, sums, name="item")
    return lmp, sums


def test_steps_and_gates_by_hand() -> None:
    # step 2 has one position: e^2 = 7.389 against e^1 + margin
    _, open_ = by_hand(margin=4.6)
    assert (open_.open["item_step1"], open_.possible["item_step1"]) == (2, 2)
    assert (open_.open["item_step2"], open_.possible["item_step2"]) == (1, 1)
    e = math.exp
    step1 = -math.log(e(2) / (1 + e(2) + 1)) - math.log(e(0.5) / (1 + e(0.5) + 1))
    step2 = -math.log(e(1) / (1 + e(1) + 1))
    total, terms, shares = reduce_losses(open_, "possible")
    assert total.item() == pytest.approx(step1 / 2 + step2)
    assert terms["item_step1"].item() == pytest.approx(step1 / 2)
    assert terms["item_step2"].item() == pytest.approx(step2)
    assert shares["item_step2"] == 1
    _, closed = by_hand(margin=4.7)
    total, _, shares = reduce_losses(closed, "possible")
    assert total.item() == pytest.approx(step1 / 2)
    assert shares["item_step2"] == 0
    _, ungated = by_hand(margin=4.7, gated=False)
    assert reduce_losses(ungated, "possible")[0].item() == pytest.approx(step1 / 2 + step2)


@pytest.mark.parametrize(("normalise", "divisor"), [("possible", 9), ("open", 3), ("sum", 1)])
def test_few_open_gates_weigh_as_much_as_their_positions(
    normalise: Normalise, divisor: int
) -> None:
    sums = LossSums()
    loss_N = torch.tensor([2.0, 3.0, 4.0])
    sums.add("x", 0.5, loss_N, 3, 9)
    total, terms, shares = reduce_losses(sums, normalise)
    assert total.item() == terms["x"].item() == pytest.approx(0.5 * 9 / divisor)
    assert shares["x"].item() == pytest.approx(3 / 9)


def test_a_gated_step_teaches_only_its_own_map() -> None:
    lmp, sums = by_hand(margin=1.0)
    sums.sums["item_step2"].backward()
    first, second = lmp.steps
    assert first.weight.grad is None
    assert second.weight.grad is not None
    assert second.weight.grad.abs().sum() > 0


def test_closed_gates_and_short_histories_give_zero_with_a_gradient_of_zero() -> None:
    lmp, sums = by_hand(margin=100.0)
    reduce_losses(sums, "open")[0].backward()
    assert all(w.grad is not None and w.grad.isfinite().all() for w in lmp.parameters())
    assert lmp.steps[1].weight.grad is not None
    assert lmp.steps[1].weight.grad.abs().sum() == 0


@QUICK
@given(weights=st.lists(st.sampled_from([0.0, 0.3, 1.0, 2.5]), min_size=2, max_size=2))
def test_step_weights_weigh_the_steps(weights: list[float]) -> None:
    plain = Level(loss_config(steps=2, gate=False), [4, 3], 3, 0, 1.0)
    _, terms, _ = reduce_losses(plain.fast(same_position=False, mask_same_user=False), "sum")
    config = loss_config(steps=2, gate=False, step_weights=weights)
    weighted = Level(config, [4, 3], 3, 0, 1.0)
    total, _, _ = reduce_losses(weighted.fast(same_position=False, mask_same_user=False), "sum")
    want = sum(w * float(t) for w, t in zip(weights, terms.values(), strict=True))
    assert total.item() == pytest.approx(want, rel=1e-6, abs=1e-9)


def test_the_maps_of_the_steps_start_at_the_identity_or_at_random() -> None:
    same = MultiStepLoss(loss_config(step_init="identity"), 4)
    assert all(torch.equal(step.weight, torch.eye(4)) for step in same.steps)
    first, second = MultiStepLoss(loss_config(step_init="random"), 4).steps
    assert not torch.allclose(first.weight, torch.eye(4))
    assert not torch.allclose(first.weight, second.weight)
