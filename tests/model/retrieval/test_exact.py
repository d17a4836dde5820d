from pathlib import Path

import numpy as np
import pytest
from brute_force import brute_force, whole_numbers

from heterrec_model.retrieval.exact import NONE, exact_top


def same(found, expected) -> None:
    np.testing.assert_array_equal(found.position_BK, expected.position_BK)
    np.testing.assert_array_equal(found.score_BK, expected.score_BK)
    assert (found.position_BK.dtype, found.score_BK.dtype) == (np.int64, np.float32)


@pytest.mark.parametrize("users", [0, 1, 3, 5, 17, 530])
@pytest.mark.parametrize("items", [0, 1, 255, 2500])
@pytest.mark.parametrize("k", [1, 7, 300])
def test_it_equals_a_sort_with_ties_by_position(users: int, items: int, k: int) -> None:
    users_BD, items_ND = whole_numbers(users, 6, 1), whole_numbers(items, 6, 2)
    same(exact_top(users_BD, items_ND, k), brute_force(users_BD, items_ND, k))


@pytest.mark.parametrize("share", [0.0, 0.01, 0.2, 0.6, 1.0])
@pytest.mark.parametrize("users", [2, 20])
def test_filters(share: float, users: int) -> None:
    random = np.random.default_rng(3)
    users_BD, items_ND = whole_numbers(users, 6, 1), whole_numbers(3000, 6, 2)
    allowed = np.flatnonzero(random.random(3000) < share)
    hidden = [random.permutation(3000)[: random.integers(0, 2500)] for _ in range(users)]
    hidden[0] = np.arange(3000)
    for some in (allowed, None):
        for left_out in (hidden, None, [np.zeros(0, np.int64)] * users):
            same(
                exact_top(users_BD, items_ND, 50, allowed=some, hidden=left_out),
                brute_force(users_BD, items_ND, 50, some, left_out),
            )


@pytest.mark.parametrize("users", [1, 40])
def test_equal_vectors_come_in_their_order(users: int) -> None:
    items_ND = np.ones((9000, 5), np.float32)
    found = exact_top(np.full((users, 5), 0.3, np.float32), items_ND, 1500)
    assert (found.position_BK == np.arange(1500)).all()
    zero = exact_top(
        np.array([[-1.0], [1.0]] * users, np.float32), np.zeros((300, 1), np.float32), 9
    )
    assert (zero.position_BK == np.arange(9)).all()


def test_more_than_a_million_answers() -> None:
    users_BD, items_ND = whole_numbers(5, 3, 1, 40), whole_numbers(4000, 3, 2, 40)
    found = exact_top(users_BD, items_ND, 2**20)
    same(found, brute_force(users_BD, items_ND, 2**20))
    assert (found.position_BK[:, 4000:] == NONE).all()


def test_scores_do_not_depend_on_the_batch(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    users_BD = random.standard_normal((600, 24), dtype=np.float32)
    np.save(tmp_path / "items.npy", random.standard_normal((3333, 24), dtype=np.float32))
    items_ND = np.load(tmp_path / "items.npy", mmap_mode="r")
    whole = exact_top(users_BD, items_ND, 30)
    for rows in (slice(0, 5), slice(3, 20), slice(100, 333), slice(595, 600)):
        part = exact_top(users_BD[rows], items_ND, 30)
        assert (part.position_BK == whole.position_BK[rows]).all()
        assert (part.score_BK == whole.score_BK[rows]).all()
    single = exact_top(users_BD[:1], items_ND, 30)
    np.testing.assert_allclose(single.score_BK, whole.score_BK[:1], rtol=0, atol=1e-5)
