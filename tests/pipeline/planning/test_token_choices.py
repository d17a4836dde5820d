"""Settings of tokens, compared by the neighbours that they keep."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from corner_shop import heterrec
from pieces import embedding
from rich.console import Console

from heterrec_pipeline.planning.plan_display import choices_table
from heterrec_pipeline.planning.token_choices import compare, shown
from heterrec_pipeline.statistics.neighbours import AMONG, NEAREST, QUERIES, kept, nearest
from heterrec_schemas.testing import shop, write_shop


def clustered(count: int, dim: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    spread = rng.normal(size=(dim, dim)) * np.geomspace(1, 0.05, dim)
    return (rng.normal(size=(count, dim)) @ spread.T).astype(np.float32)


def test_ties_count_as_their_expected_share() -> None:
    """Against the mean over many orders of equal ones."""
    rng = np.random.default_rng(1)
    vectors = clustered(120, 6)
    tokens = rng.integers(2, 4, (120, 5)).astype(np.int32)
    near = nearest(vectors)
    shares = []
    for query in range(120):
        unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        cosine = unit @ unit[query]
        cosine[query] = -2
        assert set(near[query]) == set(np.argsort(-cosine)[:NEAREST])
        equal = (tokens == tokens[query]).sum(axis=1).astype(float)
        equal[query] = -1
        for _ in range(60):
            among = np.argsort(-(equal + rng.random(120) / 2))[:AMONG]
            shares.append(np.isin(near[query], among).mean())
    assert kept(tokens, near) == pytest.approx(np.mean(shares), abs=0.01)


def test_tokens_that_say_nothing_keep_what_chance_does() -> None:
    vectors = clustered(2000, 8)
    near = nearest(vectors)
    assert near.shape == (QUERIES, NEAREST)
    same = np.full((2000, 3), 2, np.int32)
    assert kept(same, near) == pytest.approx(AMONG / 1999)
    whole = np.argsort(np.argsort(vectors, axis=0), axis=0).astype(np.int32)
    assert kept(whole, near) < 0.2, "ranks are hardly ever equal"


def test_the_proposal_keeps_most_with_as_many_tokens() -> None:
    feature = embedding(dim=48, groups=12, quantiles=3)
    found = compare(feature, "item", 900, clustered(800, 48))
    own, proposed = found.choices[0], found.proposed
    assert own.feature == feature
    assert len({c.feature for c in found.choices}) == len(found.choices)
    assert proposed.feature.token_count <= 12
    assert all(c.kept <= proposed.kept for c in found.choices if c.feature.token_count <= 12)
    assert any(c.feature.reduce is not None for c in found.choices)
    assert found.chance == pytest.approx(AMONG / 799)
    assert min(c.kept for c in found.choices) > found.chance
    assert proposed.kept > 0.5
    assert all(0 < c.used <= 1 for c in found.choices)
    assert shown(own) == "groups: 12, quantiles: 3"
    reduced = next(c for c in found.choices if c.feature.reduce is not None)
    assert shown(reduced) == "reduce: {pca: 32, rotate: true}, groups: 8, quantiles: 2"


def test_long_settings_leave_room_for_the_figures() -> None:
    long = embedding(dim=48, groups=12, quantiles=3, reduce={"pca": 24, "rotate": True})
    found = compare(long, "item", 900, clustered(800, 48))
    console = Console(file=io.StringIO(), width=80)
    console.print(choices_table(found))
    assert isinstance(console.file, io.StringIO)
    said = console.file.getvalue()
    assert all(f"{choice.kept:.1%}" in said for choice in found.choices)


def test_the_commands_output(tmp_path: Path) -> None:
    spec = write_shop(tmp_path, shop(0))
    call = ("plan", "--spec", str(spec), "--input", str(tmp_path), "--tune-tokens")
    done = heterrec(*call, "--json")
    assert done.code == 0, done.err
    (look,) = json.loads(done.out)["tokens"]
    assert (look["feature"], look["side"]) == ("look", "item")
    assert look["choices"][0]["settings"] == {"groups": 4, "quantiles": 3}
    assert 0 <= look["proposed"] < len(look["choices"])
    assert look["distinct"] <= look["vectors"]
    done = heterrec(*call)
    assert done.code == 0, done.err
    assert "Tokens of look" in done.out
    assert "groups: 4, quantiles: 3 (the spec's)" in done.out
    assert "With at most 4 tokens" in done.out
