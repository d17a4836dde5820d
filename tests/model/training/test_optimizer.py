"""Both optimisers as one: groups, clipping, and a state without pickles."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from fake_model import FakeModel, fake_batch
from safetensors.torch import load_file, save_file

from heterrec_model.config import TrainConfig
from heterrec_model.training.optimizer import Optimizers


def grads(model: Any, *items: list[int]) -> None:
    model(fake_batch(*items), 0).total.backward()


def test_norms_are_spared_the_decay() -> None:
    model = FakeModel()
    optimizers = Optimizers(model, TrainConfig(weight_decay=0.5))  # type: ignore[arg-type]
    groups = optimizers.parts["adamw"].param_groups
    decay = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
    assert decay[id(model.items.weight)] == 0.5
    assert decay[id(model.norm.weight)] == decay[id(model.norm.bias)] == 0


def test_a_rate_factor_multiplies_the_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Adam's first step is the learning rate; the state goes through a file to the same parameters."""
    moved = {}
    for factor in (1.0, 20.0):
        rates = {"norm.weight": factor}
        monkeypatch.setattr(FakeModel, "rate_factor", lambda self, name, r=rates: r.get(name, 1.0))
        model = FakeModel()
        optimizers = Optimizers(model, TrainConfig(learning_rate=0.01, weight_decay=0.0))  # type: ignore[arg-type]
        before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
        grads(model, [1, 2])
        optimizers.step(0.5)
        moved[factor] = {n: (w - before[n]).detach() for n, w in model.named_parameters()}
        state, _ = optimizers.state()
        assert {"adamw/norm.weight/exp_avg", "adamw/items.weight/exp_avg"} < set(state)
    for name in ("norm.weight", "norm.bias", "items.weight"):
        times = 20.0 if name == "norm.weight" else 1.0
        torch.testing.assert_close(moved[20.0][name], times * moved[1.0][name])
    assert moved[20.0]["norm.weight"].abs().max() == pytest.approx(0.1, rel=0.01)


def test_one_step_of_a_dense_table_is_adamws() -> None:
    train = TrainConfig(learning_rate=0.1, weight_decay=0.3, clip_norm=0)
    model, plain = FakeModel(), FakeModel()
    optimizers = Optimizers(model, train)  # type: ignore[arg-type]
    reference = torch.optim.AdamW(
        [
            {"params": [plain.items.weight], "weight_decay": 0.3},
            {"params": plain.norm.parameters(), "weight_decay": 0.0},
        ],
        lr=0.05,
        betas=train.betas,
    )
    for _ in range(3):
        grads(model, [1, 2])
        optimizers.clip()
        optimizers.step(0.5)
        grads(plain, [1, 2])
        reference.step()
        reference.zero_grad()
    torch.testing.assert_close(model.items.weight, plain.items.weight)
    torch.testing.assert_close(model.norm.bias, plain.norm.bias)


def test_a_sparse_step_touches_only_the_rows_it_saw() -> None:
    model = FakeModel(sparse=True)
    before = model.items.weight.detach().clone()
    optimizers = Optimizers(model, TrainConfig(weight_decay=0.5))  # type: ignore[arg-type]
    assert set(optimizers.parts) == {"adamw", "sparse_adam"}
    grads(model, [1, 2])
    optimizers.clip()
    optimizers.step(1.0)
    changed = (model.items.weight != before).any(dim=1).nonzero().flatten().tolist()
    assert changed == [1, 2]
    assert model.items.weight.grad is None


@pytest.mark.parametrize("sparse", [False, True])
def test_clipping_scales_all_gradients_together(sparse: bool) -> None:
    model, whole = FakeModel(sparse=sparse), FakeModel()
    grads(model, [1, 2, 1])
    grads(whole, [1, 2, 1])
    parts = [p.grad for p in whole.parameters() if p.grad is not None]
    norm = torch.cat([g.flatten() for g in parts]).norm()
    limit = float(norm) / 2
    got = Optimizers(model, TrainConfig(clip_norm=limit)).clip()  # type: ignore[arg-type]
    torch.testing.assert_close(got, norm)
    for mine, other in zip(model.parameters(), whole.parameters(), strict=True):
        assert mine.grad is not None
        assert other.grad is not None
        dense = mine.grad.to_dense() if mine.grad.is_sparse else mine.grad
        torch.testing.assert_close(dense, other.grad / 2, atol=1e-5, rtol=1e-4)


def test_small_gradients_are_left_alone() -> None:
    model = FakeModel()
    grads(model, [1, 2])
    before = model.items.weight.grad.clone()  # type: ignore[union-attr]
    Optimizers(model, TrainConfig(clip_norm=1e6)).clip()  # type: ignore[arg-type]
    assert torch.equal(model.items.weight.grad, before)  # type: ignore[arg-type]


def test_bad_gradients_are_named() -> None:
    model = FakeModel(sparse=True)
    optimizers = Optimizers(model, TrainConfig())  # type: ignore[arg-type]
    grads(model, [1, 2])
    assert optimizers.bad_gradients() == []
    model.norm.bias.grad[0] = float("nan")  # type: ignore[index]
    model.items.weight.grad = model.items.weight.grad * float("inf")  # type: ignore[operator]
    assert optimizers.bad_gradients() == ["items.weight", "norm.bias"]


@pytest.mark.parametrize("sparse", [False, True])
def test_the_state_goes_through_files_without_losing_a_bit(tmp_path: Path, sparse: bool) -> None:
    one, two = FakeModel(sparse=sparse), FakeModel(sparse=sparse)
    first = Optimizers(one, TrainConfig())  # type: ignore[arg-type]
    grads(one, [1, 2])
    first.step(1.0)
    tensors, values = first.state()
    save_file(tensors, tmp_path / "o.safetensors")
    second = Optimizers(two, TrainConfig())  # type: ignore[arg-type]
    two.load_state_dict(one.state_dict())
    second.load(load_file(tmp_path / "o.safetensors"), json.loads(json.dumps(values)))
    for model, optimizers in ((one, first), (two, second)):
        grads(model, [3, 1])
        optimizers.step(1.0)
    for mine, other in zip(one.parameters(), two.parameters(), strict=True):
        assert torch.equal(mine, other)
