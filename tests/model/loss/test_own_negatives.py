"""The repeat term and the own negatives against sums over plain lists, one position and one item at a time."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from made_up import FEW, QUICK
from plain_repeats import Event, plain_term
from torch import Tensor

from heterrec_model.config import LossConfig
from heterrec_model.data.batch import Batch, HistoryItems
from heterrec_model.data.own_items import own_items
from heterrec_model.loss.lmp import HeadVectors, LossSums, MultiStepLoss
from heterrec_model.loss.negative_logits import PackedPositions, SharedNegatives, pack_positions
from heterrec_model.loss.own_negatives import DrawnItems, OwnNegatives, draw_own_items
from heterrec_model.loss.repeat_term import RepeatTerm

OOV, RETIRED, FIRST, ITEMS = 2, 4, 3, 12
WIDTH, HEADS = 3, 2
DAY = 86_400_000
TAU = 0.5


@dataclass(frozen=True)
class User:
    """A row of the generation: what lies before the items that are read, and these."""

    earlier: list[Event]
    row: list[Event]


def batch_of(users: Sequence[User]) -> Batch:
    longest = max(len(user.row) for user in users)
    item_BT = torch.zeros((len(users), longest), dtype=torch.int64)
    time_BT = torch.zeros_like(item_BT)
    for b, user in enumerate(users):
        item_BT[b, : len(user.row)] = torch.tensor([item for item, _ in user.row])
        time_BT[b, : len(user.row)] = torch.tensor([time for _, time in user.row])
        time_BT[b, len(user.row) :] = user.row[-1][1]
    flat = [(b, *event) for b, user in enumerate(users) for event in user.earlier]
    columns = torch.tensor(flat, dtype=torch.int64).reshape(-1, 3).T
    return Batch(
        item_BT,
        time_BT,
        torch.tensor([len(user.row) for user in users]),
        None,
        {},
        list(range(len(users))),
        earlier=HistoryItems(*columns),
    )


@st.composite
def people(draw: st.DrawFn, least: int = 1) -> list[User]:
    """Few items, so that many repeat; several at a time; steps from an instant to years."""
    steps = st.sampled_from([0, 0, 1, 2_000, DAY // 2, 3 * DAY, 400 * DAY])
    users = []
    for _ in range(draw(st.integers(1, 3))):
        earlier = draw(st.integers(0, 12))
        length = draw(st.integers(least, 6))
        events, time = [], 5 * DAY
        for _ in range(earlier + length):
            time += draw(steps)
            events.append((draw(st.integers(OOV, FIRST + ITEMS - 1)), time))
        users.append(User(events[:earlier], events[earlier:]))
    return users


class Made:
    """A batch with random weights, vectors, queries and candidates, float64."""

    def __init__(self, users: Sequence[User], most: int, seed: int, kappa: float = 0.3) -> None:
        self.users, self.batch = users, batch_of(users)
        random = torch.Generator().manual_seed(seed)

        def normal(*shape: int) -> Tensor:
            return torch.randn(shape, generator=random, dtype=torch.float64)

        self.term = RepeatTerm(WIDTH, TAU, kappa).double()
        with torch.no_grad():
            for weight in self.term.parameters():
                weight.copy_(normal(*weight.shape))
                weight.requires_grad_(False)
        size = FIRST + ITEMS
        self.allowed_I = torch.ones(size, dtype=torch.bool)
        self.allowed_I[[0, 1, OOV, RETIRED]] = False
        self.popularity_I = torch.randint(0, 5_000, (size,), generator=random)
        self.candidates = torch.randint(FIRST, size, (7,), generator=random).tolist()
        self.log_q_C = normal(len(self.candidates))
        self.drawn = draw_own_items(self.batch, most, seed)
        self.vectors_ID = normal(size, WIDTH + HEADS)
        self.query_BTD = normal(*self.batch.item_BT.shape, WIDTH + HEADS)
        # every item is one of the step, so a row is an item
        self.positions = pack_positions(self.batch, self.batch.item_BT[self.batch.valid_BT()])
        item_U = torch.arange(size)
        shared = SharedNegatives(torch.tensor(self.candidates), self.log_q_C, item_U)
        self.own = OwnNegatives.of(
            shared,
            self.term,
            self.batch,
            self.drawn,
            self.drawn.item_BG,
            item_U,
            self.allowed_I,
            self.popularity_I,
        )

    def logits(self, step: int) -> tuple[Tensor, Tensor]:
        pairs = self.positions.pairs(step)
        at = (self.positions.user_N[pairs.at_R], self.positions.time_N[pairs.at_R])
        return self.own.logits(self.query_BTD[at], self.vectors_ID, self.positions, pairs)

    def plain_term(self, before: Sequence[Event], item: int, query_D: Tensor) -> float:
        """The term of an item in a history up to now, in addition to its similarity / tau."""
        popularity = int(self.popularity_I[item])
        vectors = TAU * query_D, self.vectors_ID[item]
        return plain_term(self.term, before, item, popularity, *vectors)

    def plain(self, user: int, time: int, step: int) -> tuple[float, float]:
        """The term of the target and the sum of exp(l-) of a position."""
        person, query_D = self.users[user], self.query_BTD[user, time]
        before = person.earlier + person.row[: time + 1]
        target, now = person.row[time + step]
        own = {item for item, _ in before}
        stand_for = drawn_of(self.drawn, user)
        total = 0.0
        for item in own - {target}:
            last_ms = max(ms for i, ms in before if i == item)
            if item in stand_for and self.allowed_I[item] and last_ms != now:
                similar = float(query_D @ self.vectors_ID[item])
                logit = similar + self.plain_term(before, item, query_D)
                total += stand_for[item] * math.exp(logit)
        for item, log_q in zip(self.candidates, self.log_q_C.tolist(), strict=True):
            if item not in own and item != target:
                total += math.exp(float(query_D @ self.vectors_ID[item]) - log_q)
        return self.plain_term(before, target, query_D) if target in own else 0.0, total


def drawn_of(drawn: DrawnItems, user: int) -> dict[int, float]:
    """The own items of a user and how many items each stands for."""
    columns = zip(drawn.item_BG[user].tolist(), drawn.log_weight_BG[user].tolist(), strict=True)
    return {item: math.exp(weight) for item, weight in columns if item}


@QUICK
@given(people(), st.sampled_from([0, 1, 3, 100]), st.integers(0, 99))
def test_items_of_the_row_are_kept_and_earlier_ones_drawn(
    users: list[User], most: int, seed: int
) -> None:
    drawn = draw_own_items(batch_of(users), most, seed)
    for b, user in enumerate(users):
        found = drawn_of(drawn, b)
        row = {item for item, _ in user.row}
        only = {item for item, _ in user.earlier} - row
        chosen = set(found) - row
        assert row <= set(found)
        assert chosen <= only
        assert len(chosen) == min(most, len(only))
        assert all(found[item] == 1 for item in row)
        assert all(found[i] == pytest.approx(len(only) / len(chosen)) for i in chosen)
        for t, (item, _) in enumerate(user.row):
            assert drawn.item_BG[b, drawn.column_BT[b, t]] == item


@QUICK
@given(people(), st.sampled_from([0, 2, 100]), st.integers(0, 99), st.sampled_from([0.0, 0.3, 1.0]))
def test_logits_are_those_worked_out_plainly(
    users: list[User], most: int, seed: int, kappa: float
) -> None:
    """With 100 nothing is sampled: all own items are in the sum."""
    made = Made(users, most, seed, kappa)
    for step in (1, 2):
        term_R, negative_RX = made.logits(step)
        places = [(b, t) for b, user in enumerate(users) for t in range(len(user.row) - step)]
        assert len(places) == len(term_R)
        for (user, time), term, sum_ in zip(
            places, term_R.tolist(), negative_RX.exp().sum(1).tolist(), strict=True
        ):
            wanted = made.plain(user, time, step)
            assert (term, sum_) == pytest.approx(wanted, rel=1e-5, abs=1e-9)


def test_the_drawn_items_stand_for_all_of_them() -> None:
    """Over many draws the mean weight of every earlier item is 1."""
    history = User([(item, DAY) for item in range(FIRST, FIRST + 8)], [(FIRST, 2 * DAY)])
    weight = dict.fromkeys(range(FIRST, FIRST + 8), 0.0)
    draws = 300
    for seed in range(draws):
        for item, stands_for in drawn_of(draw_own_items(batch_of([history]), 3, seed), 0).items():
            weight[item] += stands_for / draws
    assert weight.pop(FIRST) == pytest.approx(1)
    assert list(weight.values()) == pytest.approx([1.0] * 7, abs=0.37)  # 5 standard errors


@FEW
@given(people(least=3), st.integers(0, 99), st.data())
def test_later_items_change_nothing(users: list[User], seed: int, data: st.DataObject) -> None:
    """Of the first position, whose target is the second item."""
    made = Made(users, 100, seed)
    for n, user in enumerate(users):
        others = data.draw(st.lists(st.integers(OOV, FIRST + ITEMS - 1), min_size=1, max_size=4))
        later = [(item, user.row[1][1] + DAY) for item in others]
        users = [*users[:n], replace(user, row=user.row[:2] + later), *users[n + 1 :]]
    changed = Made(users, 100, seed)
    changed.query_BTD[:, 0] = made.query_BTD[:, 0]
    changed.vectors_ID, changed.term = made.vectors_ID, made.term
    for one in (made, changed):
        one.first = [logits_of_first(one, b) for b in range(len(users))]  # type: ignore[attr-defined]
    for (term, negatives), (other_term, other_negatives) in zip(
        made.first,
        changed.first,
        strict=True,  # type: ignore[attr-defined]
    ):
        torch.testing.assert_close(term, other_term)
        torch.testing.assert_close(negatives, other_negatives)


def logits_of_first(made: Made, user: int) -> tuple[Tensor, Tensor]:
    """The term and the finite negative logits, sorted, of a user's first position."""
    term_R, negative_RX = made.logits(1)
    pairs = made.positions.pairs(1)
    positions: PackedPositions = made.positions
    (row,) = (
        (positions.user_N[pairs.at_R] == user) & (positions.time_N[pairs.at_R] == 0)
    ).nonzero()
    logits_X = negative_RX[row[0]]
    return term_R[row[0]], logits_X[logits_X.isfinite()].sort().values


