"""Drawing negatives and correcting for how they were drawn."""

import math
from typing import Any

import equations_loss
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from made_up import MANY, made_up_config
from torch import Tensor

from heterrec_model.loss.candidates import FROM_CATALOGUE, Candidates, CandidateSampler
from heterrec_schemas.errors import CallError

COUNTS = torch.tensor([0, 0, 0, 5, 1, 0, 2, 8, 4])
"""Training interactions: 0 to 2 are no items of the catalogue, 5 was never trained on."""
CATALOGUE = torch.arange(3, 9)
TRAINED = [3, 4, 6, 7, 8]
OOV = 2


def sampler(**negatives: Any) -> CandidateSampler:
    return CandidateSampler(made_up_config(negatives=negatives).negatives, COUNTS, CATALOGUE)


def draw(
    made: CandidateSampler, items: list[int], seed: int = 0, users: list[int] | None = None
) -> Candidates:
    return made.draw(torch.tensor(items), torch.tensor(users or [0] * len(items)), seed)


def lent(candidates: Candidates) -> list[int]:
    return candidates.item_C[candidates.user_C != FROM_CATALOGUE].tolist()


def drawn(candidates: Candidates) -> list[int]:
    return candidates.item_C[candidates.user_C == FROM_CATALOGUE].tolist()


def test_the_batch_lends_items_and_the_catalogue_the_rest() -> None:
    found = draw(sampler(source="mixed", in_batch=9, uniform=40), [3, 7, 7], users=[0, 0, 1])
    assert sorted(lent(found)) == [3, 7, 7]
    assert set(drawn(found)) == set(TRAINED)
    assert len(drawn(found)) == 40
    assert (found.user_C[:3] != FROM_CATALOGUE).all()
    assert sorted(zip(found.item_C[:3].tolist(), found.user_C[:3].tolist(), strict=True)) == [
        (3, 0),
        (7, 0),
        (7, 1),
    ]


def test_each_source_alone() -> None:
    found = draw(sampler(source="in_batch", in_batch=9), [3, 7, 7])
    assert (sorted(lent(found)), drawn(found)) == ([3, 7, 7], [])
    found = draw(sampler(source="uniform", uniform=4), [3, 7, 7])
    assert (lent(found), len(drawn(found))) == ([], 4)
    found = draw(sampler(source="in_batch_same_position"), [3, 7, 7])
    assert len(found) == 0


def test_caps_hold_and_which_positions_lend_hangs_on_the_seed() -> None:
    made = sampler(source="in_batch", in_batch=4)
    items = [3, 4, 6, 7, 8] * 3
    lists = {tuple(lent(draw(made, items, seed))) for seed in range(9)}
    assert all(len(found) == 4 for found in lists)
    assert len(lists) > 5


@pytest.mark.parametrize("source", ["mixed", "uniform", "in_batch", "catalogue"])
def test_a_seed_gives_the_same_candidates_and_another_seed_others(source: str) -> None:
    made = sampler(source=source, in_batch=6, uniform=6)
    items = [3, 4, 6, 7, 8, 3, 4]
    first, again, other = (draw(made, items, seed) for seed in (5, 5, 6))
    assert torch.equal(first.item_C, again.item_C)
    assert torch.equal(first.log_q_C, again.log_q_C)
    assert not torch.equal(first.item_C, other.item_C)


def test_drawing_leaves_the_global_random_numbers_alone() -> None:
    torch.manual_seed(3)
    want = torch.rand(1)
    torch.manual_seed(3)
    draw(sampler(), [3, 4])
    assert torch.equal(torch.rand(1), want)


def test_uniform_draws_come_from_trained_items_or_from_all() -> None:
    assert set(drawn(draw(sampler(source="uniform", uniform=99), [3]))) == set(TRAINED)
    found = draw(sampler(source="uniform", uniform=99, uniform_from="catalogue"), [3])
    assert set(drawn(found)) == set(CATALOGUE.tolist())


def test_the_catalogue_gives_every_item_once_without_correction() -> None:
    found = draw(sampler(source="catalogue"), [3, 3])
    assert sorted(drawn(found)) == TRAINED
    assert found.log_q_C.tolist() == [0.0] * 5
    found = draw(sampler(source="catalogue", uniform_from="catalogue"), [3, 3])
    assert sorted(drawn(found)) == CATALOGUE.tolist()


def test_nothing_to_draw_from_is_refused() -> None:
    config = made_up_config(negatives={"uniform_from": "trained"}).negatives
    with pytest.raises(CallError, match="no items to draw negatives from"):
        CandidateSampler(config, torch.zeros(9), CATALOGUE)


def test_padding_is_never_lent() -> None:
    made = sampler(source="mixed", in_batch=9, uniform=3)
    found = draw(made, [0, 3, 0])
    assert lent(found) == [3]
    assert torch.equal(found.log_q_C, draw(made, [3]).log_q_C)
    assert len(draw(sampler(source="in_batch"), [0])) == 0


# how often a candidate was to be expected


