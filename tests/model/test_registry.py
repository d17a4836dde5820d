"""Building a model from a generation: by name, by seed, and learning one batch by heart."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from made_up import made_up_config

from heterrec_model.config import Config
from heterrec_model.data.batch import Batch
from heterrec_model.data.token_table import TokenTable, open_token_table
from heterrec_model.layers.embedding_tables import GroupTable
from heterrec_model.registry import COUNTING, MODELS, TRAINED, build_counting, build_model
from heterrec_model.two_tower import TwoTowerModel
from heterrec_schemas import Generation, open_generation
from heterrec_schemas.errors import CallError
from heterrec_schemas.testing import Settings as ShopSettings
from heterrec_schemas.testing import small_generation

Settings = dict[str, Any]


@pytest.fixture(scope="module")
def generation(tmp_path_factory: pytest.TempPathFactory) -> Generation:
    """A whole small one: item features of every kind, user features, behaviours."""
    folder: Path = tmp_path_factory.mktemp("output")
    small_generation(folder, 1)
    return open_generation(folder)


@pytest.fixture(scope="module")
def table(generation: Generation) -> TokenTable:
    return open_token_table(generation)


def settings(model: Settings, loss: Settings | None = None, seed: int = 0) -> Config:
    return made_up_config(
        model={"max_length": 12, "table_std": 0.02, "embedding_width": 16, **model},
        loss=loss,
        train={"seed": seed},
    )


def first_batch(generation: Generation, users: int) -> Batch:
    """The longest of the training histories, read plainly."""
    rows = generation.sequences("train").to_pylist()
    rows = sorted(rows, key=lambda r: -len(r["item_index"]))[:users]
    longest = len(rows[0]["item_index"])

    def column(name: str, blank: Callable[[list[int]], int]) -> torch.Tensor:
        cells = [r[name] for r in rows]
        return torch.tensor([c + [blank(c)] * (longest - len(c)) for c in cells])

    return Batch(
        item_BT=column("item_index", lambda _: 0),
        timestamp_BT=column("timestamp_ms", lambda cell: cell[-1]),
        length_B=torch.tensor([len(r["item_index"]) for r in rows]),
        behaviour_BT=column("behaviour", lambda _: 0),
        user_features={n: torch.tensor([r[f"user_{n}"] for r in rows]) for n in ("age", "age_bin")},
        user_ids=[r["user_id"] for r in rows],
    )


@pytest.mark.parametrize("name", sorted(TRAINED))
def test_the_same_seed_gives_the_same_weights(
    name: str, generation: Generation, table: TokenTable
) -> None:
    def weights(seed: int) -> dict[str, torch.Tensor]:
        config = settings({"name": name}, seed=seed)
        return build_model(config, table, generation).state_dict()

    torch.manual_seed(4)
    first = weights(0)
    want = torch.rand(1)
    again, other = weights(0), weights(1)
    assert all(torch.equal(first[n], again[n]) for n in first)
    assert any(not torch.equal(first[n], other[n]) for n in first)
    torch.manual_seed(4)
    assert torch.equal(torch.rand(1), want), "building drew from the caller's random numbers"


def test_every_model_is_trained_or_counts() -> None:
    assert {**TRAINED, **COUNTING} == MODELS
    assert len(TRAINED) + len(COUNTING) == len(MODELS)


@pytest.mark.parametrize("name", sorted(COUNTING))
def test_a_counting_baseline_scores_the_catalogue(name: str, generation: Generation) -> None:
    baseline = build_counting(name, generation)
    users = baseline.encode(first_batch(generation, 3))
    size = len(baseline.table.catalogue_N)
    assert baseline.scores(users, 0, size).shape == (3, size)
    with pytest.raises(CallError, match="no counting baseline 'sasrec'"):
        build_counting("sasrec", generation)


def test_an_unknown_model_is_reported_with_similar_names(
    generation: Generation, table: TokenTable
) -> None:
    with pytest.raises(CallError, match=r"no model 'hetrec'.*Did you mean 'heterrec'"):
        build_model(settings({"name": "hetrec"}), table, generation)


def test_group_tables_start_at_their_bins_or_at_random(
    generation: Generation, table: TokenTable
) -> None:
    for init, empty in (("quantizer", True), ("random", False)):
        config = settings({"embedding_init": init})
        found = build_model(config, table, generation).tables.tables["feature_look"]
        assert isinstance(found, GroupTable)
        by_group = found.weight.view(4, -1, 4)
        assert bool((by_group[:, :2] == 0).all()) == empty
        assert (by_group[:, 2:] != 0).any()


def test_tables_of_codebooks_start_at_their_centroids(tmp_path: Path) -> None:
    small_generation(tmp_path, 1, settings=ShopSettings(codebooks=True))
    generation = open_generation(tmp_path)
    table = open_token_table(generation, features=["parts", "rests"], user_features=[])
    chosen = {"features": ["parts", "rests"], "user_features": [], "item_id": False}
    config = settings({"embedding_init": "quantizer", **chosen})
    model = build_model(config, table, generation)
    for name, count, codes in (("parts", 2, 8), ("rests", 3, 4)):
        found = model.tables.tables[f"feature_{name}"]
        assert isinstance(found, GroupTable)
        width = -(-16 // count)
        rows = found.weight.detach().view(count, 2 + codes, width)
        assert (rows[:, :2] == 0).all()
        for row, book in zip(rows, generation.codebooks(name), strict=True):
            centred = torch.from_numpy(book - book.mean(0))
            want = torch.linalg.lstsq(centred, row[2:]).solution
            torch.testing.assert_close(centred @ want, row[2:], rtol=1e-3, atol=1e-5)
    assert model.user_vectors(first_batch(generation, 2)).isfinite().all()


def test_features_may_be_chosen(generation: Generation) -> None:
    table = open_token_table(generation, features=["price", "brand"], user_features=[])
    config = settings({"features": ["price", "brand"], "user_features": [], "item_id": False})
    model = build_model(config, table, generation)
    assert model.tables.names == ("brand", "price")
    assert model.user_vectors(first_batch(generation, 2)).shape == (2, 4)


OVERFIT = {"width": 32, "table_std": 0.1, "embedding_width": 32}


def learn(model: TwoTowerModel, batch: Batch, steps: int) -> float:
    """Train on one batch; the last loss."""
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for step in range(steps):
        optimizer.zero_grad()
        loss = model(batch, step).total
        loss.backward()
        optimizer.step()
    return float(loss.detach())


@pytest.mark.parametrize(
    ("model", "steps"),
    [
        ({"name": "heterrec"}, 250),
        ({"name": "hstu"}, 200),
        ({"name": "sasrec"}, 200),
        ({"name": "sasrec", "features": []}, 120),
    ],
)
def test_one_batch_is_learnt_by_heart(model: Settings, steps: int, generation: Generation) -> None:
    table = open_token_table(generation, features=model.get("features"))
    config = settings(OVERFIT | model, {"temperature": 0.07, "steps": 2, "margin": 1.0})
    made = build_model(config, table, generation)
    batch = first_batch(generation, 4)
    last = learn(made.train(), batch, steps)
    assert last < 0.05
    # every item after the first is what comes first for the history before it
    made.eval()
    ranks = []
    catalogue = table.catalogue_N
    with torch.no_grad():
        items = made.item_vectors(catalogue)
        for length in range(1, batch.item_BT.shape[1]):
            cut = Batch(
                item_BT=batch.item_BT[:, :length],
                timestamp_BT=batch.timestamp_BT[:, :length],
                length_B=batch.length_B.clamp(max=length),
                behaviour_BT=None if batch.behaviour_BT is None else batch.behaviour_BT[:, :length],
                user_features=batch.user_features,
                user_ids=batch.user_ids,
            )
            scores = made.user_vectors(cut) @ items.T
            goes_on = batch.length_B > length
            target = torch.searchsorted(catalogue, batch.item_BT[:, length].contiguous())
            own = scores[goes_on].gather(1, target[goes_on][:, None])
            ranks.append((scores[goes_on] > own).sum(1))
    assert torch.cat(ranks).tolist() == [0] * int((batch.length_B - 1).sum())