@QUICK
@given(people())
def test_own_items_are_counted_plainly(users: list[User]) -> None:
    """The whole histories, as for an answer: the last item is the most recent, equal times or not."""
    own, pair_E = own_items(batch_of(users).all_items())
    columns = [c.tolist() for c in vars(own).values()]
    wanted, events = [], []
    for b, user in enumerate(users):
        whole = user.earlier + user.row
        items = [item for item, _ in whole]
        for item in sorted(set(items)):
            last = max(n for n, i in enumerate(items) if i == item)
            since, ms = len(items) - last, whole[last][1]
            gap = whole[-1][1] - ms
            wanted.append((b, item, items.count(item), len(items), since, ms, gap))
        events += [(b, item) for item in items]
    assert list(zip(*columns, strict=True)) == wanted
    assert [(wanted[p][0], wanted[p][1]) for p in pair_E.tolist()] == events


def test_a_batch_without_items_has_no_own_items() -> None:
    empty = torch.zeros(0, dtype=torch.int64)
    own, pair_E = own_items(HistoryItems(empty, empty, empty))
    assert len(own.item_P) == len(pair_E) == 0


@FEW
@given(people(least=2), st.integers(0, 99))
def test_the_loss_is_the_one_over_all_own_items(users: list[User], seed: int) -> None:
    """Nothing is sampled; part of the vectors belongs to token heads."""
    made = Made(users, 100, seed)
    config = LossConfig(similarity="dot", temperature=TAU, steps=1)
    u_NX = TAU * made.query_BTD[made.batch.valid_BT()]
    sums = LossSums()
    MultiStepLoss(config, WIDTH).double()(
        u_NX[:, :WIDTH],
        made.vectors_ID[:, :WIDTH],
        made.positions,
        made.own,
        sums,
        name="item",
        heads=HeadVectors(u_NX[:, WIDTH:], made.vectors_ID[:, WIDTH:]),
    )
    total = 0.0
    for b, user in enumerate(users):
        for t, (target, _) in enumerate(user.row[1:]):
            term, negatives = made.plain(b, t, 1)
            positive = math.exp(float(made.query_BTD[b, t] @ made.vectors_ID[target]) + term)
            total -= math.log(positive / (positive + 1 + negatives))
    assert sums.sums["item_step1"].item() == pytest.approx(total, rel=1e-5)
