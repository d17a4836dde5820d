import numpy as np
import pytest
from brute_force import brute_force, recall
from made_bundle import clustered, made_bundle

from heterrec_model.bundle.reader import Bundle
from heterrec_model.retrieval.build_index import build_index
from heterrec_model.retrieval.exact import NONE, Ints
from heterrec_model.retrieval.search import Searcher
from heterrec_model.retrieval.vector_index import open_index

N, K = 4000, 10
ITEMS = clustered(N, 8, 1)
USERS = clustered(40, 8, 3)


def masks() -> dict[str, Ints | None]:
    """Items allowed at random, those of a region, and those that the first user likes least."""
    random = np.random.default_rng(5)
    region = np.argsort(-(ITEMS @ ITEMS[17]), kind="stable")
    disliked = np.argsort(ITEMS @ USERS[0], kind="stable")
    found: dict[str, Ints | None] = {"all": None, "none": np.zeros(0, np.int64)}
    for share in (0.001, 0.02, 0.099, 0.12, 0.3, 0.7, 0.999, 1.0):
        some = round(share * N)
        found[f"random {share}"] = np.sort(random.choice(N, some, replace=False))
        found[f"region {share}"] = np.sort(region[:some])
        found[f"disliked {share}"] = np.sort(disliked[:some])
    return found


@pytest.fixture(scope="module", params=["ivf", "hnsw"])
def searcher(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Searcher:
    folder = tmp_path_factory.mktemp("index") / "bundle"
    bundle: Bundle = made_bundle(folder, ITEMS, clustered(200, 8, 2))
    build_index(folder, request.param, k=K, min_recall=0.99)
    return Searcher(bundle.item_vectors_ND, open_index(bundle))


@pytest.mark.parametrize("seen", ["nothing", "few", "best", "thousands"])
@pytest.mark.parametrize("mask", list(masks()))
def test_answers_are_full_and_good(searcher: Searcher, mask: str, seen: str) -> None:
    allowed = masks()[mask]
    random = np.random.default_rng(8)
    hidden = {
        "nothing": None,
        "few": [random.integers(0, N, random.integers(0, 9)) for _ in USERS],
        "best": [np.argsort(-(ITEMS @ user_D))[:60] for user_D in USERS],
        "thousands": [random.permutation(N)[:2500] for _ in USERS],
    }[seen]
    found = searcher.top(USERS, K, allowed=allowed, hidden=hidden)
    best = brute_force(USERS, ITEMS, K, allowed, hidden)
    for row in range(len(USERS)):
        got = found.position_BK[row][found.position_BK[row] != NONE]
        assert len(got) == (best.position_BK[row] != NONE).sum()
        assert len(set(got.tolist())) == len(got)
        assert allowed is None or np.isin(got, allowed).all()
        assert hidden is None or not np.isin(got, hidden[row]).any()
        assert (np.diff(found.score_BK[row][: len(got)]) <= 0).all()
    shares = recall(found.position_BK, USERS, ITEMS, best)
    assert not len(shares) or shares.mean() >= 0.98


@pytest.mark.parametrize("k", [1, 500, N, N + 50])
def test_any_number_of_answers(searcher: Searcher, k: int) -> None:
    found = searcher.top(USERS, k)
    best = brute_force(USERS, ITEMS, k)
    assert ((found.position_BK == NONE) == (best.position_BK == NONE)).all()
    assert recall(found.position_BK, USERS, ITEMS, best).mean() >= 0.98
    assert searcher.top(USERS[:0], k).position_BK.shape == (0, k)


def test_a_user_does_not_depend_on_the_others(searcher: Searcher) -> None:
    allowed = masks()["random 0.3"]
    hidden = [np.arange(row * 3) for row in range(len(USERS))]
    whole = searcher.top(USERS, K, allowed=allowed, hidden=hidden)
    for row in (0, 7, 39):
        own = searcher.top(USERS[row : row + 1], K, allowed=allowed, hidden=hidden[row : row + 1])
        assert (own.position_BK == whole.position_BK[row]).all()
