"""Two gloo processes give the gradient of one with all users in its batch."""

import time
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.multiprocessing
from equality import named
from made_up import made_up_batch
from separate_ranks import PATIENCE, SEED, Scenario, gradients, output_values, train_apart

from heterrec_model.distributed import gather_rows, rank, sum_over_ranks, world_size

UNEVEN = ((4, 2), (3, 1, 5))
MIXED = {"source": "mixed", "in_batch": 9, "uniform": 5, "token": 7, "gather": True}
GATED = {"gate": True, "margin": 0.2, "token_weight": 1.0, "steps": 3}
REPEATS = {"repeats": {"enabled": True, "earlier": 50}, "token_heads": True}
"""So many that all earlier items are drawn."""
EQUAL = {
    "mixed": Scenario(UNEVEN, GATED, MIXED),
    "mixed, a rank without a batch": Scenario(((4, 2), ()), GATED, MIXED),
    "mixed, a rank without a target": Scenario(((4, 2), (1, 1)), GATED, MIXED),
    "mixed, own items masked": Scenario(UNEVEN, GATED, MIXED | {"mask_same_user": True}),
    "mixed, each source corrected": Scenario(UNEVEN, GATED, MIXED | {"logq": "source"}),
    "in the batch": Scenario(UNEVEN, GATED, MIXED | {"source": "in_batch"}),
    "uniform": Scenario(UNEVEN, GATED, {"source": "uniform", "uniform": 6, "gather": False}),
    "catalogue": Scenario(UNEVEN, GATED, {"source": "catalogue", "token": 6}),
    "dot product, pre-LN": Scenario(
        UNEVEN, GATED | {"similarity": "dot"}, MIXED, {"norm": "pre", "item_blocks": 2}
    ),
    "mixed, over open positions": Scenario(UNEVEN, GATED | {"normalise": "open"}, MIXED),
    "mixed, sums": Scenario(UNEVEN, GATED | {"normalise": "sum"}, MIXED),
    "mixed, sparse id table": Scenario(UNEVEN, GATED, MIXED, train={"sparse_tables": True}),
    "mixed, repeats and token heads": Scenario(UNEVEN, GATED, MIXED, REPEATS),
    "mixed, repeats, a rank without a batch": Scenario(((4, 2), ()), GATED, MIXED, REPEATS),
}
APART = {
    "mixed, not gathered": Scenario(UNEVEN, GATED, MIXED | {"gather": False}),
    "each its own other users": Scenario(UNEVEN, GATED, {"source": "in_batch_same_position"}),
}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Any]]:
    """Both ranks' gradients and terms of every scenario."""
    folder = tmp_path_factory.mktemp("ranks")
    scenarios = EQUAL | APART
    context = torch.multiprocessing.start_processes(
        train_apart,
        args=(2, list(scenarios.values()), str(folder)),
        nprocs=2,
        join=False,
        start_method="spawn",
    )
    assert context is not None
    deadline = time.monotonic() + PATIENCE.total_seconds()
    try:
        while not context.join(timeout=1):
            assert time.monotonic() < deadline, "the two processes do not come to an end"
    finally:
        for process in context.processes:
            process.kill()
    return {name: read(folder, number) for number, name in enumerate(scenarios)}


def read(folder: Path, number: int) -> list[Any]:
    return [torch.load(folder / f"{number}-{rank}.pt", weights_only=True) for rank in range(2)]


def alone(scenario: Scenario) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """The same step in one process."""
    model = scenario.fresh_model()
    output = model(scenario.whole(), SEED)
    output.total.backward()
    return gradients(model), output_values(output)


@pytest.mark.parametrize("name", sorted(EQUAL))
def test_two_processes_give_the_gradient_of_one(name: str, results: dict[str, Any]) -> None:
    want, want_output = alone(EQUAL[name])
    for got in results[name]:
        assert got["gradients"].keys() == want.keys()
        for weight, gradient in want.items():
            torch.testing.assert_close(
                got["gradients"][weight],
                gradient,
                rtol=1e-9,
                atol=1e-12,
                msg=named(weight),
            )
        torch.testing.assert_close(got["output"], want_output, rtol=1e-6, atol=1e-9)
    assert any(float(g.abs().max()) > 1e-3 for g in want.values())


@pytest.mark.parametrize("name", sorted(APART))
def test_candidates_that_are_not_shared_give_another_gradient(
    name: str, results: dict[str, Any]
) -> None:
    want, _ = alone(APART[name])
    first, second = (got["gradients"] for got in results[name])
    assert all(torch.equal(first[weight], second[weight]) for weight in want)
    furthest = max(float((first[weight] - want[weight]).abs().max()) for weight in want)
    assert furthest > 1e-4


def test_gates_are_open_and_closed_in_these_scenarios() -> None:
    shares = alone(EQUAL["mixed"])[1]
    assert any(0 < float(x) < 1 for n, x in shares.items() if n.startswith("open_gates"))


def test_with_one_process_everything_stays_as_it_is() -> None:
    x = torch.tensor([[1.0], [2.0]], requires_grad=True)
    assert (world_size(), rank()) == (1, 0)
    for same in (gather_rows(x), sum_over_ranks(x)):
        assert torch.equal(same, x)
        assert not same.requires_grad


def test_parts_of_a_batch_make_up_the_whole() -> None:
    scenario = EQUAL["mixed"]
    model = scenario.fresh_model()
    parts = [scenario.part(r, model) for r in range(2)]
    whole = made_up_batch([4, 2, 3, 1, 5], seed=4)
    packed = torch.cat([part.item_BT[part.valid_BT()] for part in parts])
    assert torch.equal(packed, whole.item_BT[whole.valid_BT()])