@MANY
@given(
    source=st.sampled_from(["mixed", "in_batch", "uniform"]),
    rule=st.sampled_from(["mixture", "source", "none"]),
    uniform_from=st.sampled_from(["trained", "catalogue"]),
    items=st.lists(st.sampled_from(TRAINED), min_size=1, max_size=5),
    in_batch=st.integers(1, 6),
    uniform=st.integers(1, 6),
    token=st.integers(1, 9),
    seed=st.integers(0, 999),
)
def test_corrections_are_those_of_the_equations(
    source: str,
    rule: str,
    uniform_from: str,
    items: list[int],
    in_batch: int,
    uniform: int,
    token: int,
    seed: int,
) -> None:
    made = sampler(
        source=source,
        logq=rule,
        uniform_from=uniform_from,
        in_batch=in_batch,
        uniform=uniform,
        token=token,
    )
    pool = TRAINED if uniform_from == "trained" else CATALOGUE.tolist()

    def expected(found: Candidates) -> list[float]:
        return equations_loss.log_expected(rule, lent(found), drawn(found), COUNTS.tolist(), pool)

    whole = draw(made, items, seed)
    assert whole.log_q_C.tolist() == pytest.approx(expected(whole), abs=1e-6)
    rows = made.token_rows(whole)
    fewer = made.part(whole, rows)
    assert len(fewer) == min(token, len(whole))
    assert len(set(rows.tolist())) == len(rows)
    assert torch.equal(fewer.item_C, whole.item_C[rows])
    assert torch.equal(fewer.user_C, whole.user_C[rows])
    assert fewer.log_q_C.tolist() == pytest.approx(expected(fewer), abs=1e-6)


def test_mixture_by_hand() -> None:
    # item 7 has 8 of 20 interactions and is one of five in the pool
    made = sampler(source="mixed", logq="mixture", in_batch=9, uniform=10)
    found = draw(made, [7, 7, 7])
    sevens = found.log_q_C[found.item_C == 7]
    assert sevens.exp().tolist() == pytest.approx([3 * 8 / 20 + 10 / 5] * len(sevens))


def test_each_source_counts_for_its_half() -> None:
    made = sampler(source="mixed", logq="source", in_batch=9, uniform=10)
    found = draw(made, [7, 7, 7])
    assert found.log_q_C[:3].exp().tolist() == pytest.approx([2 * 3 * 8 / 20] * 3)
    assert found.log_q_C[3:].exp().tolist() == pytest.approx([2 * 10 / 5] * 10)


@pytest.mark.parametrize("rule", ["mixture", "source"])
def test_an_item_without_a_count_is_as_rare_as_any(rule: str) -> None:
    made = sampler(source="mixed", logq=rule, in_batch=9, uniform=10)
    found = draw(made, [OOV, 7])
    (place,) = (found.item_C == OOV).nonzero().flatten().tolist()
    # the rarest has 1 of 20 interactions
    times = 2 if rule == "source" else 1
    assert found.log_q_C[place].exp().item() == pytest.approx(times * 2 * 1 / 20)
    assert found.log_q_C.isfinite().all()


def test_token_losses_take_a_share_of_every_source() -> None:
    made = sampler(source="mixed", in_batch=20, uniform=60, token=16)
    found = draw(made, [3, 4, 6, 7, 8] * 4)
    fewer = made.part(found, made.token_rows(found))
    assert (len(lent(fewer)), len(drawn(fewer))) == (4, 12)


def test_token_losses_on_the_whole_catalogue_take_another_part_every_step() -> None:
    made = sampler(source="catalogue", token=2)
    parts = []
    for seed in range(12):
        found = draw(made, [3], seed)
        fewer = made.part(found, made.token_rows(found))
        parts.append(frozenset(drawn(fewer)))
        assert fewer.log_q_C.exp().tolist() == pytest.approx([2 / 5] * 2)
    assert len(set(parts)) > 4


# the corrected sum estimates the sum over the whole pool

SCORES = torch.tensor([0.0, 0.0, 0.0, 1.5, -0.5, 0.0, 2.0, -1.0, 0.5], dtype=torch.float64)
WHOLE = float(SCORES[TRAINED].exp().sum())


def estimates(made: CandidateSampler, draws: int, *, token: bool) -> Tensor:
    """The sum below the fraction as many steps' candidates estimate it. Batches are drawn as the counts say."""
    random = torch.Generator().manual_seed(1)
    items = torch.multinomial(COUNTS.double(), 8 * draws, replacement=True, generator=random)
    found = []
    for seed, batch in enumerate(items.view(draws, 8)):
        candidates = made.draw(batch, torch.zeros(8, dtype=torch.int64), seed)
        if token:
            candidates = made.part(candidates, made.token_rows(candidates))
        found.append((SCORES[candidates.item_C] - candidates.log_q_C).exp().sum())
    return torch.stack(found)


@pytest.mark.parametrize("token", [False, True])
@pytest.mark.parametrize(
    ("source", "rule"),
    [
        ("mixed", "mixture"),
        ("mixed", "source"),
        ("in_batch", "source"),
        ("uniform", "mixture"),
        ("catalogue", "mixture"),
    ],
)
def test_corrected_estimates_converge_on_the_whole_denominator(
    source: str, rule: str, token: bool
) -> None:
    made = sampler(source=source, logq=rule, in_batch=6, uniform=5, token=4)
    found = estimates(made, 1500, token=token)
    error = float(found.std()) / math.sqrt(len(found))
    assert abs(float(found.mean()) - WHOLE) < max(4 * error, 1e-6)
    assert error < 0.02 * WHOLE


def test_without_correction_they_do_not() -> None:
    found = estimates(sampler(source="in_batch", logq="none", in_batch=5), 500, token=False)
    error = float(found.std()) / math.sqrt(len(found))
    assert abs(float(found.mean()) - WHOLE) > 10 * error


def test_more_candidates_come_closer() -> None:
    few, many = (
        estimates(sampler(source="uniform", uniform=n), 300, token=False).std() for n in (4, 64)
    )
    assert float(few) == pytest.approx(4 * float(many), rel=0.25)


def test_items_that_count_as_trained_are_drawn_without_interactions() -> None:
    settings = made_up_config(negatives={"source": "uniform"}).negatives
    trained = COUNTS > 0
    trained[5] = True
    made = CandidateSampler(settings, COUNTS, CATALOGUE, trained)
    assert made.pool_P.tolist() == [3, 4, 5, 6, 7, 8]
    assert draw(made, [3]).log_q_C.isfinite().all()
